"""Whether classes with few labels gain more from training together."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.stats import rankdata, t

if TYPE_CHECKING:
    from polytask.evaluation import Interval
    from polytask.study.summary import Summary

CLASSES = 3
"""Classes of a task at least: with fewer there is no pattern to look for."""

EXACT = 7
"""Up to this many values every order is tried."""

CHANCE = 0.05
"""A pattern is claimed where mere chance gives one as strong more seldom than this."""


@dataclass(frozen=True)
class Correlation:
    """A rank correlation: from -1 to 1, the chance of one as far from 0 where there is none, and of how many pairs."""

    r: float
    chance: float
    n: int

    @property
    def clear(self) -> bool:
        """Whether chance alone seldom gives such a one."""
        return self.chance < CHANCE


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Spearman's rank correlation: the correlation of the ranks (equal values have the mean of theirs).

    Args:
        x, y: paired values, at least three pairs.

    Returns:
        r is NaN, and chance 1, where x or y has one value only. The chance is exact for up to 7 pairs (all orders of y
        are tried); for more it comes from Student's t distribution of r sqrt((n - 2) / (1 - r^2)) with n - 2 degrees of
        freedom.

    Source: Spearman 1904, "The Proof and Measurement of Association between Two Things".

    >>> rank_correlation([10, 200, 3000, 40000, 500000], [5.0, 4.0, 3.0, 2.0, 1.0])
    Correlation(r=-1.0, chance=0.0166..., n=5)
    """
    n = len(x)
    one, other = _centred(x), _centred(y)
    size = math.sqrt(math.fsum(v * v for v in one) * math.fsum(v * v for v in other))
    if n < CLASSES or not size:
        return Correlation(math.nan, 1.0, n)
    found = math.fsum(a * b for a, b in zip(one, other, strict=True))
    r = max(-1.0, min(1.0, found / size))
    if n <= EXACT:
        sums = [sum(a * b for a, b in zip(one, each, strict=True)) for each in itertools.permutations(other)]
        return Correlation(r, sum(abs(each) >= abs(found) - 1e-9 for each in sums) / len(sums), n)
    if abs(r) == 1:
        return Correlation(r, 0.0, n)
    return Correlation(r, float(2 * t.sf(abs(r) * math.sqrt((n - 2) / (1 - r * r)), n - 2)), n)


def _centred(values: Sequence[float]) -> list[float]:
    ranks = rankdata(values).tolist()
    mean = math.fsum(ranks) / len(ranks) if ranks else 0.0
    return [each - mean for each in ranks]


@dataclass(frozen=True)
class RareClasses:
    """The data-starved study of one task.

    Args:
        task: its name.
        metric: the score of a single class.
        labels: how many training labels each class has, the fewest first.
        gains: by arm and class, the score minus that of single-task training with the same seed, in points (hundredths
            of the score, which is from 0 to 1).
        patterns: by arm, the rank correlation between the number of labels and the mean gain.
    """

    task: str
    metric: str
    labels: Mapping[str, int]
    gains: Mapping[str, Mapping[str, "Interval"]]
    patterns: Mapping[str, Correlation]


def rare_classes(summary: "Summary") -> dict[str, RareClasses]:
    """The gain of every class against its number of training labels: do classes with few labels gain more?

    A gain is a difference in points, not relative: relative to a score near 0, which rare classes often have, it
    would say nothing. A rank correlation below 0 means that classes with fewer labels gained more.

    Args:
        summary: of a comparison.

    Returns:
        By task, of those that score single classes (`Task.by_class`) and have at least 3 that are in both the training
        and the test labels; empty where there is none.

    Source: the question is that of Misra, Shrivastava, Gupta, Hebert 2016, "Cross-stitch Networks for Multi-task
    Learning", who look at categories with little training data; the rank correlation is ours.
    """
    found = {}
    for task in summary.tasks:
        gains = {arm.name: arm.class_gains[task.name] for arm in summary.arms if task.name in arm.class_gains}
        patterns = {arm.name: arm.patterns[task.name] for arm in summary.arms if task.name in arm.patterns}
        if gains and patterns:
            labels = dict(sorted(task.labels.items(), key=lambda each: each[1]))
            found[task.name] = RareClasses(task.name, task.class_metric, labels, gains, patterns)
    return found
