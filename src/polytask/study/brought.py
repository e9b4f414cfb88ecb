"""What each auxiliary task brought to each main task: differences of runs that share a seed, and what they say."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from polytask.evaluation import Interval, gains, interval, task_gain
from polytask.study.summary import KINDS, Summary, read_whole

Record = Mapping[str, Any]
Directions = Mapping[str, Mapping[str, bool]]


READINGS: Mapping[tuple[int, ...], str] = {
    (1,): "Keep it: it helps.",
    (0,): "No evidence that it matters.",
    (-1,): "Leave it out: it hurts.",
    (1, 1): "Keep it: it helps by itself, and beside the others.",
    (1, 0): "It helps by itself; beside the others there is no evidence that it is needed.",
    (1, -1): "It helps by itself; beside the others it hurts.",
    (0, 1): "No evidence by itself; beside the others it adds something.",
    (0, 0): "No evidence that it matters.",
    (0, -1): "No evidence by itself; beside the others it hurts.",
    (-1, 1): "It hurts by itself; beside the others it adds something.",
    (-1, 0): "It hurts by itself; beside the others there is no evidence either way.",
    (-1, -1): "Leave it out: it hurts by itself, and beside the others.",
}
"""What is said of an auxiliary task whose intervals, by itself and beside the others, lie above 0 (1), below (-1) or
neither."""


def _sign(found: Interval) -> int:
    return int(found.above_zero) - int(found.below_zero)


@dataclass(frozen=True)
class Brought:
    """What an auxiliary task brought to a main task, in % of the score without it; + is better.

    Args:
        main, auxiliary: names of the tasks.
        alone: the main tasks with this auxiliary task, against those with none; mean over the metrics of the main task.
        beside: with all auxiliary tasks, against all but this one; None where there is only one.
        alone_metrics, beside_metrics: the same for every metric of the main task.
    """

    main: str
    auxiliary: str
    alone: Interval
    beside: Interval | None
    alone_metrics: dict[str, Interval] = field(default_factory=dict)
    beside_metrics: dict[str, Interval] = field(default_factory=dict)

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """Both, or the one that there is."""
        return (self.alone,) if self.beside is None else (self.alone, self.beside)

    @property
    def reading(self) -> str:
        """What the intervals say, in words; nothing is claimed that an interval does not carry.

        >>> up, unclear = Interval(1.0, 0.5, 1.5, 3), Interval(0.5, -0.5, 1.5, 3)
        >>> Brought("age", "smile", up, unclear).reading
        'It helps by itself; beside the others there is no evidence that it is needed.'
        >>> Brought("age", "smile", Interval(1.0, None, None, 1), None).reading
        'One seed says nothing about luck.'
        """
        if any(math.isnan(each.mean) for each in self.intervals):
            return "A score could not be computed, or a network is missing."
        if any(each.low is None for each in self.intervals):
            return "One seed says nothing about luck."
        return READINGS[tuple(_sign(each) for each in self.intervals)]


@dataclass(frozen=True)
class AuxiliarySummary:
    """What a study of auxiliary tasks found.

    Args:
        networks: a summary of every network that was trained; its baseline has no auxiliary task, scores and gains are
            of the main tasks, `chosen` is the one with the best of these on validation data.
        brought: for every main and every auxiliary task.
        together: by main task, what all auxiliary tasks together brought, in %.
        verdict: in words; the first sentence is the headline.
        further: names of the networks with all auxiliary tasks that were trained in other ways.
    """

    FILE: ClassVar[str] = "auxiliaries.json"

    networks: Summary
    brought: tuple[Brought, ...]
    together: dict[str, Interval]
    verdict: tuple[str, ...]
    further: tuple[str, ...] = ()

    @property
    def auxiliary(self) -> tuple[str, ...]:
        """Names of the auxiliary tasks."""
        return tuple(task.name for task in self.networks.tasks if task.auxiliary)

    @property
    def other_ways(self) -> dict[str, dict[str, Interval]]:
        """By network in `further` that was trained, what all auxiliary tasks together brought to each main task."""
        return {arm.name: arm.task_gain for arm in self.networks.arms if arm.name in self.further and arm.task_gain}

    def network(self, records: Iterable[Record]) -> Record | None:
        """The record of the network to use, which the verdict recommends, with the first seed that finished it."""
        return self.networks.network(records)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "AuxiliarySummary":
        """The summary that was written down as plain data (`auxiliaries.json`).

        Raises:
            PolytaskError: the data are not of such a summary.
        """
        return read_whole(plain, cls, (Brought, *KINDS), "a study of auxiliary tasks")


def differences(
    records: Sequence[Record], arm: str, other: str, task: str, ways: Mapping[str, bool], confidence: float
) -> dict[str, Interval]:
    """The gain of one network over another in every metric of a task, on test data, in %, with paired intervals.

    Args:
        records: of the runs.
        arm, other: names of the networks.
        task: which both have.
        ways: {metric: higher is better}.
        confidence: of the intervals.

    Returns:
        By metric, and under "" the mean over the metrics. Intervals of NaN where a score could not be computed, or
        no seed has both networks.
    """
    scores: dict[str, dict[int, dict[str, float]]] = {arm: {}, other: {}}
    for record in records:
        if record["arm"] in scores and record["status"] == "finished":
            found = record["scores"]["test"][task]
            scores[record["arm"]][record["seed"]] = {
                metric: math.nan if found[metric] is None else found[metric] for metric in ways
            }
    pairs = [(scores[arm][seed], scores[other][seed]) for seed in sorted(scores[arm].keys() & scores[other].keys())]
    found = [gains({task: one}, {task: base}, {task: ways})[task] for one, base in pairs]
    lost = {metric for each in found for metric, value in each.items() if math.isnan(value)}
    kept = [{metric: 100 * value for metric, value in each.items() if metric not in lost} for each in found]
    by_metric = {
        metric: interval([each.get(metric, math.nan) for each in kept] or [math.nan], confidence) for metric in ways
    }
    return {"": interval([task_gain(each) for each in kept] or [math.nan], confidence), **by_metric}


def percent(value: float, like: float | None = None) -> str:
    """A gain in %, with its sign; `like`: with the decimals that suit this number.

    >>> percent(1.23), percent(-0.012), percent(-0.1, like=0.02), percent(3.0, like=-4.0)
    ('+1.2 %', '-0.01 %', '-0.10 %', '+3.0 %')
    """
    fine = abs(value) < 0.05 if like is None else abs(like) < 1
    return f"{value:+.2f} %" if fine else f"{value:+.1f} %"
