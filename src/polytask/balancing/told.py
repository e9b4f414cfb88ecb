"""What a step was given and what it tells: losses by name, checked; what was done with them; what was wrong."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polytask.errors import PolytaskError

Losses = Mapping[str, Tensor] | Sequence[Tensor]
_WIDE = (torch.float32, torch.float64)


class NonFinite(PolytaskError):
    """A loss, or a task's gradient that is looked at, is NaN or infinite.

    Nothing was changed: no gradient, no memory of the balancer.

    Args:
        what: "loss" or "gradient".
        values: the losses, or the squared lengths (or sums) of the gradients, of the step by task, as they came.
    """

    def __init__(self, what: str, values: Mapping[str, float]) -> None:
        self.what, self.values = what, dict(values)
        self.tasks = [name for name, value in values.items() if not math.isfinite(value)]
        super().__init__(
            f"the {what} of {' and '.join(map(repr, self.tasks))} is "
            f"{', '.join(str(self.values[name]) for name in self.tasks)} (all: {self.values}); no gradient was "
            "written; look at the inputs and labels of this batch, lower the learning rate or clip the gradient"
        )


@dataclass(frozen=True)
class Balanced:
    """What `backward` did in one step.

    Args:
        tasks: names of the tasks that had a loss.
        losses: [t], detached, the mean over all processes.
        weights: [t] effective weights of the tasks' gradients; None where a balancer does not weigh whole tasks.
        gramian: [t, t] of the task gradients, where the balancer needed it.
        way: how the gradients were made; see `backward`.
    """

    tasks: tuple[str, ...]
    losses: Tensor
    weights: Tensor | None = None
    gramian: Tensor | None = None
    way: str = "one pass"


def named_losses(losses: Losses) -> dict[str, Tensor]:
    """The losses by name, checked."""
    if isinstance(losses, Tensor) or not isinstance(losses, Mapping | Sequence):
        raise PolytaskError(
            "expected losses by task name, {'task': scalar, ...}, or a list of scalars, got "
            f"{type(losses).__name__}; give every task's loss by itself, before they are added or stacked"
        )
    named = dict(losses) if isinstance(losses, Mapping) else {str(k): loss for k, loss in enumerate(losses)}
    if not named:
        raise PolytaskError(
            "there are no losses: no task has a label in this batch; skip the batch, or look at the labels"
        )
    for name, loss in named.items():
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            came = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise PolytaskError(
                f"the loss of {name!r} must be a scalar tensor, got {came}; take the mean over its labels"
            )
        if not loss.requires_grad:
            raise PolytaskError(
                f"the loss of {name!r} has no autograd graph (was it computed under no_grad, or detached?): "
                "there is nothing to learn from"
            )
    return {name: loss if loss.ndim == 0 else loss.reshape(()) for name, loss in named.items()}


def stacked(losses: Mapping[str, Tensor]) -> Tensor:
    """[t], in float32 at least."""
    return torch.stack([loss if loss.dtype in _WIDE else loss.float() for loss in losses.values()])


def check_finite(tasks: Iterable[str], values: Tensor) -> None:
    if not math.isfinite(values.sum(dtype=torch.float64).item()):
        raise NonFinite("loss", dict(zip(tasks, values.tolist(), strict=True)))
