"""What a batch is, and the columns that data sets are made of."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from polytask.errors import PolytaskError
from polytask.tasks.task import MISSING_CLASS

Inputs = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Inputs, targets by task, and how many labels each task has; unpacks as `inputs, targets = batch`.

    A task without one label in the batch has no key in `targets` and none in `counts`: absent is absent. `complete`
    names the tasks of which no label is missing anywhere in the data.
    """

    inputs: Inputs
    targets: dict[str, Tensor]
    counts: dict[str, float]
    complete: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Inputs | dict[str, Tensor]]:
        return iter((self.inputs, self.targets))

    def __len__(self) -> int:
        return rows_of(self.inputs)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return Batch(
            on_each(self.inputs, lambda x: x.to(device, non_blocking=True)),
            {name: target.to(device, non_blocking=True) for name, target in self.targets.items()},
            self.counts,
            self.complete,
        )


class Augment(Protocol):
    """What changes gathered training samples at random: a pure function, best a frozen dataclass.

    Inputs and targets are changed each on its own: whoever counts labels calls it with no inputs (`{}`) and some of
    the targets.
    """

    @property
    def numbers(self) -> int:
        """How many random numbers a sample needs."""

    def keeps(self, target: str) -> bool:
        """Whether a target without a missing label never gets one."""

    def __call__(self, inputs: Inputs, targets: dict[str, Tensor], random: Tensor) -> tuple[Inputs, dict[str, Tensor]]:
        """The samples changed; `random` [b, numbers], float64 in [0, 1) on the CPU, is all the randomness there is."""


def columns_of(inputs: Inputs) -> dict[str, Tensor]:
    """The inputs by name; "" where they are one tensor."""
    return inputs if isinstance(inputs, dict) else {"": inputs}


def on_each(inputs: Inputs, do: Callable[[Tensor], Tensor]) -> Inputs:
    """What a function makes of every column."""
    return {name: do(column) for name, column in inputs.items()} if isinstance(inputs, dict) else do(inputs)


def rows_of(inputs: Inputs) -> int:
    """How many samples the inputs have."""
    return len(next(iter(columns_of(inputs).values())))


def gathered(column: Tensor, index: Tensor, device: torch.device | None) -> Tensor:
    """The rows of a column, on a device."""
    rows = column.index_select(0, index)
    return rows if device is None else rows.to(device, non_blocking=True)


def missing(target: Tensor) -> tuple[float, torch.dtype]:
    """How a column of targets says that there is no label, and in which type it can: NaN, or -100.

    >>> missing(torch.zeros(1, dtype=torch.uint8))
    (-100, torch.int16)
    """
    if target.is_floating_point():
        return math.nan, target.dtype
    return MISSING_CLASS, target.dtype if target.dtype.is_signed else torch.int16


def refuse_not_finite(name: str, column: Tensor) -> None:
    """An error where a column holds NaN or infinity."""
    rows = (~torch.isfinite(column)).reshape(len(column), -1).any(1).nonzero()[:, 0]
    if len(rows):
        raise PolytaskError(
            f"input{f' {name!r}' if name else ''} holds NaN or infinity in {len(rows)} of {len(column)} rows "
            f"(first: row {rows[0].item()}); fill or drop them before training (tables read by polytask are filled)"
        )
