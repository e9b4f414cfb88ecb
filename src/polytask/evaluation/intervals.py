"""Confidence intervals of a mean over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit


@dataclass(frozen=True)
class Interval:
    """A mean over n values with its confidence interval; no interval (None) from fewer than two values."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def above_zero(self) -> bool:
        """The whole interval is positive."""
        return self.low is not None and self.low > 0

    @property
    def below_zero(self) -> bool:
        """The whole interval is negative."""
        return self.high is not None and self.high < 0


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    r"""Student's t interval of the mean: m +- t_{n-1} s / sqrt(n).

    Of *paired differences* (one per seed) this is the paired t interval. It assumes that the values scatter normally
    around their mean; with three seeds t is 4.30, so that only clear differences come out as such.

    Args:
        values: one per seed; NaN makes the result NaN without an interval.
        confidence: the share of such intervals that hold the true mean.

    >>> interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, low=-0.484..., high=4.484..., n=3)
    >>> interval([1.0])
    Interval(mean=1.0, low=None, high=None, n=1)
    """
    n = len(values)
    mean = sum(values) / n if n else math.nan
    if n < 2 or math.isnan(mean):
        return Interval(mean, None, None, n)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)
