"""From records to a summary: nothing but arithmetic on what the runs wrote down."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from polytask._plain import plain
from polytask.evaluation import Interval, delta_m_metrics, delta_m_tasks, gains, interval, mean_ranks
from polytask.evaluation import task_gain as mean_gain
from polytask.problems import Problem
from polytask.study.arms import SINGLE_TASK, Arm
from polytask.study.rare import CLASSES, rank_correlation
from polytask.study.summary import ArmSummary, MetricInfo, Summary, TaskInfo
from polytask.study.verdict import verdict
from polytask.tasks import Task
from polytask.training import Budget

Scores = dict[str, dict[str, float]]
Directions = Mapping[str, Mapping[str, bool]]


def summarise(
    problem: Problem,
    ways: Directions,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    budget: Budget,
    records: Sequence[Mapping[str, Any]],
    command: str,
    confidence: float = 0.95,
) -> Summary:
    """Scores, gains over single-task training (paired by seed), both delta_m, ranks, costs and the verdict.

    Args:
        problem: what the records are of.
        ways: {task: {metric: higher is better}}.
        arms: the joint candidates.
        seeds, budget, command, confidence: as in `compare`.
        records: of all runs.
    """
    baseline = _merged(records, SINGLE_TASK, len(problem.tasks))
    summaries = [_baseline(baseline, records, ways, confidence)]
    labels = {task.name: _labels(task, problem) for task in problem.tasks}
    summaries += [_arm(arm, baseline, records, problem, ways, labels, confidence) for arm in arms]
    shown = [each for each in summaries if each.scores]
    headline = {task.name: ways[task.name] for task in problem.tasks if not task.auxiliary}
    ranks = mean_ranks(
        [{t: {m: i.mean for m, i in found.items()} for t, found in each.scores.items()} for each in shown],
        headline,
    )
    ranked = {each.name: rank for each, rank in zip(shown, ranks, strict=True)}
    candidates = [each for each in summaries if each.validation is not None and not math.isnan(each.validation)]
    best = max(candidates, key=lambda each: each.validation or 0.0, default=None)
    final = tuple(
        replace(
            each,
            mean_rank=ranked.get(each.name, math.nan),
            chosen=best is not None and each.name == best.name,
        )
        for each in summaries
    )
    return Summary(
        problem=problem.name,
        title=f"{problem.name}: together or apart?",
        summary=problem.summary,
        source=problem.source,
        licence=problem.licence,
        notes=problem.all_notes,
        tasks=tuple(task_info(task, ways, labels[task.name]) for task in problem.tasks),
        arms=final,
        verdict=verdict(final, {task.name: task.auxiliary for task in problem.tasks}, confidence),
        seeds=tuple(seeds),
        budget=plain(budget)["args"],
        command=command,
        confidence=confidence,
    )


def task_info(task: Task, ways: Directions, labels: Mapping[str, int]) -> TaskInfo:
    """A task as readers of results need to know it; `labels`: how many of each class there are to learn from."""
    units = task.metric_units()
    metrics = tuple(MetricInfo(name, higher, units[name]) for name, higher in ways[task.name].items())
    scored = task.by_class()
    return TaskInfo(
        task.name,
        type(task).__name__,
        task.auxiliary,
        task.importance,
        metrics,
        labels=dict(labels),
        class_metric=scored[0] if scored else "",
    )


def _labels(task: Task, problem: Problem) -> dict[str, int]:
    """How many training labels each class has, where single classes are scored."""
    if task.by_class() is None:
        return {}
    counts = task.label_counts(problem.splits["train"].targets[task.name])
    return dict(zip(task.class_names, counts.tolist(), strict=True))


def _merged(records: Sequence[Mapping[str, Any]], arm: str, tasks: int) -> dict[int, dict[str, Any]]:
    """By seed: scores of all tasks, and the costs of all networks together; only seeds with every task."""
    found: dict[int, dict[str, Any]] = {}
    for record in records:
        if record["arm"] != arm or record["status"] != "finished":
            continue
        one = found.setdefault(
            record["seed"],
            {
                "test": {},
                "validation": {},
                "classes": {},
                "seconds": 0.0,
                "parameters": 0,
                "memory_mib": 0.0,
                "multiply_adds": [],
            },
        )
        one["test"] |= record["scores"]["test"]
        one["validation"] |= record["scores"]["validation"]
        for cost in ("seconds", "parameters", "memory_mib"):
            one[cost] += record[cost]
        one["classes"] |= {task: found["scores"] for task, found in record.get("classes", {}).items()}
        one["shared_stages"] = record.get("shared_stages")
        one["multiply_adds"].append(record.get("multiply_adds"))
        one["start"] = record.get("start", {}).get("seconds")
    return {seed: one for seed, one in sorted(found.items()) if len(one["test"]) == tasks}


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _metrics_only(scores: Mapping[str, Mapping[str, float | None]], ways: Directions) -> Scores:
    """Scores without the loss; what could not be computed is NaN."""
    return {task: {metric: _number(scores[task][metric]) for metric in ways[task]} for task in scores}


def _intervals(by_seed: Sequence[Scores], ways: Directions, confidence: float) -> dict[str, dict[str, Interval]]:
    return {
        task: {metric: interval([one[task][metric] for one in by_seed], confidence) for metric in metrics}
        for task, metrics in ways.items()
    }


def _errors(records: Sequence[Mapping[str, Any]], arm: str) -> tuple[str, ...]:
    return tuple(
        f"seed {record['seed']} ({', '.join(record['tasks'])}): {record['error']}"
        for record in records
        if record["arm"] == arm and record["status"] != "finished"
    )


def _costs(runs: Mapping[int, Mapping[str, Any]], confidence: float) -> dict[str, Any]:
    every = list(runs.values())
    counted = every[0]["multiply_adds"] if every else [None]
    starts = [one["start"] for one in every if one["start"] is not None]
    return {
        "seconds": interval([one["seconds"] for one in every], confidence),
        "parameters": every[0]["parameters"] if every else 0,
        "memory_mib": math.fsum(one["memory_mib"] for one in every) / len(every) if every else math.nan,
        "multiply_adds": None if None in counted else sum(counted),
        "start_seconds": math.fsum(starts) / len(starts) if starts else None,
    }


def _class_gains(
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], task: str, confidence: float
) -> dict[str, Interval]:
    """Score minus single-task score of every class, in points, of those classes that have one in all runs."""
    found: dict[str, list[float | None]] = {}
    for one, alone in pairs:
        for name, score in one["classes"].get(task, {}).items():
            before = alone["classes"].get(task, {}).get(name)
            found.setdefault(name, []).append(None if score is None or before is None else 100 * (score - before))
    return {
        name: interval(known, confidence)
        for name, each in found.items()
        if len(known := [value for value in each if value is not None]) == len(pairs)
    }


def _baseline(
    runs: Mapping[int, Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
    ways: Directions,
    confidence: float,
) -> ArmSummary:
    scores = [_metrics_only(one["test"], ways) for one in runs.values()]
    return ArmSummary(
        name=SINGLE_TASK, baseline=True, sharing="one network per task", balancer="", seeds=tuple(runs),
        failed=_errors(records, SINGLE_TASK), scores=_intervals(scores, ways, confidence) if scores else {},
        gains={}, task_gain={}, delta_m_metrics=None, delta_m_tasks=None, mean_rank=math.nan, tasks_better=0,
        tasks_worse=0, **_costs(runs, confidence), chosen=False, validation=None,
    )  # fmt: skip


def _arm(
    arm: Arm,
    baseline: Mapping[int, Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
    problem: Problem,
    ways: Directions,
    labels: Mapping[str, Mapping[str, int]],
    confidence: float,
) -> ArmSummary:
    runs = _merged(records, arm.name, len(problem.tasks))
    pairs = [(one, baseline[seed]) for seed, one in runs.items() if seed in baseline]
    importance = {task.name: task.importance for task in problem.tasks if not task.auxiliary}

    def gained(split: str) -> list[Scores]:
        found = [
            gains(_metrics_only(one[split], ways), _metrics_only(alone[split], ways), ways) for one, alone in pairs
        ]
        lost = {(t, m) for one in found for t, each in one.items() for m, v in each.items() if math.isnan(v)}
        return [
            {t: {m: math.nan if (t, m) in lost else 100 * v for m, v in each.items()} for t, each in one.items()}
            for one in found
        ]

    def headline(one: Scores) -> Scores:
        return {name: one[name] for name in importance}

    test, validation = gained("test"), gained("validation")
    scores = [_metrics_only(one["test"], ways) for one in runs.values()]
    task_gain = {
        task: interval([mean_gain(one[task]) for one in test], confidence) for task in ways
    } if pairs else {}  # fmt: skip
    counted = [found for task, found in task_gain.items() if task in importance]
    class_gains = {task: found for task in ways if (found := _class_gains(pairs, task, confidence))}
    return ArmSummary(
        name=arm.name,
        baseline=False,
        sharing=arm.sharing_name,
        balancer=arm.balancer_name,
        seeds=tuple(runs),
        failed=_errors(records, arm.name),
        scores=_intervals(scores, ways, confidence) if scores else {},
        gains=_intervals(test, ways, confidence) if pairs else {},
        task_gain=task_gain,
        delta_m_metrics=interval([delta_m_metrics(headline(one)) for one in test], confidence) if pairs else None,
        delta_m_tasks=interval([delta_m_tasks(headline(one), importance) for one in test], confidence)
        if pairs
        else None,
        mean_rank=math.nan,
        tasks_better=sum(found.above_zero for found in counted),
        tasks_worse=sum(found.below_zero for found in counted),
        **_costs(runs, confidence),
        chosen=False,
        validation=interval([delta_m_tasks(headline(one), importance) for one in validation]).mean if pairs else None,
        shared_stages=next((one["shared_stages"] for one in runs.values()), None),
        family=arm.family,
        class_gains=class_gains,
        patterns={
            task: rank_correlation([labels[task][name] for name in found], [each.mean for each in found.values()])
            for task, found in class_gains.items()
            if len(found) >= CLASSES
        },
    )
