"""Gradients of several losses: the only caller of autograd, and the only place where processes meet.

Axes: t tasks, p shared parameters (flat), f flat shared features.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.graph import Node

from polytask.errors import PolytaskError


@dataclass(frozen=True)
class Reach:
    """Which leaves the losses reach.

    Args:
        shared: leaves that at least two losses reach.
        own: for each loss, the leaves that no other loss reaches.
        met: for each tensor where the walk stopped, whether it came there.
    """

    shared: tuple[Tensor, ...]
    own: tuple[tuple[Tensor, ...], ...]
    met: tuple[bool, ...] = ()


def reach(losses: Sequence[Tensor], stop: Sequence[Tensor] = ()) -> Reach:
    """Walk the autograd graph from every loss to the leaves, and sort these by how many losses reach them.

    A node that two losses reached is not entered a third time, so the walk costs at most two visits of the graph,
    whatever the number of losses.

    Args:
        losses: scalars with a graph.
        stop: tensors behind which the walk does not go.

    >>> import torch
    >>> trunk, head = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    >>> found = reach([(trunk * head).sum(), trunk.sum()])
    >>> found.shared[0] is trunk, found.own[0][0] is head, found.own[1]
    (True, True, ())
    """
    doors = [tensor.grad_fn for tensor in stop]
    closed: set[Node] = {door for door in doors if door is not None}
    met: set[Node] = set()
    first: dict[Node, int] = {}  # node -> the loss that came first
    shared: dict[Node, Tensor] = {}
    leaves: dict[Node, Tensor] = {}
    for number, loss in enumerate(losses):
        todo = [loss.grad_fn]
        while todo:
            node = todo.pop()
            if node is None or node in closed:
                if node is not None and node in doors:
                    met.add(node)
                continue
            leaf = getattr(node, "variable", None)
            if node not in first:
                first[node] = number
                if leaf is not None:
                    leaves[node] = leaf
            elif first[node] == number:
                continue
            else:  # a second loss: never again
                closed.add(node)
                if leaf is not None:
                    shared[node] = leaf
            todo.extend(each for each, _ in node.next_functions)
    own: list[list[Tensor]] = [[] for _ in losses]
    for node, leaf in leaves.items():
        if node not in shared:
            own[first[node]].append(leaf)
    return Reach(tuple(shared.values()), tuple(map(tuple, own)), tuple(door in met for door in doors))


def task_gradients(
    losses: Sequence[Tensor], shared: Sequence[Tensor], own: Sequence[Sequence[Tensor]], scale: float = 1.0
) -> tuple[Tensor, list[list[Tensor]]]:
    """One backward pass per task: rows of the Jacobian of the shared tensors, and each task's own gradients.

    Args:
        losses: t scalars.
        shared: tensors whose gradient every row holds (0 where a loss does not reach one).
        own: for each loss, the leaves that it alone reaches.
        scale: factor of the losses during the passes (mixed precision); divided out again.

    Returns:
        [t, p] and, for each task, the gradients of its own leaves (still times `scale`).
    """
    sizes = [tensor.numel() for tensor in shared]
    kind = shared[0] if shared else losses[0]
    rows = kind.new_zeros(len(losses), sum(sizes), dtype=torch.promote_types(kind.dtype, torch.float32))
    owned: list[list[Tensor]] = []
    for number, (loss, mine) in enumerate(zip(losses, own, strict=True)):
        wanted = [*shared, *mine]
        if not wanted:
            owned.append([])
            continue
        found = torch.autograd.grad(
            loss if scale == 1.0 else loss * scale,
            wanted,
            retain_graph=number + 1 < len(losses),
            allow_unused=True,
        )
        for part, gradient in zip(rows[number].split(sizes), found, strict=False):
            if gradient is not None:
                part.copy_(gradient.reshape(-1))
        owned.append([torch.zeros_like(p) if g is None else g for p, g in zip(mine, found[len(shared) :], strict=True)])
    return rows if scale == 1.0 else rows.div_(scale), owned


def gramian(rows: Tensor, block: int = 1 << 15) -> Tensor:
    """G = J J^T in float64, symmetric to the last bit, from rows of any floating dtype; [t, t].

    >>> import torch
    >>> gramian(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    tensor([[5., 2.],
            [2., 1.]], dtype=torch.float64)
    """
    rows = rows.flatten(1)
    rows = rows.cpu() if rows.device.type == "mps" else rows  # which has no float64
    total = rows.new_zeros(len(rows), len(rows), dtype=torch.float64)
    for part in rows.split(block, dim=1):
        wide = part.double()
        total += wide @ wide.T
    return (total + total.T) / 2


def shared_gramian(losses: Sequence[Tensor], shared: Iterable[Tensor] | None = None) -> Tensor:
    """The Gramian of the gradients of the shared parameters, for looking at; keeps the graph and every `.grad`.

    Args:
        losses: t scalars.
        shared: the parameters; by default those that at least two of the losses reach.

    Returns:
        [t, t] float64, the same on all processes. Cost: t backward passes.
    """
    chosen = tuple(shared) if shared is not None else reach(losses).shared
    rows = (
        [torch.autograd.grad(loss, chosen, retain_graph=True, allow_unused=True) for loss in losses] if chosen else []
    )
    if not rows:
        return losses[0].new_zeros(len(losses), len(losses), dtype=torch.float64)
    flat = [
        torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for p, g in zip(chosen, row, strict=True)])
        for row in rows
    ]
    return gramian(mean_over_processes(torch.stack(flat)))


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among them."""
    return dist.get_rank() if processes() > 1 else 0


def mean_over_processes(tensor: Tensor) -> Tensor:
    """The mean of a tensor over all processes, bit-equal on all of them; the tensor itself when there is one."""
    if processes() == 1:
        return tensor
    whole = tensor.contiguous().clone()
    dist.all_reduce(whole)
    return whole.div_(processes())


def mean_all_over_processes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same for many tensors in one message per dtype and device."""
    if processes() == 1 or not tensors:
        return list(tensors)
    found: list[Tensor | None] = [None] * len(tensors)
    kinds = {(each.dtype, each.device) for each in tensors}
    for kind in sorted(kinds, key=str):
        places = [k for k, each in enumerate(tensors) if (each.dtype, each.device) == kind]
        flat = mean_over_processes(torch.cat([tensors[k].reshape(-1) for k in places]))
        for k, part in zip(places, flat.split([tensors[k].numel() for k in places]), strict=True):
            found[k] = part.view_as(tensors[k])
    return [each for each in found if each is not None]


def check_same_tasks(names: Sequence[str], device: torch.device) -> None:
    """Every process brings losses of the same tasks, in the same order."""
    if processes() == 1:
        return
    digest = int.from_bytes(hashlib.blake2b("\0".join(names).encode(), digest_size=7).digest())
    extremes = torch.tensor([digest, -digest], device=device)
    dist.all_reduce(extremes, dist.ReduceOp.MAX)
    if extremes[0] != -extremes[1]:
        raise PolytaskError(
            f"the processes have losses of different tasks (this one: {list(names)}); give every process a loss "
            "for every task of the joined batch (0 times the prediction's sum where a process has no label), in the "
            "same order"
        )
