"""Scores of maps, pooled over a whole split: sums and counts over all pixels, never means of means.

What they are shown, `update(values)`, is computed once by the task and handed to all that need it. States are sums of
integers or of doubles: scores do not depend on the batch size (sums of doubles: to about 1e-12), and on several
processes the states are added up.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from polytask.tasks.task import present


class Pooled(Metric):
    """What the metrics of this module share.

    Args:
        unit: of the score, for tables; empty when it has none.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, unit: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.unit = unit


class MeanError(Pooled):
    """The mean of all values shown; NaN when there was none. Lower is better.

    >>> import torch
    >>> metric = MeanError()
    >>> metric.update(torch.tensor([1.0, 2.0, 6.0]))
    >>> metric.update(torch.tensor([3.0]))
    >>> metric.compute()
    tensor(3., dtype=torch.float64)
    """

    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(self, unit: str = "", **kwargs: Any) -> None:
        super().__init__(unit, **kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Show values of any shape."""
        self.total += values.sum(dtype=torch.float64)
        self.count += values.numel()

    def compute(self) -> Tensor:
        """The mean over everything shown."""
        return self.total / self.count


class RootMeanSquare(MeanError):
    """The root of the mean of all values shown, which are squares. Lower is better."""

    def compute(self) -> Tensor:
        """The root of the mean over everything shown."""
        return (self.total / self.count).sqrt()


class PeakSignalToNoise(MeanError):
    """-10 log10 of the mean of all values shown, squared errors of numbers 0 to 1, in decibels. Higher is better.

    The error is pooled over the split, then the logarithm taken once; the mean of one PSNR per image, which is also
    seen, is higher.
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """In decibels; infinite when there was no error."""
        return -10 * (self.total / self.count).log10()


class Share(MeanError):
    """The share of the values shown (true or false) that are true. Higher is better."""

    higher_is_better = True


class MedianError(Pooled):
    """The median of all values shown, from a histogram of equal bins: at most half a bin off. Lower is better.

    It is the mean of the middles of the bins that hold the two middle values (of one bin, when the number of values
    is odd). A histogram needs no memory for the values and is the same however they come.

    Args:
        largest: values are from 0 to this; larger ones, and NaN, count as the largest.
        bins: how many. The defaults make the median of angles exact to 0.005 degrees.
        unit: as in `Pooled`.

    Cost: one `bincount` of the values shown.
    """

    higher_is_better = False
    histogram: Tensor

    def __init__(self, largest: float = 180.0, bins: int = 18000, unit: str = "", **kwargs: Any) -> None:
        super().__init__(unit, **kwargs)
        self.largest, self.bins = largest, bins
        self.add_state("histogram", torch.zeros(bins, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Show values of any shape."""
        bins = (values.nan_to_num(self.largest) * (self.bins / self.largest)).long().clamp(0, self.bins - 1)
        self.histogram += torch.bincount(bins.flatten(), minlength=self.bins)

    def compute(self) -> Tensor:
        """The median of everything shown; NaN when there was nothing."""
        upto = self.histogram.cumsum(0)
        count = upto[-1]
        if not count:
            return torch.full((), torch.nan, dtype=torch.float64)
        middle = torch.stack([(count + 1) // 2, count // 2 + 1])  # the first of n values is number 1
        found = torch.searchsorted(upto, middle).double()
        return (found + 0.5).mean() * (self.largest / self.bins)


def confusion(shown: Tensor, target: Tensor, classes: int) -> Tensor:
    """How often class i was taken for class j, integers [classes, classes], at the pixels with a label.

    >>> import torch
    >>> confusion(torch.tensor([0, 1, 1]), torch.tensor([0, 0, -100]), 2).tolist()
    [[1, 1], [0, 0]]
    """
    there = present(target)
    pairs = target[there].long() * classes + shown[there]
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


class _Confusion(Pooled):
    """Keeps the sum of the confusion counts shown."""

    higher_is_better = True
    counts: Tensor

    def __init__(self, classes: int, unit: str = "", **kwargs: Any) -> None:
        super().__init__(unit, **kwargs)
        self.add_state("counts", torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, counts: Tensor) -> None:
        """Show the `confusion` of a batch."""
        self.counts += counts


class MeanIoU(_Confusion):
    """The mean over classes of intersection over union, from the confusion counts of the whole split.

    IoU_k = n_kk / (sum_j n_kj + sum_i n_ik - n_kk). A class that is neither a label nor predicted anywhere in the split
    has no IoU and is left out; one that is predicted but never a label counts with 0. NaN when there was nothing.

    The MTAN code (Liu et al. 2019) averages the mIoU of single images instead, each over the classes that are in it:
    its numbers differ.

    Args:
        classes: how many.
        unit: as in `Pooled`.
    """

    def compute(self) -> Tensor:
        """The mean IoU, 0 to 1."""
        right = self.counts.diagonal().double()
        union = self.counts.sum(0) + self.counts.sum(1) - right
        return (right / union).nanmean()


class ClassIoU(_Confusion):
    """Intersection over union of every class, from the confusion counts of the whole split.

    NaN for a class that is never a label there.
    """

    def compute(self) -> Tensor:
        """[classes], each 0 to 1."""
        right, labels = self.counts.diagonal().double(), self.counts.sum(1)
        return torch.where(labels > 0, right / (self.counts.sum(0) + labels - right), torch.nan)


class PixelAccuracy(_Confusion):
    """The share of labelled pixels whose class is right, from the confusion counts of the whole split."""

    def compute(self) -> Tensor:
        """The accuracy, 0 to 1."""
        return self.counts.diagonal().sum().double() / self.counts.sum()


class ForegroundIoU(_Confusion):
    """Intersection over union of the second of two classes, from the confusion counts of the whole split."""

    def __init__(self, unit: str = "", **kwargs: Any) -> None:
        super().__init__(2, unit, **kwargs)

    def compute(self) -> Tensor:
        """The IoU, 0 to 1; NaN when there is foreground neither in labels nor in predictions."""
        return self.counts[1, 1].double() / (self.counts.sum() - self.counts[0, 0])


class MaxF(Pooled):
    r"""The largest F-measure over 256 thresholds, precision and recall pooled over the split. Higher is better.

    F = (1 + β²) P R / (β² P + R); a pixel is taken for foreground where round(255 probability) >= t, t = 0 to 255.

    Args:
        beta_squared: 0.3 weighs precision more, as is the custom for saliency (Achanta et al. 2009).
        unit: as in `Pooled`.

    The saliency literature mostly averages precision and recall over images first; pooled, large objects count more.
    """

    higher_is_better = True
    histogram: Tensor

    def __init__(self, beta_squared: float = 0.3, unit: str = "", **kwargs: Any) -> None:
        super().__init__(unit, **kwargs)
        self.beta_squared = beta_squared
        self.add_state("histogram", torch.zeros(2, 256, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, chance: Tensor, target: Tensor) -> None:
        """Show probabilities and labels (0 and 1, none missing) of any shape."""
        level = (chance * 255).round().long().clamp(0, 255)
        found = torch.bincount((target.long() * 256 + level).flatten(), minlength=512)
        self.histogram += found.reshape(2, 256)

    def compute(self) -> Tensor:
        """The largest F, 0 to 1."""
        wrong, right = self.histogram.flip(1).cumsum(1).double()  # at level 255, at 254 and above, ...
        precision, recall = right / (right + wrong).clamp_min(1), right / right[-1]
        weighed = (self.beta_squared * precision + recall).clamp_min(1e-12)
        return ((1 + self.beta_squared) * precision * recall / weighed).max()
