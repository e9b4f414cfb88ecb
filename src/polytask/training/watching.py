"""What some balancers want to know of a step besides its losses: progress on the batch, and a second look at it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from polytask.balancing import Balancer, look_again
from polytask.balancing.processes import mean_over_processes
from polytask.tasks import Task


@dataclass(frozen=True)
class Pass:
    """One forward pass of a batch, or of a piece of one.

    Args:
        predictions, targets: by task, of the tasks that have labels in the whole batch.
        counts: how many labels each of them has there; their share of a process, where there are several.
        losses: sums over the piece, divided by the counts.
        features: the shared representation, where gradients are balanced there.
        penalty: what the model adds unbalanced, where it was asked.
    """

    predictions: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    counts: Mapping[str, float]
    losses: Mapping[str, Tensor]
    features: Any = None
    penalty: Tensor | None = None


@torch.no_grad()
def measure(balancer: Balancer, tasks: Sequence[Task], passes: Iterable[Pass]) -> None:
    """Tell a balancer that reads progress how well each task does on a batch, over all its pieces and processes."""
    if not balancer.reads_progress:
        return
    shares: dict[str, Tensor] = {}
    for each in passes:
        for task in tasks:
            if task.name in each.predictions and task.name in each.targets:
                name = task.name
                found = task.credit_sum(each.predictions[name], each.targets[name]).float() / each.counts[name]
                shares[name] = shares[name] + found if name in shares else found
    if shares:
        whole = mean_over_processes(torch.stack(list(shares.values()))).nan_to_num(0.0).clamp(0.0, 1.0)
        balancer.measure(dict(zip(shares, whole.tolist(), strict=True)))


def look(balancer: Balancer, model: nn.Module, passes: Callable[[], Iterable[Pass]]) -> None:
    """Show a balancer that looks again the losses after the optimizer's step; the model is left as it is.

    Args:
        passes: forward passes of all pieces of the batch, once more.
    """
    if not balancer.looks_again:
        return
    losses: dict[str, Tensor] = {}
    with look_again(model):
        for each in passes():
            for name, loss in each.losses.items():
                losses[name] = losses[name] + loss if name in losses else loss
    balancer.after_step(losses)
