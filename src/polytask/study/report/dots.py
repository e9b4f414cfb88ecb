"""Estimates with intervals: the gains of every task (rows of dots) and cost against gain (a scatter)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polytask.study.report.marks import Mark, ordered
from polytask.study.report.numbers import amount, between, duration, finite, fixed, places, short
from polytask.study.report.scales import Scale, spanning

if TYPE_CHECKING:
    from polytask.evaluation.intervals import Interval
    from polytask.study.summary import ArmSummary, Summary

REACH = 2.5  # an interval longer than this many times the largest mean is cut at the edge, with an arrow

LEAST = 0.5  # percent shown on either side of zero at least: tiny differences should look tiny


@dataclass(frozen=True)
class Dot:
    """One estimate: position of mean and ends in percent of the axis, and what it says."""

    mark: Mark
    at: float
    low: float | None
    high: float | None
    cut_low: bool
    cut_high: bool
    tone: str
    text: str
    range: str
    x: float = 0.0
    shift: int = 0
    cost: str = ""


@dataclass(frozen=True)
class DotChart:
    """One panel of dots on a common axis."""

    title: str
    sign: Mark | None
    dots: tuple[Dot, ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float
    description: str
    missing: tuple[Mark, ...] = ()
    x_ticks: tuple[tuple[float, str], ...] = ()
    log: bool = False
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def tone(interval: "Interval | None") -> str:
    """ "better" or "worse" when the interval leaves zero out, otherwise "open".

    An estimate without an interval is "open": one seed shows nothing about luck.
    """
    low, high = (finite(interval.low), finite(interval.high)) if interval is not None else (None, None)
    if low is None or high is None:
        return "open"
    return "better" if low > 0 else "worse" if high < 0 else "open"


def gain_scale(intervals: Sequence["Interval | None"]) -> Scale:
    """An axis with zero that shows all means, and intervals as far as they help."""
    known = [each for each in intervals if each is not None and finite(each.mean) is not None]
    largest = max((abs(each.mean) for each in known), default=1.0) or 1.0
    ends = [end for each in known for end in (finite(each.low), finite(each.high)) if end is not None]
    ends = [max(-REACH * largest, min(REACH * largest, end)) for end in ends]
    return spanning([each.mean for each in known], (-LEAST, 0.0, LEAST, *ends), pad=0.06)


def gains(summary: "Summary", marks: dict[str, Mark], tasks: dict[str, Mark]) -> dict[str, list[DotChart]]:
    """Panels of gains over single-task: "headline" (delta_m), "main" and "auxiliary" tasks."""
    arms = [arm for arm in ordered(summary.arms) if not arm.baseline]
    by_task = {task.name: [arm.task_gain.get(task.name) for arm in arms] for task in summary.tasks}
    shared: Scale | None = gain_scale([each for row in by_task.values() for each in row])
    sizes = sorted(scale.high - scale.low for scale in map(gain_scale, by_task.values()))
    if sizes and sizes[-1] > 6 * sizes[len(sizes) // 2]:
        shared = None  # one task would squeeze all others: every panel gets its own axis
    panels: dict[str, list[DotChart]] = {"headline": [], "main": [], "auxiliary": []}
    headline = [arm.delta_m_tasks for arm in arms]
    panels["headline"].append(_gain_panel("All tasks together (Δm over tasks)", None, arms, headline, marks, None, {}))
    for task in summary.tasks:
        detail = {metric.name: [arm.gains.get(task.name, {}).get(metric.name) for arm in arms] for metric in task.metrics}
        panel = _gain_panel(task.name, tasks[task.name], arms, by_task[task.name], marks, shared, detail)
        panels["auxiliary" if task.auxiliary else "main"].append(panel)
    return panels


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
    digits = _digits(intervals)
    dots, missing = [], []
    for arm, interval in zip(arms, intervals, strict=True):
        dot = _dot(marks[arm.name], interval, scale, digits)
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
            (arm.name, fixed(interval.mean if interval else None, digits, True), between(interval, digits, True) or "none")
            + tuple(_with_range(column[index], digits) for column in detail.values())
            for index, (arm, interval) in enumerate(zip(arms, intervals, strict=True))
        ),
    )


def _with_range(interval: "Interval | None", digits: int) -> str:
    inside = between(interval, digits, True)
    return fixed(interval.mean if interval else None, digits, True) + (f" ({inside})" if inside else "")


def _digits(intervals: Sequence["Interval | None"]) -> int:
    return min(2, places([each.mean for each in intervals if each is not None]) - 1) if intervals else 1


def _dot(mark: Mark, interval: "Interval | None", scale: Scale, digits: int) -> Dot | None:
    mean = finite(interval.mean) if interval is not None else None
    if interval is None or mean is None:
        return None
    low, high = finite(interval.low), finite(interval.high)
    return Dot(
        mark=mark,
        at=100 * scale.inside(mean),
        low=None if low is None else 100 * scale.inside(low),
        high=None if high is None else 100 * scale.inside(high),
        cut_low=low is not None and low < scale.low,
        cut_high=high is not None and high > scale.high,
        tone=tone(interval),
        text=fixed(mean, digits, True),
        range=between(interval, digits, True),
    )


def costs(summary: "Summary", marks: dict[str, Mark]) -> list[DotChart]:
    """Two scatters of delta_m against what it cost: training time and parameters; single-task lies at zero."""
    return [
        _scatter(summary, marks, "Training time", lambda arm: arm.seconds.mean if arm.seconds else None, duration),
        _scatter(summary, marks, "Parameters", lambda arm: arm.parameters, amount),
    ]


def _scatter(
    summary: "Summary",
    marks: dict[str, Mark],
    title: str,
    cost: Callable[["ArmSummary"], Any],
    say: Callable[[Any], str],
) -> DotChart:
    arms = ordered(summary.arms)
    y = gain_scale([arm.delta_m_tasks for arm in arms])
    digits = _digits([arm.delta_m_tasks for arm in arms])
    spent = [value for arm in arms if (value := finite(cost(arm))) is not None and value > 0]
    log = bool(spent) and max(spent) > 15 * min(spent)
    x = spanning(spent, () if log else (0.0,), log=log, pad=0.08)
    if not log:
        x = Scale(0.0, x.high)
    dots: list[Dot] = []
    missing = []
    for arm in arms:
        at = finite(cost(arm))
        nought = Dot(marks[arm.name], 100 * y.at(0.0), None, None, False, False, "open", "0", "")
        dot = nought if arm.baseline else _dot(marks[arm.name], arm.delta_m_tasks, y, digits)
        if dot is None or at is None or at <= 0:
            missing.append(marks[arm.name])
            continue
        dots.append(_aside(dot, 100 * x.at(at), say(at), dots))
    said = "; ".join(f"{dot.mark.name} {dot.cost}, {dot.text} %" for dot in dots)
    return DotChart(
        title=title,
        sign=None,
        dots=tuple(dots),
        ticks=tuple((100 - 100 * y.at(tick), short(tick)) for tick in y.ticks(5)),
        zero=100 - 100 * y.at(0.0),
        description=f"Gain over single-task (Δm) against {title.lower()}; up and left is better. {said or 'No values'}.",
        missing=tuple(missing),
        x_ticks=tuple((100 * x.at(tick), say(tick).replace(".00 ", " ").replace(".0 ", " ") if tick else "0") for tick in x.ticks(4)),
        log=log,
        head=("arm", title.lower(), "Δm %", "interval"),
        rows=tuple((dot.mark.name, dot.cost, dot.text, dot.range or "none") for dot in dots),
    )


def _aside(dot: Dot, x: float, cost: str, placed: Sequence[Dot], width: float = 4.2, height: float = 2.4) -> Dot:
    """Shift a dot sideways (pixels) until it hides no other; `width`, `height`: pixels per percent in a usual panel."""
    for shift in (0, 24, -24, 48, -48, 72, -72, 96, -96, 120, -120, 144, -144):
        if all(
            abs((x - other.x) * width + shift - other.shift) >= 23 or _apart(dot, other, height) for other in placed
        ):
            break
    else:
        shift = 0
    values = {**dot.__dict__, "x": x, "shift": shift, "cost": cost}
    return Dot(**values)


def _apart(one: Dot, other: Dot, height: float) -> bool:
    """Whether neither dot touches the other's dot or interval, whatever their places along the axis."""

    def reach(dot: Dot) -> tuple[float, float]:
        room = 11 / height
        ends = [dot.at - room, dot.at + room, *(end for end in (dot.low, dot.high) if end is not None)]
        return min(ends), max(ends)

    (low, high), (other_low, other_high) = reach(one), reach(other)
    return high < other_low or other_high < low
