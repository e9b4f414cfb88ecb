"""What a study of unseen tasks found, and what it says."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from polytask.errors import PolytaskError
from polytask.evaluation import Interval, gains, interval, task_gain
from polytask.study.summary import MetricInfo, read

CONSTANT, NOT_TOLD, TOLD, OWN = "constant", "not told", "told", "own labels"
WAYS = (CONSTANT, NOT_TOLD, TOLD, OWN)
"""The best constant of the other tasks; a network that is not told the task; one that is; one trained on the task."""

BySeed = Mapping[str, Mapping[int, Mapping[str, float]]]
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
        gain, short_of: means over the tasks, with intervals over seeds.
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
        try:
            found = read(plain, (cls, UnseenTask, MetricInfo, Interval))
        except (TypeError, KeyError, AttributeError) as error:
            raise PolytaskError(f"these are not the results of a study of unseen tasks ({error})") from error
        if not isinstance(found, cls):
            raise PolytaskError("these are not the results of a study of unseen tasks that this polytask knows")
        return found


def told_of(
    name: str,
    scores: BySeed,
    ways: Mapping[str, bool],
    seeds: Sequence[int],
    confidence: float,
) -> UnseenTask:
    return UnseenTask(
        name,
        {
            way: {metric: interval([found[seed][metric] for seed in seeds], confidence) for metric in ways}
            for way, found in scores.items()
        },
        interval([gain_of(scores, TOLD, NOT_TOLD, ways, seed) for seed in seeds], confidence),
        interval([gain_of(scores, OWN, TOLD, ways, seed) for seed in seeds], confidence),
    )


def gain_of(scores: BySeed, way: str, over: str, ways: Mapping[str, bool], seed: int) -> float:
    """Of one way over another, in %, mean over the metrics."""
    found = [{"": {metric: scores[each][seed][metric] for metric in ways}} for each in (way, over)]
    return 100 * task_gain(gains(found[0], found[1], {"": ways})[""])


def mean_of(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def verdict(tasks: Sequence[UnseenTask], gain: Interval, short_of: Interval, confidence: float) -> tuple[str, ...]:
    """What the study showed, in sentences."""
    better = sum(task.gain.above_zero for task in tasks)
    worse = sum(task.gain.below_zero for task in tasks)
    sure = "" if gain.low is None else f" ({100 * confidence:g} % interval {gain.low:+.1f} to {gain.high:+.1f} %)"
    if gain.low is None:
        head = "One seed, no evidence either way: told by descriptors, tasks that were never seen scored"
    elif gain.above_zero:
        head = "Descriptors told the network what to do on tasks that it never saw: they scored"
    elif gain.below_zero:
        head = "Descriptors misled the network on tasks that it never saw: they scored"
    else:
        head = "No evidence that descriptors help on tasks that were never seen: they scored"
    return (
        f"{head} {gain.mean:+.1f} % against the same network that was not told{sure}.",
        *([] if gain.low is None else [f"Of {len(tasks)} tasks left out, {better} gained and {worse} lost for sure."]),
        f"Single-task networks trained on the tasks' own labels scored {short_of.mean:+.1f} % against told ones.",
    )
