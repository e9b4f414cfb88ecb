"""The verdict in plain words: it follows from the intervals and from nothing else."""

import math
from collections.abc import Mapping, Sequence

from polytask.evaluation import Interval
from polytask.study.summary import ArmSummary

SECONDS_TO_COMPARE = 5.0
"""Shorter trainings say little about speed, and nothing is said."""


def verdict(arms: Sequence[ArmSummary], auxiliary: Mapping[str, bool], confidence: float = 0.95) -> tuple[str, ...]:
    """What the study showed, in sentences; the first is the headline.

    It speaks of the arm chosen on validation data, and of its delta_m over tasks on test data: a gain is claimed
    only where the whole interval lies above 0, a loss where it lies below.

    Args:
        arms: all of them, one marked `chosen`, one `baseline`.
        auxiliary: for every task, whether it is auxiliary.
        confidence: of the intervals.
    """
    chosen = next((arm for arm in arms if arm.chosen), None)
    baseline = next(arm for arm in arms if arm.baseline)
    if chosen is None or chosen.delta_m_tasks is None:
        why = _failures(arms) or ["Every gain is relative to a single-task score that is 0 or could not be computed."]
        return ("No arm could be compared with single-task training.", *why)
    found = chosen.delta_m_tasks
    others = sum(not arm.baseline for arm in arms)
    return (
        _headline(chosen.name, found, confidence),
        _per_task(chosen, auxiliary),
        _cost(chosen, baseline),
        *_longer(chosen),
        f"{chosen.name} was chosen on validation data among {others} way{'s' if others > 1 else ''} of training "
        "together; the figures are of test data.",
        *_others(arms, chosen),
        *_advice(found),
        *_failures(arms),
    )


def _percent(value: float) -> str:
    return f"{value:+.1f} %" if abs(value) >= 0.05 else f"{value:+.2f} %"


def _range(found: Interval) -> str:
    return f"{_percent(found.low or 0.0)} to {_percent(found.high or 0.0)}"


def _headline(name: str, found: Interval, confidence: float) -> str:
    if math.isnan(found.mean):
        return f"No figure: a metric of every task could not be computed for {name}, or its single-task score is 0."
    if found.low is None:
        return (
            f"One seed, no evidence either way: trained together ({name}) the tasks scored {_percent(found.mean)} "
            "against single-task training; run at least 3 seeds to learn how sure that is."
        )
    sure = f"{100 * confidence:g} % interval {_range(found)}"
    if found.above_zero:
        gained = f"{name} gained {abs(found.mean):.1f} % over single-task training"
        return f"Training together was worth it: {gained} ({sure})."
    if found.below_zero:
        return f"Training together hurt: {name} lost {abs(found.mean):.1f} % against single-task training ({sure})."
    return f"No evidence of gain: {name} scored {_percent(found.mean)} against single-task training ({sure} covers 0)."


def _per_task(chosen: ArmSummary, auxiliary: Mapping[str, bool]) -> str:
    better: list[str] = []
    worse: list[str] = []
    unclear: list[str] = []
    unknown: list[str] = []
    for task, found in chosen.task_gain.items():
        if not auxiliary[task] and math.isnan(found.mean):
            unknown.append(task)
        elif not auxiliary[task]:
            place = better if found.above_zero else worse if found.below_zero else unclear
            place.append(f"{task} ({_percent(found.mean)})")
    alone = all(found.n < 2 for found in chosen.task_gain.values())
    why = "one seed, no interval" if alone else "the interval covers 0"
    known = len(better) + len(worse) + len(unclear)
    mean = f"; the mean is over {known} of {known + len(unknown)} tasks" if known else ""
    none = f"No figure (a score could not be computed, or is 0 for single-task{mean})"
    told = {"Better": better, "Worse": worse, f"Not decided ({why})": unclear, none: unknown}
    return "; ".join(f"{how}: {', '.join(tasks)}" for how, tasks in told.items() if tasks) + "."


def _cost(chosen: ArmSummary, baseline: ArmSummary) -> str:
    size = f"{chosen.parameters / baseline.parameters:.2f} times the parameters"
    if baseline.seconds.mean >= SECONDS_TO_COMPARE:
        size += f" and {chosen.seconds.mean / baseline.seconds.mean:.2f} times the training time"
    several = len(chosen.task_gain)  # 1 where a single task stands for many
    return f"One network in place of {several if several > 1 else 'one per member'}: {size}."


def _longer(chosen: ArmSummary) -> list[str]:
    if chosen.start_seconds is None:
        return []
    return [
        f"{chosen.name} began where the single-task networks ended and trained on: part of a gain may be the longer "
        "training."
    ]


def _others(arms: Sequence[ArmSummary], chosen: ArmSummary) -> list[str]:
    rest = [arm for arm in arms if arm.delta_m_tasks is not None and arm is not chosen]
    up = [arm.name for arm in rest if arm.delta_m_tasks and arm.delta_m_tasks.above_zero]
    down = [arm.name for arm in rest if arm.delta_m_tasks and arm.delta_m_tasks.below_zero]
    told = []
    if up:
        told.append(f"Also above single-task, each by its own interval: {', '.join(up)}.")
    if down:
        told.append(f"Below single-task, each by its own interval: {', '.join(down)}.")
    return told


def _advice(found: Interval) -> list[str]:
    if found.low is None or found.above_zero:
        return []
    if found.below_zero:
        return [
            "What to try: share fewer stages, weigh the tasks by hand (Static), or train apart the tasks that lose."
        ]
    return [
        "What to try: more seeds for a narrower interval; and if one smaller network is worth having, equal scores "
        "are a gain, too."
    ]


def _failures(arms: Sequence[ArmSummary]) -> list[str]:
    failed = {arm.name: arm.failed for arm in arms if arm.failed}
    if not failed:
        return []
    counts = ", ".join(f"{name} ({len(errors)})" for name, errors in failed.items())
    first = next(iter(failed.values()))[0]
    return [f"Runs that failed: {counts}. The first says, for {first}."]
