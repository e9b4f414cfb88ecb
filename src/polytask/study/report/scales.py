"""Axes: which range to show, where the ticks go, and where a value lies between 0 and 1."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from polytask.study.report.numbers import finite


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis from `low` to `high`.

    >>> scale = Scale(0, 10)
    >>> scale.at(2.5), scale.ticks(5)
    (0.25, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0])
    """

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Position of `value`: 0 at `low`, 1 at `high`; outside of [0, 1] where it is off the axis."""
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        floor = self.low * 1e-6
        return math.log(max(value, floor) / self.low) / math.log(self.high / self.low)

    def inside(self, value: float) -> float:
        """Position of `value`, held within [0, 1]."""
        return min(1.0, max(0.0, self.at(value)))

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values within the axis."""
        return _log_ticks(self.low, self.high, count) if self.log else _linear_ticks(self.low, self.high, count)

    def whole_ticks(self, count: int = 5) -> list[float]:
        """As `ticks`, whole numbers only (epochs)."""
        step = max(1.0, _step(self.high - self.low, count))
        return _multiples(self.low, self.high, float(math.ceil(step)))


def _step(span: float, count: int) -> float:
    raw = span / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    return min((size * power for size in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / raw)))


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(index * step, digits) + 0.0 for index in range(first, last + 1)]


def _linear_ticks(low: float, high: float, count: int) -> list[float]:
    return _multiples(low, high, _step(high - low, count))


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [size * 10.0**power for power in powers for size in steps]
        ticks = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) <= count + 2:
            break
    if len(ticks) > count + 2:
        ticks = ticks[:: math.ceil(len(ticks) / count)]
    return ticks if len(ticks) >= 2 else _linear_ticks(low, high, count)


def spanning(
    values: Iterable[float | None], include: Sequence[float] = (), log: bool = False, pad: float = 0.05
) -> Scale:
    """The axis that shows all of `values` and `include` with a little room at both ends."""
    kept = [number for value in (*values, *include) if (number := finite(value)) is not None]
    if log:
        kept = [math.log(value) for value in kept if value > 0]
    low, high = (min(kept), max(kept)) if kept else (0.0, 1.0)
    room = (high - low) * pad if high - low > 1e-9 * max(abs(low), abs(high), 1e-9) else max(abs(low) * 0.05, 0.01)
    low, high = low - room, high + room
    return Scale(math.exp(low), math.exp(high), log=True) if log else Scale(low, high)


def central(values: Sequence[float]) -> list[float]:
    """`values` without the few that would squeeze all others: kept are those near the middle 96 %.

    A training that blows up for some epochs must not hide the rest. Nothing is dropped unless the range is
    more than four times the middle one.

    >>> central([1.0, 2.0, 3.0])
    [1.0, 2.0, 3.0]
    >>> max(central([*range(100), 1e9]))
    99
    """
    ordered = sorted(values)
    if len(ordered) < 20:
        return ordered
    cut = max(1, round(len(ordered) * 0.02))
    low, high = ordered[cut], ordered[-1 - cut]
    if ordered[-1] - ordered[0] <= 4 * (high - low) or high <= low:
        return ordered
    room = high - low
    return [value for value in ordered if low - room <= value <= high + room]
