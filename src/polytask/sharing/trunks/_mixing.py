"""Linear combinations of the features of several tasks, with the gradients in closed form."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def mix(weights: Sequence[Tensor], features: Sequence[Tensor]) -> list[Tensor]:
    r"""x~_r = the sum over all tasks u of weights_r[u] times x_u, part by part.

    A feature is cut along its channels into S equal parts. Part i of output r is sum_{u, j} a_r[i, u, j] x_u[j].
    With S = 1 every output is a combination of whole features.

    Args:
        weights: for every output r [S, T, S]; or [1, T, 1, c], with a weight for every channel.
        features: x_1 to x_T, of one shape: maps [b, c, h, w], tokens [b, n, c] or vectors [b, c].

    >>> x = [torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])]
    >>> mix([torch.tensor([[[0.9], [0.1]]])], x)
    [tensor([[1.9000, 3.8000]])]
    """
    parts = len(weights[0])
    cut = [feature.chunk(parts, axis(feature)) for feature in features]
    outputs = []
    for weight in weights:
        weight = weight.to(features[0].dtype)
        mixed = [_sum(weight[i], cut) for i in range(parts)]
        outputs.append(mixed[0] if parts == 1 else torch.cat(mixed, axis(features[0])))
    return outputs


def mixed(weights: Sequence[Tensor], features: Sequence[Tensor]) -> list[Tensor]:
    """`mix`, at the least cost of a training step: nothing is kept but the features themselves, each product is added
    in place, and gradients come in closed form. An output is connected with its own weights only."""
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return mix(weights, features)
    return list(_Mixed.apply(len(weights), *weights, *features))


def axis(feature: Tensor) -> int:
    """The axis of the channels."""
    return -1 if feature.ndim == 3 else 1


def _sum(weight: Tensor, cut: Sequence[Sequence[Tensor]]) -> Tensor:
    """One part of an output: weight [T, S] or [T, 1, c]."""
    total: Tensor | None = None
    for weights_of, parts in zip(weight.unbind(), cut, strict=True):
        for each, x in zip(weights_of.unbind(), parts, strict=True):
            along = each if each.ndim == 0 or x.ndim == 3 else each.reshape(-1, *[1] * (x.ndim - 2))
            total = x * along if total is None else total.addcmul_(x, along)
    assert total is not None
    return total


class _Mixed(torch.autograd.Function):
    """dL/dx_u is the mix of the dL/dx~_r by the transposed weights, dL/da_r the inner products of dL/dx~_r with x_u."""

    @staticmethod
    def forward(outputs: int, *given: Tensor) -> tuple[Tensor, ...]:
        return tuple(mix(given[:outputs], given[outputs:]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        outputs, *given = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*given)
        ctx.outputs = outputs
        # Which inputs each output is made from, for those who walk the graph (`reach` in polytask.balancing).
        ctx.inputs_of = tuple((k, *range(outputs, len(given))) for k in range(outputs))

    @staticmethod
    def backward(ctx: Any, *came: Tensor | None) -> tuple[Tensor | None, ...]:
        given = ctx.saved_tensors
        features = given[ctx.outputs :]
        there = {k: gradient for k, gradient in enumerate(came) if gradient is not None}
        if not there:
            return (None,) * (1 + len(given))
        found: list[Tensor | None] = [None] * len(given)
        for k, gradient in there.items():
            if ctx.needs_input_grad[1 + k]:
                found[k] = _inner(gradient, features, given[k])
        asked = [u for u in range(len(features)) if ctx.needs_input_grad[1 + ctx.outputs + u]]
        if asked:
            whole = torch.stack([given[k] for k in there])  # [R, S, T, S] or [R, 1, T, 1, c]
            turned = [whole[:, :, u].movedim(2, 0) for u in asked]
            turns = _Mixed.apply(len(asked), *turned, *there.values())
            for u, each in zip(asked, turns, strict=True):
                found[ctx.outputs + u] = each
        return None, *found

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], outputs: int, *given: Tensor) -> tuple[Any, Any]:
        """Several batches, or gradients, at once: as one batch of all their samples."""
        size = info.batch_size
        whole = [
            each.expand(size, *each.shape) if dim is None else each.movedim(dim, 0)
            for each, dim in zip(given, dims[1:], strict=True)
        ]
        if any(dim is not None for dim in dims[1 : 1 + outputs]):  # weights of their own
            runs = [_Mixed.apply(outputs, *(each[k] for each in whole)) for k in range(size)]
            return tuple(map(torch.stack, zip(*runs, strict=True))), (0,) * outputs
        found = _Mixed.apply(outputs, *given[:outputs], *(each.flatten(0, 1) for each in whole[outputs:]))
        return tuple(each.unflatten(0, (size, -1)) for each in found), (0,) * outputs


def _inner(gradient: Tensor, features: Sequence[Tensor], weight: Tensor) -> Tensor:
    """dL/da of one output: [S, T, S] or [1, T, 1, c]."""
    if weight.ndim == 4:
        kept = axis(gradient) % gradient.ndim
        others = [k for k in range(gradient.ndim) if k != kept]
        return torch.stack([(gradient * x).sum(others) for x in features]).to(weight.dtype)[None, :, None]
    parts = len(weight)
    if parts == 1:
        flat = gradient.reshape(-1)
        found = [torch.dot(flat, x.reshape(-1)) for x in features]
        return torch.stack(found).to(weight.dtype).reshape(weight.shape)
    rows = _in_parts(gradient, parts)
    blocks = [torch.bmm(rows, _in_parts(x, parts).mT).sum(0) for x in features]
    return torch.stack(blocks, 1).to(weight.dtype)


def _in_parts(feature: Tensor, parts: int) -> Tensor:
    """[b, S, all other numbers of a part]."""
    return feature.movedim(axis(feature), 1).reshape(len(feature), parts, -1)
