"""Line charts over epochs, or whatever else is counted, as plain SVG parts: paths in a box of 1000, else percent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polytask.study.report.marks import Mark
from polytask.study.report.numbers import fixed, places, short
from polytask.study.report.scales import Scale, central, spanning
from polytask.study.report.series import Series

ROWS = 12  # rows of the data table behind a chart


@dataclass(frozen=True)
class Line:
    """One drawn series: the mean as a path, the spread over seeds as a band, lone points as dots."""

    mark: Mark
    path: str
    band: str
    dots: tuple[tuple[float, float], ...]
    end: float
    dotted: bool


@dataclass(frozen=True)
class LineChart:
    """All the template needs to draw one panel; positions are percentages, data is what hovering shows."""

    title: str
    sign: Mark | None
    subtitle: str
    description: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    reference: float | None
    note: str
    data: dict[str, Any]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Drawn:
    """A series with its identity, before scales are known; `dotted` lines are training losses.

    `shaded`: the spread over the seeds is drawn, too, which hides what lies below where there are very many lines.
    """

    mark: Mark
    series: Series
    dotted: bool = False
    shaded: bool = True

    @property
    def name(self) -> str:
        return f"{self.mark.name} (training)" if self.dotted else self.mark.name


def line_chart(
    title: str,
    subtitle: str,
    what: str,
    drawn: Sequence[Drawn],
    y: Scale | None = None,
    reference: float | None = None,
    sign: Mark | None = None,
    axis: str = "epoch",
    x: Scale | None = None,
    x_ticks: Sequence[float] = (),
) -> LineChart:
    """Lay out one panel; `what` begins its spoken description, `y` is a scale shared with other panels, `axis` is what
    the series count; `x` its scale, where epochs or stages have another one, and `x_ticks` what is marked on it."""
    means = [value for item in drawn for value in item.series.values()]
    epochs = [at for item in drawn for at in item.series.x]
    y = y or spanning(_settled(drawn) or central(means), () if reference is None else (reference,))
    x = x or (Scale(min(epochs), max(epochs)) if epochs and max(epochs) > min(epochs) else spanning(epochs, pad=0))
    digits = places(means)
    outside = any(not y.low <= value <= y.high for value in means)
    ends = "; ".join(f"{item.name}: {fixed(item.series.mean[-1], digits)}" for item in drawn)
    lines = sorted((_line(item, x, y) for item in drawn), key=lambda line: line.mark.focus)  # grey ones lie below
    table = _table(drawn, digits, axis)
    return LineChart(
        title=title,
        sign=sign,
        subtitle=subtitle,
        description=f"{what} against {axis}. Last values: {ends}.",
        lines=tuple(_spread_labels(lines)),
        x_ticks=tuple((100 * x.at(tick), short(tick)) for tick in x_ticks or x.whole_ticks(5)),
        y_ticks=tuple((100 - 100 * y.at(tick), short(tick)) for tick in y.ticks(4)),
        reference=None if reference is None else 100 - 100 * y.at(reference),
        note=f"{axis} (values off the axis: see data)" if outside else axis,
        data=_data(drawn, x, digits, axis),
        head=table[0],
        rows=tuple(table[1:]),
    )


def _settled(drawn: Sequence[Drawn]) -> list[float]:
    """The values without the first 15 % of the epochs where that is what makes the rest readable, else none.

    Most of a learning curve's height is its first epochs, while arms differ in the last ones.
    """
    epochs = sorted({at for item in drawn for at in item.series.x})
    if len(epochs) < 8:
        return []
    start = epochs[math.ceil(0.15 * len(epochs))]
    later, every = [], []
    for item in drawn:
        for at, value in zip(item.series.x, item.series.mean, strict=True):
            if value is not None:
                every.append(value)
                later += [value] if at >= start else []
    if not later or max(later) <= min(later):
        return []
    kept = central(later)
    return kept if max(every) - min(every) > 1.5 * (max(kept) - min(kept)) else []


def _line(item: Drawn, x: Scale, y: Scale) -> Line:
    series = item.series
    points = [(x.at(at), 1 - y.at(value)) for at, value in zip(series.x, series.mean, strict=True) if value is not None]
    band = ""
    shaded = item.shaded and item.mark.focus and not item.dotted
    if shaded and max(series.seeds) > 1 and len(points) > 1:
        band = _path([(x.at(at), 1 - y.at(value or 0)) for at, value in zip(series.x, series.high, strict=True)])
        back = [(x.at(at), 1 - y.at(value or 0)) for at, value in zip(series.x, series.low, strict=True)]
        band += "L" + _path(back[::-1])[1:] + "Z"
    dots = tuple((100 * a, 100 * b) for a, b in points) if len(points) == 1 else ()
    end = 100 * min(1.0, max(0.0, points[-1][1]))
    return Line(item.mark, _path(points) if len(points) > 1 else "", band, dots, end, item.dotted)


def _path(points: Sequence[tuple[float, float]]) -> str:
    pairs = [f"{1000 * a:.0f} {min(9999, max(-9999, 1000 * b)):.0f}" for a, b in points]
    return f"M{pairs[0]}L{' '.join(pairs[1:])}" if len(pairs) > 1 else ""


def _spread_labels(lines: Sequence[Line], gap: float = 7.5) -> list[Line]:
    """Move the signs at the right end apart where they would overlap (training lines carry none)."""
    order = sorted((line for line in lines if line.mark.focus and not line.dotted), key=lambda line: line.end)
    if not order:
        return list(lines)
    gap = min(gap, 100 / len(order))
    placed = [line.end for line in order]
    for _ in range(80):
        for index in range(len(placed) - 1):
            push = (gap - (placed[index + 1] - placed[index])) / 2
            if push > 0:
                placed[index] -= push
                placed[index + 1] += push
        placed = [min(100.0, max(0.0, at)) for at in placed]
    ends = dict(zip((id(line) for line in order), placed, strict=True))
    return [
        Line(line.mark, line.path, line.band, line.dots, ends.get(id(line), line.end), line.dotted) for line in lines
    ]


def _data(drawn: Sequence[Drawn], x: Scale, digits: int, axis: str) -> dict[str, Any]:
    epochs = sorted({at for item in drawn for at in item.series.x})
    return {
        "x": [int(at) if at == int(at) else at for at in epochs],
        "at": [round(x.at(at), 4) for at in epochs],
        "digits": digits,
        "axis": axis,
        "series": [
            {
                "key": item.mark.key,
                "sign": item.mark.sign,
                "name": item.name,
                "v": _aligned(item, epochs, digits),
            }
            for item in drawn
            if item.mark.focus or len(drawn) <= 2 * ROWS
        ],
    }


def _aligned(item: Drawn, epochs: Sequence[float], digits: int) -> list[float | None]:
    known = dict(zip(item.series.x, item.series.mean, strict=True))
    return [None if (value := known.get(at)) is None else round(value, digits) for at in epochs]


def _table(drawn: Sequence[Drawn], digits: int, axis: str) -> list[tuple[str, ...]]:
    """Head and rows of the data: one row per epoch, or one per series where there are very many."""
    epochs = sorted({at for item in drawn for at in item.series.x})
    wide = len(drawn) > ROWS
    count = 5 if wide else ROWS
    if len(epochs) > count:
        epochs = [epochs[round(index * (len(epochs) - 1) / (count - 1))] for index in range(count)]
    known = [dict(zip(item.series.x, item.series.mean, strict=True)) for item in drawn]
    rows = [(axis, *(item.name for item in drawn))]
    rows += [(short(at), *(fixed(values.get(at), digits) for values in known)) for at in epochs]
    return list(zip(*rows, strict=True)) if wide else rows


def shared_scale(drawn: Sequence[Drawn], include: Sequence[float], ratio_like: bool) -> Scale:
    """One y axis for several panels; logarithmic for ratio-like values that span a factor of 5 or more."""
    values = [value for item in drawn for value in item.series.values()]
    positive = [value for value in values if value > 0]
    log = ratio_like and len(positive) == len(values) > 0 and max(positive) / min(positive) >= 5
    return spanning(values if log else central(values), include, log=log, pad=0.08)
