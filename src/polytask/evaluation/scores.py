"""How much better several tasks are than a baseline: gains, delta_m in both definitions, ranks."""

import math
from collections.abc import Mapping, Sequence

Scores = Mapping[str, Mapping[str, float]]
"""{task: {metric: value}}, in the metric's own unit."""

Directions = Mapping[str, Mapping[str, bool]]
"""{task: {metric: higher is better}}."""


def gain(score: float, baseline: float, higher_is_better: bool) -> float:
    """The relative improvement over a baseline, + is better, as a fraction; NaN where the baseline is 0.

    >>> gain(0.9, 0.8, higher_is_better=True), gain(0.9, 0.8, higher_is_better=False)
    (0.12..., -0.12...)
    """
    if baseline == 0:
        return math.nan
    change = (score - baseline) / abs(baseline)
    return change if higher_is_better else -change


def gains(scores: Scores, baseline: Scores, directions: Directions) -> dict[str, dict[str, float]]:
    """The gain of every metric of every task that `scores` has."""
    return {
        task: {
            metric: gain(scores[task][metric], baseline[task][metric], higher)
            for metric, higher in directions[task].items()
        }
        for task in scores
    }


def task_gain(found: Mapping[str, float]) -> float:
    """The mean of one task's gains over its metrics; metrics without a gain (a baseline of 0) are left out.

    >>> task_gain({"auroc": 0.1, "f1": math.nan})
    0.1
    """
    return _mean(list(found.values()))


def _mean(values: Sequence[float]) -> float:
    told = [value for value in values if not math.isnan(value)]
    return math.fsum(told) / len(told) if told else math.nan


def delta_m_metrics(found: Scores) -> float:
    """delta_m as the mean over all metrics: a task counts as often as it has metrics.

    Metrics without a gain (a baseline of 0) are left out, in both definitions.

    Args:
        found: gains by task and metric.

    >>> delta_m_metrics({"depth": {"abs": 0.1, "rel": 0.2}, "classes": {"miou": -0.3}})
    0.0
    """
    return _mean([value for metrics in found.values() for value in metrics.values()])


def delta_m_tasks(found: Scores, importance: Mapping[str, float] | None = None) -> float:
    """delta_m as the mean over tasks of the mean over the task's metrics (Maninis, Radosavovic, Kokkinos 2019).

    Args:
        found: gains by task and metric.
        importance: weights of the tasks in the outer mean; equal by default.

    >>> delta_m_tasks({"depth": {"abs": 0.1, "rel": 0.2}, "classes": {"miou": -0.3}})
    -0.075
    """
    means = {task: task_gain(metrics) for task, metrics in found.items()}
    told = {task: mean for task, mean in means.items() if not math.isnan(mean)}
    weights = {task: 1.0 if importance is None else importance[task] for task in told}
    total = math.fsum(weights.values())
    return math.fsum(weights[task] * mean for task, mean in told.items()) / total if total else math.nan


def mean_ranks(arms: Sequence[Scores], directions: Directions) -> list[float]:
    """The mean over all metrics of each arm's rank among the arms; 1 is best, ties share their ranks.

    >>> mean_ranks([{"a": {"mae": 1.0}}, {"a": {"mae": 3.0}}, {"a": {"mae": 1.0}}], {"a": {"mae": False}})
    [1.5, 3.0, 1.5]
    """
    ranks: list[list[float]] = [[] for _ in arms]
    for task, metrics in directions.items():
        for metric, higher in metrics.items():
            values = [-arm[task][metric] if higher else arm[task][metric] for arm in arms]
            if any(math.isnan(value) for value in values):
                continue
            for place, value in zip(ranks, values, strict=True):
                before, same = sum(v < value for v in values), sum(v == value for v in values)
                place.append(before + (same + 1) / 2)
    return [math.fsum(place) / len(place) if place else math.nan for place in ranks]
