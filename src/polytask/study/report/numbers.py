"""Numbers as people read them: one number of places per column, true minus signs, "n/a" for missing."""

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

MISSING = "n/a"
MINUS = "−"


def finite(value: Any) -> float | None:
    """`value` as a float, or None for None, NaN, infinities and everything that is not a number.

    >>> finite(2), finite(float("nan")), finite(None), finite("x")
    (2.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def places(values: Iterable[Any]) -> int:
    """Decimal places that suit a whole column, from its largest magnitude.

    >>> places([.912, .87]), places([11.2, 9.8]), places([250.]), places([41_000.]), places([.00123])
    (3, 2, 1, 0, 5)
    """
    size = max((abs(number) for value in values if (number := finite(value)) is not None), default=0.0)
    if size == 0:
        return 3
    for bound, count in ((1e4, 0), (1e2, 1), (10.0, 2), (0.1, 3)):
        if size >= bound:
            return count
    return min(10, 2 - math.floor(math.log10(size)))


def fixed(value: Any, digits: int = 3, sign: bool = False) -> str:
    """`value` with `digits` decimals, thousands separated by a thin space.

    >>> fixed(-.25, 2), fixed(1234.5, 1), fixed(.5, 1, sign=True), fixed(float("nan"))
    ('−0.25', '1\u202f234.5', '+0.5', 'n/a')
    """
    number = finite(value)
    if number is None:
        return MISSING
    text = f"{abs(number):,.{digits}f}".replace(",", "\u202f")
    if not float(f"{number:.{digits}f}"):
        return text  # no sign on something that rounds to zero
    return (MINUS if number < 0 else "+" if sign else "") + text


def between(interval: Any, digits: int = 3, sign: bool = False) -> str:
    """The ends of an interval as "0.90 to 0.93"; empty where there is no interval."""
    if interval is None or finite(interval.low) is None or finite(interval.high) is None:
        return ""
    return f"{fixed(interval.low, digits, sign)} to {fixed(interval.high, digits, sign)}"


def short(value: Any) -> str:
    """About three significant digits, for axis ticks.

    >>> short(0.25), short(12000), short(-3), short(0)
    ('0.25', '12k', '−3', '0')
    """
    number = finite(value)
    if number is None:
        return MISSING
    for bound, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= bound:
            return f"{number / bound * (10 if suffix == 'k' else 1):.3g}{suffix}".replace("-", MINUS)
    return f"{number:.4g}".replace("-", MINUS)


def duration(seconds: Any) -> str:
    """Seconds in the unit that suits them.

    >>> duration(12.34), duration(250), duration(9000), duration(None)
    ('12.3 s', '4.2 min', '2.5 h', 'n/a')
    """
    number = finite(seconds)
    if number is None:
        return MISSING
    for bound, size, unit in ((100, 1, "s"), (5400, 60, "min"), (math.inf, 3600, "h")):
        if number < bound:
            return f"{number / size:.1f} {unit}"
    return MISSING


def amount(value: Any) -> str:
    """A count such as the number of parameters.

    >>> amount(980), amount(123_456), amount(11_200_000)
    ('980', '123 k', '11.2 M')
    """
    number = finite(value)
    if number is None:
        return MISSING
    for bound, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= bound:
            scaled = number / bound
            return f"{scaled:.{0 if scaled >= 100 else 1 if scaled >= 10 else 2}f} {unit}"
    return f"{number:.0f}"


def mebibytes(value: Any) -> str:
    """Memory in MiB, or GiB from 1024 MiB on."""
    number = finite(value)
    if number is None:
        return MISSING
    return f"{number / 1024:.1f} GiB" if number >= 1024 else f"{number:.{0 if number >= 100 else 1}f} MiB"
