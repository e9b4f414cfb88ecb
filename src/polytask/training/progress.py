"""How far a training is, and the means of what its steps gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Seen = Mapping[tuple[str, ...], tuple[list[Tensor], list[Tensor]]]


def stacked(seen: Seen) -> dict[tuple[str, ...], tuple[Tensor, Tensor]]:
    """The same with one tensor [steps, t] in place of each list."""
    empty = torch.zeros(0)
    return {
        names: (torch.stack(losses), torch.stack(weights) if weights else empty)
        for names, (losses, weights) in seen.items()
    }


def means(seen: Seen, tasks: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """The mean loss of every task over the steps that saw it, and its mean weight over those that weighed it."""
    found: dict[str, tuple[list[Tensor], list[Tensor]]] = {task: ([], []) for task in tasks}
    for names, told in stacked(seen).items():
        for place, steps in enumerate(told):
            if len(steps):
                for name, column in zip(names, steps.cpu().double().T, strict=True):
                    found[name][place].append(column)
    return {
        task: {"loss": float(torch.cat(losses).mean()), "weight": float(torch.cat(weights).mean()) if weights else None}
        for task, (losses, weights) in found.items()
        if losses
    }


@dataclass
class Progress:
    """How far a training is: everything but tensors of the model, the optimizer and the balancer."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    skipped: int = 0
    seconds: float = 0.0
    memory: int = 0
    learning: int = 0  # parameter tensors that learned when the memory was counted
    best: float | None = None
    best_epoch: int = 0
    stopped: bool = False
    seen: dict[tuple[str, ...], tuple[list[Tensor], list[Tensor]]] = field(default_factory=dict)
    """Losses of every step of the epoch under way, and weights where there were any, by the tasks that it had."""
    penalties: list[float] = field(default_factory=list)
    """The model's penalty at every step of the epoch under way, where it has one."""
    conflict: dict[str, Any] | None = None
    errors: dict[str, float] | None = None
    """What was left to learn in every pool when the epoch under way began, for a sampler that goes by it."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
