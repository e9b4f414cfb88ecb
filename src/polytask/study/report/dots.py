"""Estimates with intervals as dots: where they lie on an axis, and how they are told from zero."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from polytask.study.report.marks import Mark
from polytask.study.report.numbers import between, finite, fixed, places, short
from polytask.study.report.scales import Scale, spanning

if TYPE_CHECKING:
    from polytask.evaluation.intervals import Interval

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


def digits_of(intervals: Sequence["Interval | None"]) -> int:
    """Decimal places for gains in percent, at most two."""
    return min(2, places([each.mean for each in intervals if each is not None]) - 1) if intervals else 1


def dot_of(mark: Mark, interval: "Interval | None", scale: Scale, digits: int) -> Dot | None:
    """One estimate on its axis; None where there is no number."""
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


def dot_rows(title: str, shown: "Sequence[tuple[Mark, Interval | None]]") -> DotChart:
    """A row for every estimate, in percent, around a zero line.

    Args:
        title: of the chart.
        shown: what each row is called, and its estimate.
    """
    intervals = [each for _, each in shown]
    scale, digits = gain_scale(intervals), digits_of(intervals)
    found = [(mark, dot_of(mark, each, scale, digits)) for mark, each in shown]
    dots = [dot for _, dot in found if dot is not None]
    said = "; ".join(f"{dot.mark.name} {dot.text} %" + (f" ({dot.range})" if dot.range else "") for dot in dots)
    return DotChart(
        title=title,
        sign=None,
        dots=tuple(dots),
        ticks=tuple((100 * scale.at(tick), short(tick)) for tick in scale.ticks(5)),
        zero=100 * scale.at(0.0),
        description=f"{title}; right is better. {said or 'No values'}.",
        missing=tuple(mark for mark, dot in found if dot is None),
        head=("", "gain %", "interval"),
        rows=tuple((dot.mark.name, dot.text, dot.range or "none") for dot in dots),
    )


def aside(dot: Dot, x: float, cost: str, placed: Sequence[Dot], width: float = 4.2, height: float = 2.4) -> Dot:
    """Shift a dot sideways (pixels) until it hides no other.

    `width` and `height` are pixels per percent in a usual panel.
    """
    for shift in (0, 24, -24, 48, -48, 72, -72, 96, -96, 120, -120, 144, -144):
        if all(
            abs((x - other.x) * width + shift - other.shift) >= 23 or _apart(dot, other, height) for other in placed
        ):
            break
    else:
        shift = 0
    return replace(dot, x=x, shift=shift, cost=cost)


def _apart(one: Dot, other: Dot, height: float) -> bool:
    """Whether neither dot touches the other's dot or interval, whatever their places along the axis."""

    def reach(dot: Dot) -> tuple[float, float]:
        room = 11 / height
        ends = [dot.at - room, dot.at + room, *(end for end in (dot.low, dot.high) if end is not None)]
        return min(ends), max(ends)

    (low, high), (other_low, other_high) = reach(one), reach(other)
    return high < other_low or other_high < low
