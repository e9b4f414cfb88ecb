"""How much to share: delta_m and the gain of every task against the number of shared stages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polytask.study.report.dots import gain_scale
from polytask.study.report.lines import Drawn, LineChart, line_chart
from polytask.study.report.marks import Mark
from polytask.study.report.numbers import finite, fixed
from polytask.study.report.series import Series

if TYPE_CHECKING:
    from polytask.evaluation.intervals import Interval
    from polytask.study.summary import ArmSummary, Summary

LEVELS = 3
"""Numbers of shared stages at least: two make no curve."""

AXIS = "shared stages"
TOGETHER = Mark("levels", "Δm", "Δm over tasks", 1)


@dataclass(frozen=True)
class Levels:
    """Arms that differ in nothing but the number of shared stages.

    Args:
        name: what they have in common.
        panels: delta_m, and the gains of the tasks; on one axis.
        legend: of the second panel.
        chosen: which number was best on validation data, in words.
    """

    name: str
    panels: tuple[LineChart, LineChart]
    legend: tuple[Mark, ...]
    chosen: str


def levels(summary: "Summary", tasks: dict[str, Mark]) -> tuple[Levels, ...]:
    """One for every family of arms with at least three different numbers of shared stages."""
    families: dict[str, dict[int, ArmSummary]] = {}
    for arm in summary.arms:
        if arm.shared_stages is not None and arm.family and arm.delta_m_tasks is not None:
            families.setdefault(arm.family, {}).setdefault(arm.shared_stages, arm)
    return tuple(
        _levels(name, [arms[s] for s in sorted(arms)], tasks) for name, arms in families.items() if len(arms) >= LEVELS
    )


def _levels(name: str, arms: Sequence["ArmSummary"], tasks: dict[str, Mark]) -> Levels:
    together = _series(arms, lambda arm: arm.delta_m_tasks)
    apart = {task: _series(arms, _gain_of(task)) for task in tasks}
    drawn = [Drawn(tasks[task], series) for task, series in apart.items() if series is not None]
    found = [arm.delta_m_tasks for arm in arms] + [arm.task_gain.get(task) for arm in arms for task in tasks]
    y = gain_scale(found)
    panels = (
        line_chart(
            "All tasks together", "Δm, %", f"Δm of {name}", [Drawn(TOGETHER, together)] if together else [], y, 0.0,
            axis=AXIS,
        ),
        line_chart("Each task", "gain, %", f"Gain of every task with {name}", drawn, y, 0.0, axis=AXIS),
    )  # fmt: skip
    return Levels(name, panels, tuple(item.mark for item in drawn), _chosen(arms))


def _gain_of(task: str) -> Callable[["ArmSummary"], "Interval | None"]:
    return lambda arm: arm.task_gain.get(task)


def _series(arms: Sequence["ArmSummary"], read: Callable[["ArmSummary"], "Interval | None"]) -> Series | None:
    """Means by shared stages, with the ends of their intervals in place of the lowest and highest seed."""
    known = [
        (float(arm.shared_stages), each)
        for arm in arms
        if arm.shared_stages is not None and (each := read(arm)) is not None and finite(each.mean) is not None
    ]
    if not known:
        return None
    return Series(
        tuple(s for s, _ in known),
        tuple(each.mean for _, each in known),
        tuple(each.mean if each.low is None else each.low for _, each in known),
        tuple(each.mean if each.high is None else each.high for _, each in known),
        tuple(each.n for _, each in known),
    )


def _chosen(arms: Sequence["ArmSummary"]) -> str:
    """Which number of shared stages was best on validation data."""
    known = [(value, arm) for arm in arms if (value := finite(arm.validation)) is not None]
    if not known:
        return ""
    value, best = max(known, key=lambda each: each[0])
    return (
        f"On validation data {best.shared_stages} of {arms[-1].shared_stages} shared stages were best "
        f"(Δm {fixed(value, 2, sign=True)} %)."
    )
