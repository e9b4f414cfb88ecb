"""The gains of every task over single-task: rows of dots with intervals around a zero line."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polytask.study.report.dots import DotChart, digits_of, dot_of, dot_rows, gain_scale
from polytask.study.report.marks import FOCUS, Mark, ordered
from polytask.study.report.numbers import between, finite, fixed, short
from polytask.study.report.scales import Scale

if TYPE_CHECKING:
    from polytask.evaluation.intervals import Interval
    from polytask.study.summary import ArmSummary, Summary


def gains(summary: "Summary", marks: dict[str, Mark], tasks: dict[str, Mark]) -> dict[str, list[DotChart]]:
    """Panels of gains over single-task: "headline" (delta_m, and the chosen arm where there are many tasks), "main" and
    "auxiliary" tasks."""
    arms = [arm for arm in ordered(summary.arms) if not arm.baseline]
    by_task = {task.name: [arm.task_gain.get(task.name) for arm in arms] for task in summary.tasks}
    shared: Scale | None = gain_scale([each for row in by_task.values() for each in row])
    sizes = sorted(scale.high - scale.low for scale in map(gain_scale, by_task.values()))
    if sizes and sizes[-1] > 6 * sizes[len(sizes) // 2]:
        shared = None  # one task would squeeze all others: every panel gets its own axis
    panels: dict[str, list[DotChart]] = {"headline": [], "main": [], "auxiliary": []}
    headline = [arm.delta_m_tasks for arm in arms]
    panels["headline"].append(_gain_panel("All tasks together (Δm over tasks)", None, arms, headline, marks, None, {}))
    panels["headline"] += _task_by_task(summary, tasks)
    for task in summary.tasks:
        detail = {
            metric.name: [arm.gains.get(task.name, {}).get(metric.name) for arm in arms] for metric in task.metrics
        }
        panel = _gain_panel(task.name, tasks[task.name], arms, by_task[task.name], marks, shared, detail)
        panels["auxiliary" if task.auxiliary else "main"].append(panel)
    return panels


def _task_by_task(summary: "Summary", tasks: dict[str, Mark]) -> list[DotChart]:
    """The gains of the chosen arm, the largest first, where there are too many tasks to see at a glance otherwise."""
    main = [task.name for task in summary.tasks if not task.auxiliary]
    found = [(tasks[name], arm.task_gain.get(name)) for arm in summary.arms if arm.chosen for name in main]
    if len(main) <= FOCUS or not found:
        return []
    chosen = next(arm.name for arm in summary.arms if arm.chosen)
    known = [finite(gain.mean) if gain else None for _, gain in found]
    order = sorted(range(len(found)), key=lambda k: math.inf if (gain := known[k]) is None else -gain)
    return [dot_rows(f"Task by task: gain of {chosen}, %", [found[k] for k in order])]


def _gain_panel(
    title: str,
    sign: Mark | None,
    arms: Sequence["ArmSummary"],
    intervals: Sequence["Interval | None"],
    marks: dict[str, Mark],
    scale: Scale | None,
    detail: dict[str, Any],
) -> DotChart:
    scale = scale or gain_scale(intervals)
    digits = digits_of(intervals)
    dots, missing = [], []
    for arm, interval in zip(arms, intervals, strict=True):
        dot = dot_of(marks[arm.name], interval, scale, digits)
        if dot is None:
            missing.append(marks[arm.name])
        else:
            dots.append(dot)
    said = "; ".join(f"{dot.mark.name} {dot.text} %" + (f" ({dot.range})" if dot.range else "") for dot in dots)
    return DotChart(
        title=title,
        sign=sign,
        dots=tuple(dots),
        ticks=tuple((100 * scale.at(tick), short(tick)) for tick in scale.ticks(5)),
        zero=100 * scale.at(0.0),
        description=f"{title}: gain over single-task in percent, right is better. {said or 'No values'}.",
        missing=tuple(missing),
        head=("arm", "gain %", "interval", *(f"{name} %" for name in detail)),
        rows=tuple(
            (
                arm.name,
                *_value(interval, digits),
                *(_with_range(column[index], digits) for column in detail.values()),
            )
            for index, (arm, interval) in enumerate(zip(arms, intervals, strict=True))
        ),
    )


def _value(interval: "Interval | None", digits: int) -> tuple[str, str]:
    return fixed(interval.mean if interval else None, digits, True), between(interval, digits, True) or "none"


def _with_range(interval: "Interval | None", digits: int) -> str:
    inside = between(interval, digits, True)
    return fixed(interval.mean if interval else None, digits, True) + (f" ({inside})" if inside else "")
