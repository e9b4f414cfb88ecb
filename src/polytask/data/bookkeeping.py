"""Which rows have labels of which task: counts, overlap, class balance, scales of numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from polytask.data.arrays import TensorData
from polytask.errors import PolytaskError
from polytask.tasks import Task, present

T = TypeVar("T")
AT_ONCE = 1 << 22
"""Labels that are looked at together."""
WITHOUT = {
    "train": "nothing could be learned",
    "validation": "no network could be chosen",
    "test": "nothing could be said of it in the end",
}
"""What a split without labels means."""


@dataclass(frozen=True)
class Scale:
    """How large the numbers of a task are in one split; NaN where there is none.

    Args:
        labels: how many there are.
        mean, deviation: of them (divided by their number).
        low, high: the smallest and the largest.
    """

    labels: int
    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class Balance:
    """How the labels of a task in one split are spread over its classes.

    Args:
        counts: [classes] labels of each class; of a task whose classes don't exclude each other, how often each is
            there.
        of: [classes] how many labels that is out of.
    """

    counts: Tensor
    of: Tensor

    @property
    def shares(self) -> Tensor:
        """[classes] float64; NaN without labels."""
        return self.counts.double() / self.of


class Bookkeeping:
    """The labels of some tasks in some splits; each table is made when it is asked for.

    Args:
        tasks: whose labels.
        splits: by name; every one has targets of every task.

    Cost: reads the targets, a few million labels at a time.

    >>> from polytask.tasks import Binary, Regression
    >>> targets = {"rain": torch.tensor([1, 0, -100]), "degrees": torch.tensor([2.0, float("nan"), 4.0])}
    >>> book = Bookkeeping([Binary("rain"), Regression("degrees")], {"train": TensorData(torch.zeros(3), targets)})
    >>> book.labelled["rain"], book.overlap("train").tolist()
    ({'train': 2}, [[2, 1], [1, 2]])
    >>> book.balance["rain"]["train"].shares.tolist(), book.scales["degrees"]["train"].mean
    ([0.5, 0.5], 3.0)
    """

    def __init__(self, tasks: Sequence[Task], splits: Mapping[str, TensorData]) -> None:
        self.tasks, self.splits = tuple(tasks), dict(splits)

    @cached_property
    def rows(self) -> dict[str, int]:
        """How many rows each split has."""
        return {split: len(data) for split, data in self.splits.items()}

    @cached_property
    def labelled(self) -> dict[str, dict[str, int]]:
        """Rows with a label, by task and split."""
        return self._each(lambda task, data: int(data.labelled(task.name).sum()))

    @cached_property
    def filled(self) -> dict[str, dict[str, float]]:
        """Of the labels that all rows could have (every pixel, every column of a vector), the share there is."""
        return self._each(_filled)

    @cached_property
    def balance(self) -> dict[str, dict[str, Balance]]:
        """By task and split, of the tasks with classes."""
        return self._each(_balance, [task for task in self.tasks if task.class_names])

    @cached_property
    def scales(self) -> dict[str, dict[str, Scale]]:
        """By task and split, of the tasks without classes."""
        return self._each(_scale, [task for task in self.tasks if not task.class_names])

    @cached_property
    def members(self) -> dict[str, dict[str, Tensor]]:
        """Labels of every member, [members], by task and split, of the tasks that stand for many."""
        asked = [task for task in self.tasks if task.member_names]
        return self._each(lambda task, data: task.member_counts(data.targets[task.name]), asked)

    def overlap(self, split: str) -> Tensor:
        """How many rows of a split have labels of both tasks, [tasks, tasks]; of each task, on the diagonal.

        Cost: one byte per task and row.
        """
        there = torch.stack([self.splits[split].labelled(task.name) for task in self.tasks], 1)
        found = torch.zeros(len(self.tasks), len(self.tasks), dtype=torch.long)
        for part in there.split(1 << 16):  # counts up to 2^24 are exact in float32
            found += (part.float().T @ part.float()).long()
        return found

    def unlabelled(self, split: str) -> int:
        """How many rows of a split have no label of any task."""
        data = self.splits[split]
        there = torch.zeros(len(data), dtype=torch.bool)
        for task in self.tasks:
            there |= data.labelled(task.name)
        return int((~there).sum())

    def check(self) -> None:
        """Raise where a task has no label at all in a split.

        Raises:
            PolytaskError: with the labels of every split.
        """
        for task in self.tasks:
            refuse_unlabelled(task.name, self.labelled[task.name], self.rows)

    def _each(
        self, found: Callable[[Task, TensorData], T], tasks: Sequence[Task] | None = None
    ) -> dict[str, dict[str, T]]:
        asked = self.tasks if tasks is None else tasks
        return {task.name: {split: found(task, data) for split, data in self.splits.items()} for task in asked}


def refuse_unlabelled(task: str, labelled: Mapping[str, int], rows: Mapping[str, int]) -> None:
    """Raise where a task has no label in a split.

    >>> refuse_unlabelled("hours", {"train": 0, "validation": 0, "test": 4}, {"train": 9, "validation": 4, "test": 5})
    Traceback (most recent call last):
        ...
    polytask.errors.PolytaskError: task 'hours' has no label in the train and validation split (rows with a label: ...
    """
    without = [split for split, count in labelled.items() if not count]
    if without:
        there = ", ".join(f"{labelled[split]:,} of {rows[split]:,} {split} rows" for split in labelled)
        means = WITHOUT.get(without[0], "it could not be used")
        raise PolytaskError(
            f"task '{task}' has no label in the {' and '.join(without)} split (rows with a label: {there}), so that "
            f"{means}: give it labels there, split otherwise (stratified, every split gets its share), or drop the task"
        )


def _filled(task: Task, data: TensorData) -> float:
    whole = len(data) * math.prod(data.targets[task.name].shape[1:])
    return data.counts()[task.name] / whole if whole else math.nan


def _balance(task: Task, data: TensorData) -> Balance:
    target = data.targets[task.name]
    counts = task.label_counts(target).cpu()
    of = counts.sum().expand(len(counts)) if task.exclusive else present(target).sum(0)
    return Balance(counts, of)


def _scale(task: Task, data: TensorData) -> Scale:
    """Mean and deviation of parts, put together so that large means don't drown small deviations."""
    target = task.values(data.targets[task.name])
    count, mean, squares, low, high = 0, 0.0, 0.0, math.inf, -math.inf
    step = max(1, AT_ONCE // max(1, target[:1].numel()))
    for part in target.split(step):
        labels = part[present(part)].double()
        if not len(labels):
            continue
        mine, ours = len(labels), labels.mean().item()
        squares += (labels - ours).square().sum().item() + (ours - mean) ** 2 * count * mine / (count + mine)
        mean += (ours - mean) * mine / (count + mine)
        count += mine
        low, high = min(low, labels.min().item()), max(high, labels.max().item())
    if not count:
        return Scale(0, math.nan, math.nan, math.nan, math.nan)
    return Scale(count, mean, math.sqrt(squares / count), low, high)
