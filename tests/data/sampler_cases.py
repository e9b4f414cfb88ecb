"""Every sampler with the shares that it must give; importable without pytest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from polytask.data import (
    AllTasks,
    Annealed,
    ByError,
    Proportional,
    RoundRobin,
    Sampler,
    Temperature,
    TensorData,
    Uniform,
    mixture,
)

SIZES = (60, 25, 10, 5)
EPOCHS = 5
ERRORS = (0.2, 0.2, 0.4, 0.8)
NAMES = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Case:
    """A sampler, and by hand what share each of four pools of 60, 25, 10 and 5 rows has in an epoch, from 0."""

    name: str
    sampler: Sampler
    expected: Callable[[int], Sequence[float]]


def _uniform(epoch: int) -> Sequence[float]:
    return [0.25] * 4


def _power(exponent: float) -> Sequence[float]:
    powers = [size**exponent for size in SIZES]
    return [each / sum(powers) for each in powers]


CASES = [
    Case("Proportional", Proportional(), lambda epoch: [0.6, 0.25, 0.1, 0.05]),
    Case("Proportional per batch", Proportional(per="batch"), lambda epoch: [0.6, 0.25, 0.1, 0.05]),
    Case("Uniform", Uniform(), _uniform),
    Case("Uniform per batch", Uniform(per="batch"), _uniform),
    Case("Temperature", Temperature(2), lambda epoch: _power(0.5)),
    Case("Temperature per batch", Temperature(4, per="batch"), lambda epoch: _power(0.25)),
    Case("Temperature with a limit", Temperature(1, most=10), lambda epoch: [10 / 35, 10 / 35, 10 / 35, 5 / 35]),
    Case("Annealed", Annealed(), lambda epoch: _power(1 - 0.8 * epoch / 4)),
    Case("Annealed per batch", Annealed(per="batch"), lambda epoch: _power(1 - 0.8 * epoch / 4)),
    Case("RoundRobin", RoundRobin(), _uniform),
    Case("AllTasks", AllTasks(), _uniform),
    Case("ByError", ByError(floor=0.2), lambda epoch: [0.15, 0.15, 0.25, 0.45]),
    Case("ByError per batch", ByError(floor=0.0, per="batch"), lambda epoch: [0.125, 0.125, 0.25, 0.5]),
]


def one_each() -> TensorData:
    """A mixture of four data sets with a task each; the input is the row's number."""
    parts, first = {}, 0
    for name, size in zip(NAMES, SIZES, strict=True):
        parts[name] = TensorData(torch.arange(first, first + size)[:, None], {name: torch.ones(size)})
        first += size
    return mixture(parts)


def shared(rows: int = 60) -> TensorData:
    """One data set with four tasks, which have labels in 60, 25, 10 and 5 of its rows."""
    targets = {name: torch.full((rows,), torch.nan) for name in NAMES}
    for name, size in zip(NAMES, SIZES, strict=True):
        targets[name][:size] = 1.0
    return TensorData(torch.arange(rows)[:, None], targets)
