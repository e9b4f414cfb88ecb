"""A problem with fewer training labels than there are: of one task, or of all."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from polytask._text import did_you_mean
from polytask.data import TensorData
from polytask.data.batch import missing
from polytask.errors import PolytaskError
from polytask.problems import Problem

KEPT = "kept_labels"
"""Under which a problem's `spec` says what was hidden: [task, labels that were kept, seed], in this order."""


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
    names = [each.name for each in problem.tasks]
    if task not in names:
        raise PolytaskError(f"there is no task '{task}'; {did_you_mean(task, names)}")
    train = problem.splits["train"]
    there = train.labelled(task).nonzero()[:, 0]
    if not 0 < labels <= len(there):
        raise PolytaskError(f"task '{task}' has labels in {len(there)} training rows, and {labels} were asked for")
    if labels == len(there):
        return problem
    drawn = torch.randperm(len(there), generator=torch.Generator().manual_seed(seed))[:labels]
    kept = torch.zeros(len(train), dtype=torch.bool)
    kept[there[drawn]] = True
    left = hidden(train, task, ~kept)
    try:
        tasks = tuple(each.fitted(left.targets[task]) if each.name == task else each for each in problem.tasks)
    except PolytaskError as error:
        raise PolytaskError(f"with {labels} labels (drawn by seed {seed}): {error}") from error
    told = {**problem.spec, KEPT: [*problem.spec.get(KEPT, ()), [task, labels, seed]]}
    return replace(problem, tasks=tasks, splits={**problem.splits, "train": left}, spec=told if problem.spec else {})


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
    for place, task in enumerate(problem.tasks):
        there = problem.splits["train"].counts()[task.name]
        problem = with_labels(problem, task.name, max(1, round(share * there)), len(problem.tasks) * seed + place)
    return problem


def hidden_again(problem: Problem, spec: Mapping[str, Any]) -> Problem:
    """A problem that was made again by its name, with the labels hidden that its `spec` says."""
    for task, labels, seed in spec.get(KEPT, ()):
        problem = with_labels(problem, task, labels, seed)
    return problem


def hidden(data: TensorData, task: str, rows: Tensor) -> TensorData:
    """A data set in which the labels of a task are missing in some rows.

    Args:
        data: which stays as it is.
        task: whose labels.
        rows: [n], True where they are hidden.
    """
    target = data.targets[task]
    mark, kind = missing(target)
    shape = (-1, *[1] * (target.ndim - 1))
    targets = {**data.targets, task: target.to(kind).masked_fill(rows.reshape(shape), mark)}
    return TensorData(data.inputs, targets, data.transform, data.augment, data.sources)
