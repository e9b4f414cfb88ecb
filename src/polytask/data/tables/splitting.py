"""Which rows of a table train, choose and test; and whether that can work."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import polars as pl
import torch
from torch import Tensor

from polytask._text import did_you_mean
from polytask.data.splits import DEFAULT_FRACTIONS, split
from polytask.data.tables.conversion import to_words
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


def shared_groups(rows: Mapping[str, Tensor], groups: Tensor) -> dict[str, int]:
    """How many groups two splits have in common, by the names of the two; without those that have none.

    >>> shared_groups({"train": torch.tensor([0, 1]), "test": torch.tensor([2])}, torch.tensor([5, 6, 5]))
    {'train and test': 1}
    """
    own = {name: torch.unique(groups[these]) for name, these in rows.items()}
    found = {f"{a} and {b}": int(torch.isin(own[a], own[b]).sum()) for a, b in combinations(own, 2)}
    return {pair: count for pair, count in found.items() if count}


def random_split(groups: Tensor, seed: int, fractions: Mapping[str, float] = DEFAULT_FRACTIONS) -> dict[str, Tensor]:
    """Rows of each split; rows of one group stay together."""
    return split(len(groups), fractions, seed, groups)


def given_split(column: pl.Series, groups: Tensor, seed: int) -> dict[str, Tensor]:
    """Rows of each split as a column says; without validation rows, 15 % of the training rows validate."""
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
    if not len(found["validation"]):
        train = found["train"]
        inner = split(len(train), {"train": 0.85, "validation": 0.15}, seed, groups[train])
        found |= {name: train[rows] for name, rows in inner.items()}
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
            _check_task(name, task, targets[task.name][rows])
    small = [f"{name} ({len(rows)} rows)" for name, rows in splits.items() if len(rows) < SMALL]
    told = [f"small splits: {', '.join(small)}; differences between methods there are mostly chance"] if small else []
    return told + [note for task in tasks for note in _rare(task, targets[task.name], splits)]


_WAY_OUT = "give more rows, another seed, or a split column"


def _check_task(split_name: str, task: Task, target: Tensor) -> None:
    columns = target.reshape(len(target), -1).T
    for column in columns:
        labels = column[present(column)]
        if not len(labels):
            raise PolytaskError(
                f"task '{task.name}' has no label in the {split_name} split ({len(target)} rows); {_WAY_OUT}"
            )
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
