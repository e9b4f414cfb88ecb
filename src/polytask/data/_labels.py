"""The targets of some rows of columns: which labels are there, counted without looking at them twice."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from polytask._text import did_you_mean
from polytask.data._columns import ALL, Index, own, taken
from polytask.data.batch import missing
from polytask.data.sources import Sources
from polytask.errors import PolytaskError
from polytask.tasks import present


@dataclass(frozen=True, eq=False)
class Labels(Mapping[str, Tensor]):
    """Targets by task, at some rows of their columns; a mapping that takes those of a task when it is asked for.

    Args:
        columns: the targets of every task.
        each: how many labels each row of a column has; None where none is missing.
        rows: the rows that are seen; None: all.
        sources: of the rows seen; where each shows one task only, the labels of others are missing there.
    """

    columns: dict[str, Tensor]
    each: dict[str, Tensor | None]
    rows: Tensor | None = None
    sources: Sources | None = None

    @classmethod
    def of(cls, columns: Mapping[str, Tensor], sources: Sources | None) -> "Labels":
        """All rows of the columns, whose labels are counted."""
        each: dict[str, Tensor | None] = {}
        for name, target in columns.items():
            there = present(target)
            each[name] = None if bool(there.all()) else there.reshape(len(target), -1).sum(1)
        return cls(dict(columns), each, None, sources)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.columns:
            raise KeyError(name)
        return self.take(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __or__(self, other: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**self, **other}

    @cached_property
    def complete(self) -> frozenset[str]:
        """The tasks that miss no label in these rows."""
        return frozenset() if self.sources is not None and self.sources.one_task else self._whole

    def take(self, name: str, index: Index = ALL, device: torch.device | None = None) -> Tensor:
        """The targets of a task in the rows `index`."""
        target = taken(self._column(name), self.rows, index, device)
        mine = self._mine(name, index)
        if mine is None:
            return target
        mark, kind = missing(target)
        return target.to(kind).masked_fill(~mine.to(target.device).reshape(-1, *[1] * (target.ndim - 1)), mark)

    def count(self, name: str, index: Index = ALL) -> int:
        """How many labels a task has in the rows `index`."""
        mine, each = self._mine(name, index), self.each[name]
        if each is None or name in self._whole:
            length = self._length(name) if isinstance(index, slice) else len(index)
            return (length if mine is None else int(mine.sum())) * self._full(name)
        found = taken(each, self.rows, index)
        return int((found if mine is None else found * mine).sum())

    def labelled(self, name: str) -> Tensor:
        """Which rows show a label of a task."""
        length, mine = self._length(name), self._mine(name)
        each = self.each[name]
        there = torch.ones(length, dtype=torch.bool) if each is None else taken(each, self.rows) > 0
        return there if mine is None else there & mine

    def at(self, rows: Tensor | None, names: Iterable[str], sources: Sources | None) -> "Labels":
        """Those of some tasks, at other rows of the columns."""
        columns = {name: self._column(name) for name in names}
        return Labels(columns, {name: self.each[name] for name in columns}, rows, sources)

    def narrowed(self, first: int, count: int) -> "Labels":
        """Those of a run of rows of the columns, which are cut to it."""
        columns = {name: column.narrow(0, first, count) for name, column in self.columns.items()}
        each = {name: None if labels is None else labels.narrow(0, first, count) for name, labels in self.each.items()}
        return Labels(columns, each, None, self.sources)

    def alone(self) -> "Labels":
        """The same in columns of their own, without other rows."""
        columns = {name: own(taken(column, self.rows)) for name, column in self.columns.items()}
        each = {name: None if labels is None else own(taken(labels, self.rows)) for name, labels in self.each.items()}
        return Labels(columns, each, None, self.sources)

    @cached_property
    def _whole(self) -> frozenset[str]:
        """The tasks of which the columns miss no label in these rows, whether the rows show them or not."""
        return frozenset(
            name
            for name, each in self.each.items()
            if each is None or bool((taken(each, self.rows) == self._full(name)).all())
        )

    def _column(self, name: str) -> Tensor:
        if name not in self.columns:
            raise PolytaskError(f"the data have no targets for task '{name}'; {did_you_mean(name, self.columns)}")
        return self.columns[name]

    def _length(self, name: str) -> int:
        return len(self._column(name) if self.rows is None else self.rows)

    def _mine(self, name: str, index: Index = ALL) -> Tensor | None:
        """Which rows show this task, where each shows one only."""
        if self.sources is None or not self.sources.one_task:
            return None
        return self.sources.of_row[index] == self.sources.names.index(name)

    def _full(self, name: str) -> int:
        return math.prod(self.columns[name].shape[1:])
