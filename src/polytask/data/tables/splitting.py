"""Which rows of a table train, choose and test; and whether that can work."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
import torch
from torch import Tensor

from polytask._text import did_you_mean
from polytask.data.bookkeeping import refuse_unlabelled
from polytask.data.splits import DEFAULT_FRACTIONS
from polytask.data.tables.conversion import to_days, to_numbers, to_words
from polytask.errors import PolytaskError
from polytask.tasks import MISSING_CLASS, Task, present

SPLIT_WORDS: dict[str, str] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""What a split column may say, in small or capital letters."""

SMALL = 100
"""A split with fewer rows is used, and the reader is told."""


def rows_alike(frame: pl.DataFrame, names: Iterable[str]) -> Tensor:
    """A number per row, equal where all these columns are equal: [rows] int64, counted as they first appear.

    >>> rows_alike(pl.DataFrame({"a": [1, 2, 1], "b": ["x", "x", "x"]}), ["a", "b"])
    tensor([0, 1, 0])
    """
    hashes = frame.select(names).hash_rows(seed=0).to_numpy()
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[first.argsort()] = np.arange(len(first))  # so that the split doesn't hang on the hash function
    return torch.from_numpy(number[group])


def group_numbers(column: pl.Series, alike: Tensor) -> Tensor:
    """A number per row, equal in one group; rows without a group are in one with those that have the same inputs.

    >>> group_numbers(pl.Series(["a", None, "a", None]), torch.tensor([0, 1, 2, 1]))
    tensor([0, 5, 0, 5])
    """
    number = rows_alike(column.to_frame(), [column.name])
    missing = torch.from_numpy(column.is_null().to_numpy().copy())
    return torch.where(missing, len(number) + alike, number)


def times_of(column: pl.Series) -> Tensor:
    """The time of every row, as a number: numbers as they are, dates as days.

    Raises:
        PolytaskError: a time is missing, or is neither a number nor a date.

    >>> times_of(pl.Series("day", ["1970-01-03", "1970-01-02"]))
    tensor([2., 1.], dtype=torch.float64)
    """
    if missing := column.null_count():
        first = int(column.is_null().arg_true()[0]) + 1
        raise PolytaskError(
            f"column '{column.name}' was to give the time of every row for the split and is missing in {missing:,} of "
            f"{len(column):,} rows (first: row {first}, the header not counted): fill it in, leave these rows out, or "
            "split otherwise"
        )
    if isinstance(column.dtype, pl.String):
        numbers = column.cast(pl.Float64, strict=False)
        column = column if numbers.null_count() else numbers
    found = to_numbers(column) if column.dtype.is_numeric() else to_days(column)
    return torch.from_numpy(found.cast(pl.Float64).to_numpy().copy())


def given_rows(column: pl.Series) -> dict[str, Tensor]:
    """Rows of each split as a column says; of validation there may be none."""
    words = to_words(column).str.to_lowercase()
    unknown = words.filter(~words.is_in(list(SPLIT_WORDS)) | words.is_null())
    if len(unknown):
        raise PolytaskError(
            f"split column '{column.name}' holds {unknown[0]!r} in {len(unknown)} rows: "
            f"{did_you_mean(str(unknown[0]), SPLIT_WORDS)}"
        )
    names = words.replace_strict(SPLIT_WORDS)
    found = {
        name: torch.from_numpy((names == name).arg_true().cast(pl.Int64).to_numpy().copy())
        for name in DEFAULT_FRACTIONS
    }
    if not len(found["train"]):
        raise PolytaskError(f"split column '{column.name}' leaves no row to train on; mark rows with 'train'")
    return found


def check_splits(splits: Mapping[str, Tensor], tasks: Sequence[Task], targets: Mapping[str, Tensor]) -> list[str]:
    """Raise when a split can't do its work; return what the reader should know about those that barely can.

    Raises:
        PolytaskError: a split is empty, or a task has no label, or labels of one value only, in one.
    """
    for name, rows in splits.items():
        if not len(rows):
            raise PolytaskError(f"the {name} split is empty; {_WAY_OUT}")
    for task in tasks:
        there = present(targets[task.name]).reshape(len(targets[task.name]), -1).any(1)
        labelled = {name: int(there[rows].sum()) for name, rows in splits.items()}
        refuse_unlabelled(task.name, labelled, {name: len(rows) for name, rows in splits.items()})
        for name, rows in splits.items():
            _check_task(name, task, targets[task.name][rows])
    small = [f"{name} ({len(rows)} rows)" for name, rows in splits.items() if len(rows) < SMALL]
    told = [f"small splits: {', '.join(small)}; differences between methods there are mostly chance"] if small else []
    return told + [note for task in tasks for note in _rare(task, targets[task.name], splits)]


_WAY_OUT = "give more rows, another seed, or a split column"


def _check_task(split_name: str, task: Task, target: Tensor) -> None:
    columns = target.reshape(len(target), -1).T
    for k, column in enumerate(columns):
        labels = column[present(column)]
        if not len(labels):
            what = f"'{task.class_names[k]}' of task '{task.name}'" if task.class_names else f"task '{task.name}'"
            raise PolytaskError(f"{what} has no label in the {split_name} split ({len(target)} rows); {_WAY_OUT}")
        if bool((labels == labels[0]).all()):
            raise PolytaskError(
                f"the {split_name} split is too small for task '{task.name}': all {len(labels)} labels "
                f"there are "
                f"the same, so no method can be told from another; {_WAY_OUT}"
            )


def _rare(task: Task, target: Tensor, splits: Mapping[str, Tensor]) -> list[str]:
    """Classes without a training row, or without a row to test on."""
    labels: Sequence[str] = getattr(task, "labels", ())
    if target.ndim > 1 or not labels:
        return []
    found = {}
    for name, rows in splits.items():
        known = target[rows][target[rows] != MISSING_CLASS]
        counts = torch.bincount(known, minlength=len(labels))
        found[name] = [labels[k] for k in (counts == 0).nonzero()[:, 0].tolist()]
    return [
        f"task '{task.name}': no {name} row has class {', '.join(absent)}" for name, absent in found.items() if absent
    ]
