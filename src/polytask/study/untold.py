"""What a study of unseen tasks found, and what it says."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from polytask.evaluation import Interval, gain, interval, task_gain
from polytask.study.summary import MetricInfo, read_whole

CONSTANT, NOT_TOLD, TOLD, OWN = "constant", "not told", "told", "own labels"
WAYS = (CONSTANT, NOT_TOLD, TOLD, OWN)
"""The best constant of the other tasks; a network that is not told the task; one that is; one trained on the task."""

BySeed = Mapping[str, Mapping[int, Mapping[str, float | None]]]
"""Test scores of one task: by way, seed and metric."""


@dataclass(frozen=True)
class UnseenTask:
    """What was scored on a task that the network was not trained on, on test data.

    Args:
        task: its name.
        scores: by way (`WAYS`) and metric, in the metric's own unit, with intervals over seeds.
        gain: of "told" over "not told", in %, paired by seed, mean over the metrics.
        short_of: the gain of "own labels" over "told", in %, in the same way: what labels would still bring.
    """

    task: str
    scores: dict[str, dict[str, Interval]]
    gain: Interval
    short_of: Interval


@dataclass(frozen=True)
class UnseenSummary:
    """What a study of unseen tasks found.

    Args:
        problem, summary, source, licence, notes: of the problem.
        kind: of its tasks.
        metrics: of its tasks; with a unit where it is that of all of them.
        tasks: the results of every task that was left out, in the order of the problem, each scored by networks that
            were trained without it.
        groups: the tasks that were left out together.
        gain, short_of: means over the tasks whose gain can be computed, with intervals over seeds.
        verdict: in words; the first sentence is the headline.
        arm: what the network is called.
        seeds, budget, command, confidence: as in `Summary`.
    """

    FILE: ClassVar[str] = "unseen.json"

    problem: str
    summary: str
    source: str
    licence: str
    notes: tuple[str, ...]
    kind: str
    metrics: tuple[MetricInfo, ...]
    tasks: tuple[UnseenTask, ...]
    groups: tuple[tuple[str, ...], ...]
    gain: Interval
    short_of: Interval
    verdict: tuple[str, ...]
    arm: str
    seeds: tuple[int, ...]
    budget: dict[str, Any]
    command: str
    confidence: float = 0.95

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "UnseenSummary":
        """The summary that was written down as plain data (`unseen.json`).

        Raises:
            PolytaskError: the data are not of such a summary.
        """
        return read_whole(plain, cls, (UnseenTask, MetricInfo, Interval), "a study of unseen tasks")


def told_of(
    name: str,
    scores: BySeed,
    ways: Mapping[str, bool],
    seeds: Sequence[int],
    confidence: float,
) -> UnseenTask:
    """What was scored on a task, over seeds.

    Args:
        name: of the task.
        scores: by way, seed and metric.
        ways: {metric: higher is better}.
        seeds, confidence: as in `unseen`.
    """
    return UnseenTask(
        name,
        {
            way: {metric: interval([_number(found[seed][metric]) for seed in seeds], confidence) for metric in ways}
            for way, found in scores.items()
        },
        interval([gain_of(scores, TOLD, NOT_TOLD, ways, seed) for seed in seeds], confidence),
        interval([gain_of(scores, OWN, TOLD, ways, seed) for seed in seeds], confidence),
    )


def gain_of(scores: BySeed, way: str, over: str, ways: Mapping[str, bool], seed: int) -> float:
    """Of one way over another, in %, mean over the metrics whose gain can be computed with every seed, so that seeds
    are comparable; NaN where there is none."""
    found = {
        each: {metric: gain(_number(one[metric]), _number(scores[over][each][metric]), ways[metric]) for metric in ways}
        for each, one in scores[way].items()
    }
    lost = {metric for each in found.values() for metric, value in each.items() if math.isnan(value)}
    return 100 * task_gain({metric: value for metric, value in found[seed].items() if metric not in lost})


def _number(score: float | None) -> float:
    """A score; those that could not be computed are None in records."""
    return math.nan if score is None else score


def mean_of(values: Sequence[float]) -> float:
    """The mean over the tasks whose gain can be computed; NaN where none can."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def verdict(tasks: Sequence[UnseenTask], gain: Interval, short_of: Interval, confidence: float) -> tuple[str, ...]:
    """What the study showed, in sentences: they follow from the intervals and from nothing else."""
    return (
        _headline(gain, confidence, _over([task.gain for task in tasks])),
        *_by_task(tasks),
        _own_labels(short_of, _over([task.short_of for task in tasks])),
        *_chance(tasks, confidence),
    )


def _headline(gain: Interval, confidence: float, over: str) -> str:
    if math.isnan(gain.mean):
        return "No figure: of every task a score could not be computed, or that of the network that was not told is 0."
    sure = "" if gain.low is None else f" ({100 * confidence:g} % interval {gain.low:+.1f} to {gain.high:+.1f} %)"
    if gain.low is None:
        head = "One seed, no evidence either way: told by descriptors, tasks that were never seen scored"
    elif gain.above_zero:
        head = "Descriptors told the network what to do on tasks that it never saw: they scored"
    elif gain.below_zero:
        head = "Descriptors misled the network on tasks that it never saw: they scored"
    else:
        head = "No evidence that descriptors help on tasks that were never seen: they scored"
    return f"{head} {gain.mean:+.1f} % against the same network that was not told{sure}{over}."


def _over(found: Sequence[Interval]) -> str:
    """Over how many tasks a mean is, where these are not all."""
    known = sum(not math.isnan(each.mean) for each in found)
    return "" if known == len(found) else f", mean over the {known} of {len(found)} tasks where that can be computed"


def _by_task(tasks: Sequence[UnseenTask]) -> list[str]:
    if all(task.gain.low is None for task in tasks):
        return []
    better = sum(task.gain.above_zero for task in tasks)
    worse = sum(task.gain.below_zero for task in tasks)
    return [f"Of {len(tasks)} tasks left out, {better} gained and {worse} lost, each by its own interval."]


def _own_labels(short_of: Interval, over: str) -> str:
    if math.isnan(short_of.mean):
        return "What the tasks' own labels would bring has no figure: scores could not be computed, or are 0 when told."
    return (
        f"Single-task networks trained on the tasks' own labels scored {short_of.mean:+.1f} % against told ones{over}."
    )


def _chance(tasks: Sequence[UnseenTask], confidence: float) -> list[str]:
    count = sum(task.gain.low is not None for task in tasks)
    if count < 2:
        return []
    return [
        f"Figures are of test data. {count} intervals were looked at; by chance alone about "
        f"{count * (1 - confidence):.1f} of them would leave 0 out."
    ]
