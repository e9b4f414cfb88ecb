"""Scores of the members of tasks that stand for many, over the runs of a study."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from torchmetrics import Metric

from polytask.problems import Problem
from polytask.study.arms import SINGLE_TASK

GROUPS = 10


def told(problem: Problem, task: str, name: str, metric: Metric) -> dict[str, Any]:
    """What a record says about the members of a task: names, labels in training and test, test score of each.

    Args:
        problem: that was trained on.
        task: its name.
        name, metric: of the score of a single member (`Task.by_member`), after the test split was shown.
    """
    of = problem.task(task)
    return {
        "metric": name,
        "unit": of.metric_units().get(name, of.unit),
        "higher_is_better": bool(metric.higher_is_better),
        "names": list(of.member_names),
        "labels": {
            split: of.member_counts(problem.splits[split].targets[task]).tolist() for split in ("train", "test")
        },
        "scores": metric.compute().tolist(),
    }


@dataclass(frozen=True)
class Members:
    """Every member of one task, the fewest training labels first.

    Args:
        task: its name.
        metric, unit, higher_is_better: of the score.
        names: of the members.
        labels: how many training labels each has.
        scores: by arm, the mean test score of each over the seeds; NaN where it has none.
    """

    task: str
    metric: str
    unit: str
    higher_is_better: bool
    names: tuple[str, ...]
    labels: tuple[int, ...]
    scores: Mapping[str, tuple[float, ...]]

    def gains(self, arm: str) -> tuple[float, ...]:
        """How much better an arm is than single-task for every member, in the metric's unit; NaN without a score."""
        sign = 1 if self.higher_is_better else -1
        pairs = zip(self.scores[arm], self.scores[SINGLE_TASK], strict=True)
        return tuple(sign * (one - other) for one, other in pairs)

    def groups(self) -> list[range]:
        """Up to ten groups of equally many members (up to one), in order: those with the fewest labels first.

        >>> few = Members("y", "mae", "", False, ("a", "b", "c"), (1, 2, 9), {})
        >>> few.groups()
        [range(0, 1), range(1, 2), range(2, 3)]
        """
        count = min(GROUPS, len(self.names))
        edges = [round(k * len(self.names) / count) for k in range(count + 1)]
        return [range(low, high) for low, high in pairwise(edges)]


def members(records: Iterable[Mapping[str, Any]]) -> dict[str, Members]:
    """The members of every task that has any, by the task's name, from the records of a study."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for record in records:
        for task, each in (record.get("members") or {}).items():
            found.setdefault(task, {}).setdefault(record["arm"], []).append(each)
    return {task: _members(task, arms) for task, arms in found.items()}


def _members(task: str, arms: Mapping[str, Sequence[Mapping[str, Any]]]) -> Members:
    first = next(iter(arms.values()))[0]
    labels = first["labels"]["train"]
    order = sorted(range(len(labels)), key=lambda k: (labels[k], k))
    scores = {arm: [_mean([each["scores"][k] for each in seeds]) for k in order] for arm, seeds in arms.items()}
    return Members(
        task,
        first["metric"],
        first["unit"],
        first["higher_is_better"],
        tuple(first["names"][k] for k in order),
        tuple(labels[k] for k in order),
        {arm: tuple(each) for arm, each in scores.items()},
    )


def mean_known(values: Iterable[float]) -> float:
    """The mean of the numbers that are there; NaN without any."""
    known = [each for each in values if not math.isnan(each)]
    return fmean(known) if known else math.nan


def _mean(scores: Sequence[float | None]) -> float:
    """Over seeds; NaN where one has no score."""
    return math.nan if None in scores else fmean(each for each in scores if each is not None)
