"""A class for every pixel."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from polytask.errors import PolytaskError
from polytask.tasks.colours import class_colours
from polytask.tasks.dense import Dense, check_labelled, check_pixels
from polytask.tasks.dice import dice_loss
from polytask.tasks.map_metrics import ClassIoU, MeanIoU, PixelAccuracy, confusion
from polytask.tasks.task import MISSING_CLASS, present


@dataclass(frozen=True)
class Segmentation(Dense):
    r"""One of several classes for every pixel: logits z, loss -log softmax(z)_y, the mean over the labelled pixels.

    With all settings the loss of a pixel of class y is

        w_y (1 - p_y)^focal (-log p_y),  p = softmax(z),

    plus `dice` times the Dice loss of its image,

        1 - mean over the classes k in the image of 2 sum_y=k p_k / (sum p_k² + n_k),

    sums over the labelled pixels, n_k of them of class k. Smoothing replaces -log p_y by
    (1 - s)(-log p_y) + s/K sum_k (-log p_k), as torch's cross_entropy does.

    Targets are [b, h, w] of any integer type (missing: -100; int8 is enough for 127 classes), network outputs
    [b, classes, h, w] logits. Metrics: mIoU and pixel accuracy from the confusion counts of the whole split (see
    `MeanIoU` for classes that are absent). Error map: 1 where the class is wrong. Raster: the class number, uint8, or
    uint16 from 257 classes on.

    Args:
        classes: their names, or how many.
        weights: w, one for each class; by default 1. They are not normalised: the loss is divided by the number of
            pixels, where torch divides by the sum of their weights.
        balanced: let `fitted` set `weights` by median frequency balancing: w_k = median(f) / f_k, where f_k is the
            share of class k among the labelled pixels of the images that it is in (Eigen and Fergus 2015).
        smoothing: s, 0 for none; 0.1 is usual.
        focal: the exponent of the focal loss (Lin et al. 2017), 0 for none; theirs is 2.
        dice: how much the Dice loss counts beside the cross-entropy (Milletari et al. 2016: squares in the
            denominator), 0 for none. The mean over the classes that are in the image is ours: theirs has one class.
        scored: as in `Dense`.

    `constant` is the best constant for cross-entropy with its weights and smoothing; focal and Dice do not change
    which class it names.

    Source: cross-entropy as in the MTAN protocol (Liu, Johns, Davison 2019, "End-to-End Multi-Task Learning with
    Attention").

    Cost: cross-entropy; focal and Dice each add some passes over the logits.

    >>> import torch
    >>> task = Segmentation("parts", ("sky", "earth"))
    >>> task.loss(torch.zeros(1, 2, 1, 3), torch.tensor([[[0, 1, -100]]]))  # log 2, over two pixels
    tensor(0.6931)
    """

    classes: tuple[str, ...] | int = 2
    weights: tuple[float, ...] = field(default=(), kw_only=True)
    balanced: bool = field(default=False, kw_only=True)
    smoothing: float = field(default=0.0, kw_only=True)
    focal: float = field(default=0.0, kw_only=True)
    dice: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outputs < 2:
            raise PolytaskError(f"task '{self.name}' needs at least 2 classes, got {self.classes!r}")
        if len(self.weights) not in (0, self.outputs) or any(each < 0 for each in self.weights):
            raise PolytaskError(
                f"task '{self.name}' needs a weight of at least 0 for each of its {self.outputs} classes, "
                f"got {self.weights}"
            )
        if not (0 <= self.smoothing < 1) or self.focal < 0 or self.dice < 0 or (self.focal and self.smoothing):
            raise PolytaskError(
                f"task '{self.name}' takes smoothing from 0 to below 1, focal and dice of at least 0, and one of focal "
                f"and smoothing, got smoothing {self.smoothing}, focal {self.focal}, dice {self.dice}"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes; their numbers when they have no names."""
        return self.classes if isinstance(self.classes, tuple) else tuple(map(str, range(self.classes)))

    @property
    def outputs(self) -> int:
        return len(self.classes) if isinstance(self.classes, tuple) else self.classes

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        logits, known = self.fitting(prediction, target), target.long()
        weights = logits.new_tensor(self.weights) if self.weights else None
        if self.focal:
            total = self._focal_sum(logits, known, weights)
        else:
            total = F.cross_entropy(
                logits, known, weights, ignore_index=MISSING_CLASS, reduction="sum", label_smoothing=self.smoothing
            )
        return total + self.dice * self._dice_sum(logits, known) if self.dice else total

    def _focal_sum(self, logits: Tensor, known: Tensor, weights: Tensor | None) -> Tensor:
        each = F.cross_entropy(logits, known, ignore_index=MISSING_CLASS, reduction="none")
        hard = (-torch.expm1(-each)).clamp_min(1e-12)  # 1 - p; the slope of its power stays finite at 0
        weighed = each if weights is None else each * weights[known.clamp_min(0)]
        return (weighed * hard**self.focal).sum()

    def _dice_sum(self, logits: Tensor, known: Tensor) -> Tensor:
        there = known != MISSING_CLASS
        chance = torch.where(there[:, None], logits.softmax(1), 0)
        index = known.clamp_min(0)
        right = chance.gather(1, index[:, None])[:, 0].flatten(1)
        none = chance.new_zeros(len(chance), self.outputs)
        both = none.scatter_add(1, index.flatten(1), right)
        labelled = none.scatter_add(1, index.flatten(1), there.flatten(1).to(chance.dtype))
        return (dice_loss(both, chance.square().sum((2, 3)), labelled) * there.sum((1, 2))).sum()

    def credit_sum(self, prediction: Tensor, target: Tensor) -> Tensor:
        """How many pixels are predicted right."""
        return (self.fitting(prediction, target).argmax(1) == target).sum()

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.labels

    def by_class(self) -> tuple[str, Metric]:
        """Intersection over union of every class."""
        return "iou", ClassIoU(self.outputs)

    def label_counts(self, target: Tensor) -> Tensor:
        """How many pixels each class has, [classes]."""
        counts = torch.zeros(self.outputs, dtype=torch.long)
        for image in target:  # one at a time: bincount wants 8 bytes a pixel
            counts += torch.bincount(image[present(image)].long(), minlength=self.outputs).cpu()
        return counts

    def measures(self) -> dict[str, Metric]:
        return {"miou": MeanIoU(self.outputs), "pixel accuracy": PixelAccuracy(self.outputs)}

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        counts = confusion(self.fitting(prediction, target).argmax(1), target, self.outputs)
        for metric in metrics.values():
            metric.update(counts)

    def check_form(self, target: Tensor) -> None:
        super().check_form(target)
        if target.is_floating_point():
            raise PolytaskError(
                f"task '{self.name}' expects whole class numbers (an integer tensor, missing: -100), "
                f"got {target.dtype}; convert with .nan_to_num(-100).to(torch.int16)"
            )

    def check(self, target: Tensor) -> None:
        self.check_form(target)
        wrong = present(target) & (target < 0)
        if target.dtype is not torch.bool and self.outputs <= torch.iinfo(target.dtype).max:
            wrong |= target >= self.outputs
        mark = "target.to(torch.int16).masked_fill(target == that_number, -100)"
        check_pixels(
            self,
            wrong,
            target,
            f"classes 0 to {self.outputs - 1} ({self.outputs} classes)",
            f"if that number means no label, mark it with -100: {mark}; else give the task more classes",
        )

    def fitted(self, target: Tensor) -> Self:
        self.check(target)
        check_labelled(self, target)
        return replace(self, weights=self._median_frequency(target)) if self.balanced else self

    def _median_frequency(self, target: Tensor) -> tuple[float, ...]:
        counts = torch.stack([torch.bincount(each[present(each)].long(), minlength=self.outputs) for each in target])
        frequency = counts.sum(0) / ((counts > 0) * counts.sum(1, keepdim=True)).sum(0)
        weights = frequency.nanquantile(0.5) / frequency
        return tuple(weights.nan_to_num(1.0).tolist())  # a class without a pixel: it will not matter

    def decode(self, prediction: Tensor) -> Tensor:
        """The probability of each class, [n, classes, h, w]."""
        return prediction.float().softmax(1)

    def constant(self, target: Tensor) -> Tensor:
        counts = torch.bincount(self._labels(target).long(), minlength=self.outputs).double()
        weights = counts.new_tensor(self.weights) if self.weights else torch.ones_like(counts)
        smooth = (1 - self.smoothing) * counts + self.smoothing * counts.mean()
        return (weights * smooth).add(1e-6).log().float()

    def raster(self, prediction: Tensor) -> Tensor:
        return prediction.argmax(1).to(torch.uint8 if self.outputs <= 256 else torch.uint16)

    def legend(self) -> dict[str, tuple[int, int, int]]:
        """The colour of every class, by its name."""
        colours = class_colours(self.outputs).tolist()
        return {label: (r, g, b) for label, (r, g, b) in zip(self.labels, colours, strict=True)}

    def as_target(self, prediction: Tensor) -> Tensor:
        return prediction.argmax(1)

    def painted(self, values: Tensor) -> Tensor:
        return class_colours(self.outputs).to(values.device)[values.long()]

    def how_wrong(self, prediction: Tensor, target: Tensor) -> Tensor:
        return prediction.argmax(1) != target
