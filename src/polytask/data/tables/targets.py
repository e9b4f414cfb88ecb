"""Target columns: which task each stands for, and its labels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor

from polytask._text import did_you_mean
from polytask.data.tables.conversion import UnfitCells, to_numbers, to_words
from polytask.data.tables.reading import column_of
from polytask.errors import PolytaskError
from polytask.tasks import MISSING_CLASS, Binary, MultiClass, MultiLabel, Regression, Task

SHOWN = 6
"""How many values of a column an error prints."""


class TargetKind(ABC):
    """How columns become the labels of one kind of task."""

    word: ClassVar[str]

    classes: ClassVar[tuple[int, int]] = (0, 0)
    """How many classes can be declared, from and to; (0, 0) for kinds without."""

    @classmethod
    @abstractmethod
    def make(cls, name: str, columns: Sequence[pl.Series], classes: Sequence[str] = ()) -> tuple[Task, Tensor]:
        """The task (not yet fitted) and its labels, missing ones marked.

        Args:
            name: of the task.
            columns: its labels.
            classes: all labels that there may be, in order; those that are there where none are given.
        """


class BinaryTarget(TargetKind):
    """One column with two different values; the second in order is the positive one."""

    word = "binary"
    classes = (2, 2)

    @classmethod
    def make(cls, name: str, columns: Sequence[pl.Series], classes: Sequence[str] = ()) -> tuple[Task, Tensor]:
        labels = _declared(name, _single(name, columns, cls.word), classes) or _values(columns[0])
        if len(labels) > 2:
            raise PolytaskError(
                f"target '{name}' was to be binary and has {_count(labels)}; "
                f"write {name}:{MultiClassTarget.word} or {name}:{RegressionTarget.word}"
            )
        return Binary(name, labels=(labels[0], labels[1])), _codes(columns[0], labels)


class MultiClassTarget(TargetKind):
    """One column; every different value is a class."""

    word = "multiclass"
    classes = (2, 1_000_000)

    @classmethod
    def make(cls, name: str, columns: Sequence[pl.Series], classes: Sequence[str] = ()) -> tuple[Task, Tensor]:
        column = _single(name, columns, cls.word)
        if declared := _declared(name, column, classes):
            return MultiClass(name, classes=declared), _codes(column, declared)
        labels = _values(column)
        if len(labels) > max(SHOWN, (len(column) - column.null_count()) / 2):
            raise PolytaskError(
                f"target '{name}' was to be multiclass and has {_count(labels)} in {len(column):,} rows: "
                f"too few rows per class to learn from; write {name}:{RegressionTarget.word} if it is a "
                f"number"
            )
        return MultiClass(name, classes=labels), _codes(column, labels)


class MultiLabelTarget(TargetKind):
    """Several columns with two values each (0 and 1, no and yes, false and true)."""

    word = "multilabel"

    @classmethod
    def make(cls, name: str, columns: Sequence[pl.Series], classes: Sequence[str] = ()) -> tuple[Task, Tensor]:
        codes = [BinaryTarget.make(column.name, [column])[1] for column in columns]
        return MultiLabel(name, labels=tuple(column.name for column in columns)), torch.stack(codes, 1)


class RegressionTarget(TargetKind):
    """One column of numbers."""

    word = "regression"

    @classmethod
    def make(cls, name: str, columns: Sequence[pl.Series], classes: Sequence[str] = ()) -> tuple[Task, Tensor]:
        column = _single(name, columns, cls.word)
        _values(column)
        try:
            numbers = to_numbers(column).cast(pl.Float32).fill_null(float("nan"))
        except UnfitCells as error:
            raise PolytaskError(
                f"{error.fact}; mend the cells, or write {name}:{MultiClassTarget.word} if they are classes"
            ) from error
        return Regression(name), torch.from_numpy(numbers.to_numpy().copy())


TARGET_KINDS: dict[str, type[TargetKind]] = {
    kind.word: kind for kind in (BinaryTarget, MultiClassTarget, MultiLabelTarget, RegressionTarget)
}


@dataclass(frozen=True)
class Target:
    """A task that a table's columns hold the labels of.

    >>> Target.parse("income:binary", ["income", "age"])
    Target(name='income', columns=('income',), kind='binary')
    >>> Target.parse("tags=red+round:multilabel", ["red", "round"]).columns
    ('red', 'round')
    """

    name: str
    columns: tuple[str, ...]
    kind: str | None = None

    @classmethod
    def parse(cls, text: str, names: Sequence[str]) -> "Target":
        """From `column:kind`, `column` (the kind is then guessed) or `name=column+column:multilabel`.

        Args:
            text: what was written.
            names: the columns of the table.
        """
        body, kind = text, None
        head, colon, word = text.rpartition(":")
        if text not in names and colon:
            if word not in TARGET_KINDS:
                raise PolytaskError(f"no kind of target '{word}' (in '{text}'): {did_you_mean(word, TARGET_KINDS)}")
            body, kind = head, word
        name, equals, joined = body.partition("=")
        columns = tuple(joined.split("+")) if equals and body not in names else (body,)
        target = cls(name if len(columns) > 1 or columns[0] != body else body, columns, kind)
        for column in target.columns:
            if column not in names:
                raise PolytaskError(f"the table has no target column '{column}': {did_you_mean(column, names)}")
        return target

    def make(self, frame: pl.DataFrame, classes: Sequence[str] = ()) -> tuple[Task, Tensor, str]:
        """The task, its labels, and a sentence about what was guessed (or none).

        Args:
            frame: the table.
            classes: all labels that there may be, in order; those that are there where none are given.
        """
        columns = [column_of(frame, name, "target column") for name in self.columns]
        kind, told = self.taken_for(frame, classes)
        fewest, most = kind.classes
        if classes and not fewest <= len(classes) <= most:
            raise PolytaskError(
                f"target '{self.name}' is {kind.word}, and {len(classes)} classes are declared for it "
                f"({', '.join(classes)}); " + (f"it has {fewest}" if fewest == most > 0 else "declare none for it")
            )
        note = f"target '{self.name}' was taken for {kind.word} ({told}); add :kind to say otherwise" if told else ""
        return *kind.make(self.name, columns, classes), note

    def taken_for(self, frame: pl.DataFrame, classes: Sequence[str] = ()) -> tuple[type[TargetKind], str]:
        """Its kind, and why where that was guessed."""
        if self.kind is not None:
            return TARGET_KINDS[self.kind], ""
        if classes:
            kind = BinaryTarget if len(classes) == BinaryTarget.classes[1] else MultiClassTarget
            return kind, f"{len(classes)} classes are declared"
        return _guess([column_of(frame, name, "target column") for name in self.columns])


def _guess(columns: Sequence[pl.Series]) -> tuple[type[TargetKind], str]:
    if len(columns) > 1:
        return MultiLabelTarget, f"{len(columns)} columns"
    column, values = columns[0], _values(columns[0])
    if len(values) == 2:
        return BinaryTarget, f"two values, {values[0]} and {values[1]}"
    if column.dtype.is_float() or (column.dtype.is_numeric() and len(values) > 10):
        return RegressionTarget, "numbers"
    return MultiClassTarget, _count(values)


def _single(name: str, columns: Sequence[pl.Series], word: str) -> pl.Series:
    if len(columns) > 1:
        raise PolytaskError(
            f"target '{name}' joins {len(columns)} columns, which makes it {MultiLabelTarget.word}, not {word}"
        )
    return columns[0]


def _values(column: pl.Series) -> tuple[str, ...]:
    """The different values in order, as words; an error when there are fewer than two."""
    if column.dtype.is_nested():
        raise PolytaskError(f"target '{column.name}' holds {column.dtype}; a target needs one value per cell")
    there = column.drop_nulls().unique().sort()
    if not len(there):
        raise PolytaskError(
            f"target '{column.name}' has no label at all: all {len(column):,} rows are missing; drop the target"
        )
    values = tuple(to_words(there).to_list())
    if len(values) == 1:
        raise PolytaskError(
            f"target '{column.name}' has one value only ({values[0]}): there is nothing to learn; "
            "drop the target, or look at the column"
        )
    return values


def _declared(name: str, column: pl.Series, classes: Sequence[str]) -> tuple[str, ...]:
    """The declared classes, none where there are none; an error where a label is none of them."""
    if not classes:
        return ()
    if len(set(classes)) < len(classes):
        raise PolytaskError(f"the classes of target '{name}' must differ, got {', '.join(classes)}")
    words = to_words(column)
    other = (words.is_not_null() & ~words.is_in(list(classes))).arg_true()
    if len(other):
        row = int(other[0])
        raise PolytaskError(
            f"target '{name}' has labels outside its declared classes: row {row + 1} (the header not counted) holds "
            f"'{words[row]}', and {len(other)} of {len(column)} rows are like that; "
            f"{did_you_mean(str(words[row]), classes)}"
        )
    return tuple(classes)


def _codes(column: pl.Series, labels: tuple[str, ...]) -> Tensor:
    codes = to_words(column).cast(pl.Enum(list(labels))).to_physical().cast(pl.Int64).fill_null(MISSING_CLASS)
    return torch.from_numpy(np.array(codes.to_numpy()))


def _count(values: Sequence[str]) -> str:
    more = ", …" if len(values) > SHOWN else ""
    return f"{len(values):,} different values ({', '.join(values[:SHOWN])}{more})"
