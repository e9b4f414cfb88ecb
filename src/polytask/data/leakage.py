"""What is in two splits at once: groups, or rows with the same inputs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polytask.data.arrays import TensorData
from polytask.data.batch import columns_of

Numbers = np.ndarray[Any, np.dtype[Any]]

WARNING = "WARNING"
"""What notes begin with that say why results may look better than they are."""
AT_ONCE = 1 << 24
"""Bytes of rows that are looked at together."""


@dataclass(frozen=True)
class Crossing:
    """Rows of a split whose like is in an earlier one.

    Args:
        earlier, later: the two splits.
        values: how many different groups, or inputs, both have.
        rows: how many rows of the later split have one of them.
        of: how many rows the later split has.
        repeats: the share of the earlier split's rows that repeat another of them: where there are few different
            inputs, rows alike need not be copies.
    """

    earlier: str
    later: str
    values: int
    rows: int
    of: int
    repeats: float = 0.0

    def same_inputs(self) -> str:
        """The warning about rows that are alike."""
        return (
            f"{WARNING}: {self._rows()} with exactly the inputs of a {self.earlier} row: what is learned by heart "
            f"looks like skill there{self._within()}"
        )

    def same_group(self, column: str) -> str:
        """The warning about a group that is divided."""
        return (
            f"{WARNING}: {self.values:,} of the values of group '{column}' in both {self.earlier} and {self.later} "
            f"({self._rows()}): scores there may not hold for new ones"
        )

    def _within(self) -> str:
        return f" ({100 * self.repeats:.1f} % of the {self.earlier} rows repeat one another)" if self.repeats else ""

    def _rows(self) -> str:
        return f"{self.rows:,} of {self.of:,} {self.later} rows ({share(self.rows, self.of)})"


def share(part: int, whole: int) -> str:
    """A share in percent that is never rounded to nothing, or to all.

    >>> share(1, 3), share(1, 100_000), share(99_999, 100_000), share(5, 5)
    ('33.3 %', '< 0.1 %', '> 99.9 %', '100 %')
    """
    if part in (0, whole):
        return "100 %" if part else "0 %"
    percent = 100 * part / whole
    return "< 0.1 %" if percent < 0.1 else "> 99.9 %" if percent > 99.9 else f"{percent:.1f} %"


def crossings(owners: Mapping[str, Tensor]) -> list[Crossing]:
    """What two splits have in common, by pairs in their order.

    Args:
        owners: by split, [rows] integers: the same where rows belong together.

    Cost: a sort of the numbers of every split, and a search in one for every pair.

    >>> crossings({"train": torch.tensor([5, 6]), "test": torch.tensor([5, 5, 7])})
    [Crossing(earlier='train', later='test', values=1, rows=2, of=3, repeats=0.0)]
    """
    ordered = {name: np.sort(each.numpy()) for name, each in owners.items()}
    found = []
    for earlier, later in combinations(owners, 2):
        both = ordered[later][_in(ordered[later], ordered[earlier])]
        if len(both):
            repeats = 1 - _different(ordered[earlier]) / len(ordered[earlier])
            found.append(Crossing(earlier, later, _different(both), len(both), len(ordered[later]), repeats))
    return found


def _in(these: Numbers, ordered: Numbers) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of these are among the others."""
    if not len(ordered):
        return np.zeros(len(these), bool)
    places = np.searchsorted(ordered, these)
    return ordered[np.minimum(places, len(ordered) - 1)] == these


def _different(ordered: Numbers) -> int:
    """How many different numbers there are."""
    return int(len(ordered) > 0) + int(np.count_nonzero(np.diff(ordered)))


def duplicates(splits: Mapping[str, TensorData]) -> list[Crossing]:
    """Rows whose inputs are, bit for bit, those of a row in another split.

    Compared are hashes of 64 bits of the inputs as they are held, before `transform`: two different ones of n rows fall
    together with a probability of about n² / 2^65.

    Cost: reads every input once, about a second per GB or per million rows.

    >>> data = {"train": TensorData(torch.tensor([[1.0], [2.0]]), {}), "test": TensorData(torch.tensor([[2.0]]), {})}
    >>> [(each.earlier, each.later, each.rows) for each in duplicates(data)]
    [('train', 'test', 1)]
    """
    return crossings({name: row_hashes(data) for name, data in splits.items()})


def row_hashes(data: TensorData) -> Tensor:
    """[n] int64, equal where all inputs of two rows are; other numbers in another process."""
    return torch.from_numpy(np.fromiter(_hashes(data), np.int64, len(data)))


def _hashes(data: TensorData) -> Iterator[int]:
    first = columns_of(data.select(torch.arange(1)).inputs).values()
    at_once = max(1, AT_ONCE // max(1, sum(each.nbytes for each in first)))
    for rows in torch.arange(len(data)).split(at_once):
        columns = columns_of(data.select(rows).inputs).values()
        yield from map(hash, zip(*(_bytes(column) for column in columns), strict=True))


def _bytes(column: Tensor) -> list[bytes]:
    """Every row as it lies in memory."""
    array = np.ascontiguousarray(column.numpy())
    flat = array.reshape(len(array), -1)
    return flat.view(f"V{flat.dtype.itemsize * flat.shape[1]}")[:, 0].tolist() if flat.size else [b""] * len(flat)
