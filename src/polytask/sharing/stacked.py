"""Equal linear heads, computed together."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask


class StackedHeads(PerTask):
    """Linear heads of equal shape that read the same feature, computed by one matrix product.

    prediction_t = z W_t' + c_t for all tasks at once: z [W_1; ...; W_T]' with the weights one below the other.

    Predictions and gradients equal those of the heads one by one up to rounding. Weights stay where they are, in one
    `nn.Linear` per task: names in checkpoints, optimizer state and `shared_by` do not change, and weights of a
    stacked model load into one that is not. In the autograd graph each prediction is connected with the weights of
    its own task only (see `backward` of `polytask.balancing`: heads stay what a task has for itself), and a backward
    pass of one task multiplies with the weights of that task only.

    A head that is replaced, parametrised, or given hooks later is no longer plain: then all are computed one by one.

    Args:
        heads: by task name, at least one; `nn.Linear` layers of one shape, dtype and device.

    Raises:
        PolytaskError: heads that can't be stacked; the message says which and why.

    Cost: forward and backward of 40 heads of 10 classes on 512 features (batch 256, one CPU core) take .6 of the loop,
    .7 with their losses, .9 with a trunk of four layers of 512 below them, which then is most of the step. Of 7 heads:
    .8, .85 and 1; with 3 nothing is gained. With a gradient balancer there is one pass through the heads per task
    either way: the step takes 1 to 1.03 of what it takes with the loop (UPGrad, 3 to 40 tasks, at the features and
    at the parameters). `benchmarks/heads.py` measures all of this.

    >>> import torch
    >>> heads = StackedHeads({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)})
    >>> z = torch.randn(2, 4)
    >>> torch.allclose(heads(z)["b"], heads.of("b")(z), atol=1e-6), sorted(heads(z, ["a"]))
    (True, ['a'])
    """

    def __init__(self, heads: Mapping[str, nn.Module]) -> None:
        reason = why_not(heads)
        if reason is not None:
            raise PolytaskError(f"heads are stacked where all are nn.Linear layers of one shape; {reason}")
        super().__init__(heads)
        self._names = tuple(heads)

    def forward(self, z: Float[Tensor, "b d"], tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Predictions {task: [b, o]} of the tasks asked for, in that order; all when left out."""
        names = self._names if tasks is None else tuple(tasks)
        for unknown in sorted(set(names).difference(self._names)):
            raise PolytaskError(f"there is no head for {unknown!r}; {did_you_mean(unknown, self._names)}")
        heads = {name: self.of(name) for name in names}
        if len(heads) == 1 or why_not(heads) is not None:
            return {name: head(z) for name, head in heads.items()}
        linear: list[Any] = list(heads.values())
        several = [head.weight for head in linear] + [head.bias for head in linear if head.bias is not None]
        return dict(zip(heads, _Products.apply(len(linear), z, *several), strict=True))


def why_not(heads: Mapping[str, nn.Module]) -> str | None:
    """Why heads can't be computed together; None where they can."""
    first: tuple[str, Any] | None = None
    for name, head in heads.items():
        if type(head) is not nn.Linear:
            return f"that of {name!r} is a {type(head).__name__}"
        if head._forward_hooks or head._forward_pre_hooks or head._backward_hooks or head._backward_pre_hooks:
            return f"that of {name!r} has hooks, which would not run"
        weight = head.weight
        kind = (weight.shape, weight.dtype, weight.device, head.bias is None)
        if first is None:
            first = name, kind
        elif kind != first[1]:
            return f"that of {name!r} is {_told(kind)}, that of {first[0]!r} is {_told(first[1])}"
    return None if first else "there is no head"


def _told(kind: tuple[torch.Size, torch.dtype, torch.device, bool]) -> str:
    (outputs, inputs), dtype, device, bare = kind
    return f"Linear({inputs}, {outputs}{', bias=False' if bare else ''}) of {dtype} on {device}"


class _Products(torch.autograd.Function):
    """z W_t' + c_t for all t in one product; backwards, only what belongs to the gradients that come."""

    generate_vmap_rule = True

    @staticmethod
    def forward(tasks: int, z: Tensor, *several: Tensor) -> tuple[Tensor, ...]:
        biases = several[tasks:]
        product = nn.functional.linear(z, torch.cat(several[:tasks]), torch.cat(biases) if biases else None)
        # Copies, not views of one tensor: losses may write into a prediction.
        return tuple(part.clone(memory_format=torch.contiguous_format) for part in product.chunk(tasks, 1))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        tasks, z, *several = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(z, *several[:tasks])
        ctx.biased = len(several) > tasks
        # Which inputs each output is made from, for those who walk the graph (`reach` in polytask.balancing).
        ctx.inputs_of = tuple((0, 1 + k, 1 + tasks + k) if ctx.biased else (0, 1 + k) for k in range(tasks))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        z, *weights = ctx.saved_tensors
        tasks = len(weights)
        rows = [k for k, each in enumerate(gradients) if each is not None]
        for_weights: list[Tensor | None] = [None] * tasks
        for_biases: list[Tensor | None] = [None] * tasks * ctx.biased
        if not rows:
            return None, None, *for_weights, *for_biases
        came = _joined([gradients[k] for k in rows], 1)
        weight = _joined([weights[k] for k in rows], 0).to(came.dtype)
        needs_z, *needs = ctx.needs_input_grad[1:]
        for_z = came @ weight if needs_z else None
        if any(needs[k] for k in rows):
            for k, part in zip(rows, (came.T @ z.to(came.dtype)).chunk(len(rows)), strict=True):
                for_weights[k] = part
        if any(needs[tasks:]):
            for k, part in zip(rows, came.sum(0).chunk(len(rows)), strict=True):
                for_biases[k] = part
        return None, for_z, *for_weights, *for_biases


def _joined(parts: list[Any], axis: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)
