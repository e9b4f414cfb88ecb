"""A problem with fewer training labels than there are: of one task, or of all."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from polytask._text import did_you_mean
from polytask.data import TensorData
from polytask.data.batch import missing
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.problems.problem import ONLY, THEN
from polytask.tasks import Task


def with_labels(problem: Problem, task: str, labels: int, seed: int = 0) -> Problem:
    """The problem with the labels of a task in so many training rows only; elsewhere in training they are missing.

    Which rows keep theirs is drawn by the seed, and the sets of one seed are nested: those of 100 rows are among those
    of 1,000. The task is fitted again on what is left (means and deviations of numbers). Validation and test labels,
    the other tasks and all inputs stay.

    Args:
        problem: tasks and data.
        task: whose labels are hidden; several outputs of one row, or a map, are kept or hidden together.
        labels: training rows that keep theirs.
        seed: of the draw.

    Raises:
        PolytaskError: there is no such task, there are fewer labels, or what is left can't be learned from (one class
            only).

    >>> from polytask import problems
    >>> few = with_labels(problems.digits(n_train=100), "left", 10)
    >>> few.splits["train"].counts()
    {'left': 10, 'right': 100}
    """
    return _with(problem, {task: (labels, seed)})


def with_label_share(problem: Problem, share: float, seed: int = 0) -> Problem:
    """The problem with a share of the training labels of every task; the others are hidden at random.

    Which are kept is drawn for each task by itself, so that a row may keep the label of one task and lose that of
    another. Otherwise as `with_labels`.

    Args:
        problem: tasks and data.
        share: of the training labels of every task, above 0, at most 1.
        seed: of the draws.

    Raises:
        PolytaskError: another share, or what is left can't be learned from.

    >>> from polytask import problems
    >>> half = with_label_share(problems.digits(n_train=100), 0.5)
    >>> half.splits["train"].counts(), len(half.splits["train"])
    ({'left': 50, 'right': 50}, 100)
    """
    if not 0 < share <= 1:
        raise PolytaskError(f"share must be above 0 and at most 1, as in 0.5 for half of the labels, got {share!r}")
    train, tasks = problem.splits["train"], [task.name for task in problem.tasks]
    kept = {name: max(1, round(share * int(train.labelled(name).sum()))) for name in tasks}
    return _with(problem, {name: (kept[name], len(tasks) * seed + place) for place, name in enumerate(tasks)})


def made_again(problem: Problem, spec: Mapping[str, Any]) -> Problem:
    """A problem that was made again by its name, after all that its `spec` says was done to it."""
    for step in spec.get(THEN, ()):
        problem = problem.only(*step[ONLY]) if ONLY in step else _with(problem, step[LABELS])
    return problem


LABELS = "labels"
"""The step of a problem's `spec` that hides labels: {task: [training rows that keep theirs, seed]}."""


def _with(problem: Problem, kept: Mapping[str, Sequence[int]]) -> Problem:
    """The problem with the labels of tasks in so many training rows only, by task; each with the seed of its draw."""
    names, train = [each.name for each in problem.tasks], problem.splits["train"]
    hide: dict[str, Tensor] = {}
    for task, (labels, seed) in kept.items():
        if task not in names:
            raise PolytaskError(f"there is no task '{task}'; {did_you_mean(task, names)}")
        there = train.labelled(task).nonzero()[:, 0]
        if not 0 < labels <= len(there):
            raise PolytaskError(f"task '{task}' has labels in {len(there)} training rows, and {labels} were asked for")
        if labels < len(there):
            drawn = torch.randperm(len(there), generator=torch.Generator().manual_seed(seed))[:labels]
            hide[task] = torch.ones(len(train), dtype=torch.bool).index_fill(0, there[drawn], False)
    if not hide:
        return problem
    left = hidden(train, hide)
    tasks = tuple(_fitted(task, left, *kept[task.name]) if task.name in hide else task for task in problem.tasks)
    spec = problem.spec_then(LABELS, {task: list(each) for task, each in kept.items()})
    return replace(problem, tasks=tasks, splits={**problem.splits, "train": left}, spec=spec)


def _fitted(task: Task, data: TensorData, labels: int, seed: int) -> Task:
    try:
        return task.fitted(data.targets[task.name])
    except PolytaskError as error:
        raise PolytaskError(f"with {labels} labels (drawn by seed {seed}): {error}") from error


def hidden(data: TensorData, rows: Mapping[str, Tensor]) -> TensorData:
    """A data set in which labels are missing where, by task, [n] is True."""
    targets = dict(data.targets)
    for task, where in rows.items():
        mark, kind = missing(targets[task])
        targets[task] = targets[task].to(kind).masked_fill(where.reshape(-1, *[1] * (targets[task].ndim - 1)), mark)
    return TensorData(data.inputs, targets, data.transform, data.augment, data.sources)
