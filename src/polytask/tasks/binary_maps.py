"""Yes or no at every pixel: saliency, masks, and what edges have in common with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from polytask.errors import PolytaskError
from polytask.tasks.colours import bytes_of
from polytask.tasks.dense import Dense, check_labelled, check_pixels
from polytask.tasks.dice import dice_loss
from polytask.tasks.map_metrics import ForegroundIoU, MaxF, confusion
from polytask.tasks.task import present


@dataclass(frozen=True)
class YesNoMap(Dense):
    """What `BinaryMap` and `Edges` share: their targets, the class-balanced loss, their pictures."""

    positive_weight: float | None = field(default=None, kw_only=True)
    dice: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dice < 0 or not (self.positive_weight is None or 0 < self.positive_weight < 1):
            raise PolytaskError(
                f"task '{self.name}' takes a positive_weight between 0 and 1 (or None: balanced by the image) and dice "
                f"of at least 0, got {self.positive_weight!r} and {self.dice!r}"
            )

    @property
    def outputs(self) -> int:
        return 1

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        logits = self.fitting(prediction, target)[:, 0]
        known = target.to(logits.dtype)
        if not complete:
            there = present(target)
            logits, known = torch.where(there, logits, 0), torch.where(there, known, 0)
        count = known.new_tensor(known[0].numel()) if complete else there.sum((1, 2), keepdim=True)
        positive = known.sum((1, 2), keepdim=True)
        weight = 1 - positive / count.clamp_min(1) if self.positive_weight is None else self.positive_weight
        weights = known * (2 * weight - 1) + (1 - weight)
        if not complete:
            weights = weights * there
        total = F.binary_cross_entropy_with_logits(logits, known, weights, reduction="sum")
        if not self.dice:
            return total
        chance = logits.sigmoid() if complete else logits.sigmoid() * there
        sums = ((chance * known).sum((1, 2)), chance.square().sum((1, 2)), positive[:, 0, 0])
        lost = dice_loss(*(each[:, None] for each in sums))
        return total + self.dice * (lost * count.reshape(-1)).sum()

    def credit_sum(self, prediction: Tensor, target: Tensor) -> Tensor:
        """For every image its labelled pixels times the mean of the two shares of pixels that are right at probability
        1/2: of those with a 1, and of those with a 0 (of one alone, where there is no other)."""
        there, yes = present(target), target == 1
        right = there & ((self.fitting(prediction, target)[:, 0] > 0) == yes)
        sizes = torch.stack([(there & yes).sum((1, 2)), (there & ~yes).sum((1, 2))]).float()
        found = torch.stack([(right & yes).sum((1, 2)), (right & ~yes).sum((1, 2))]) / sizes.clamp_min(1)
        return (found.sum(0) / (sizes > 0).sum(0).clamp_min(1) * sizes.sum(0)).sum()

    def check(self, target: Tensor) -> None:
        self.check_form(target)
        check_pixels(
            self,
            present(target) & (target != 0) & (target != 1),
            target,
            "0 and 1",
            "make it so, say target = (target > 0).to(torch.int8), and mark missing pixels with -100 (NaN when "
            "floating point)",
        )

    def fitted(self, target: Tensor) -> Self:
        self.check(target)
        check_labelled(self, target)
        if not bool((present(target) & (target == 1)).any()):
            raise PolytaskError(
                f"task '{self.name}' has no 1 in all {len(target)} training targets: there is nothing to learn; "
                "drop the task or look at how its targets are made"
            )
        return self

    def decode(self, prediction: Tensor) -> Tensor:
        """The probability of a 1, [n, h, w]; too large where the loss is balanced in favour of ones."""
        return prediction[:, 0].float().sigmoid()

    def constant(self, target: Tensor) -> Tensor:
        if self.positive_weight is None:  # the balanced ones and zeros of an image weigh the same
            return torch.zeros(1)
        share = self._labels(target).double().mean().clamp(1e-6, 1 - 1e-6)
        weight = torch.tensor(self.positive_weight, dtype=torch.float64)
        return (torch.logit(share) + torch.logit(weight)).float()[None]

    def raster(self, prediction: Tensor) -> Tensor:
        return bytes_of(self.decode(prediction))

    def as_target(self, prediction: Tensor) -> Tensor:
        return self.decode(prediction)

    def painted(self, values: Tensor) -> Tensor:
        return bytes_of(values)[..., None].expand(-1, -1, -1, 3)

    def how_wrong(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (self.decode(prediction) - target.float()).abs()


@dataclass(frozen=True)
class BinaryMap(YesNoMap):
    r"""Yes or no at every pixel, such as what is salient: balanced binary cross-entropy, IoU and the largest F.

    One logit z per pixel, q = σ(z); the mean over the labelled pixels of

        -[β y log q + (1 - β)(1 - y) log(1 - q)],

    plus `dice` times the Dice loss of its image, 1 - 2 sum y q / (sum q² + sum y), which images without a 1 do not
    have. Targets are [b, h, w] of 0 and 1, any type (missing: -100, or NaN when floating point; bool and uint8 have no
    missing ones); network outputs [b, 1, h, w].

    Metrics, pooled over the split: intersection over union of the ones, at probability 1/2; the largest F-measure over
    256 thresholds with β² = 0.3 (see `MaxF`). Error map: |q - y|. Raster: 255 q rounded, uint8.

    Args:
        positive_weight: β between 0 and 1; by default (None) the share of zeros among the labelled pixels of the image
            itself, so that its ones weigh as much as its zeros. 1/2 is the plain cross-entropy, halved.
        dice: how much the Dice loss counts (Milletari et al. 2016), 0 for none.
        scored: as in `Dense`.

    `constant`: with β by the image, probability 1/2 is the best whatever the labels are; with a fixed β it is
    β n1 / (β n1 + (1 - β) n0). Dice does not enter it.

    Source: the balance of Xie and Tu 2015 ("Holistically-Nested Edge Detection", class-balanced cross-entropy).

    Cost: binary cross-entropy, and a sum of the target for the balance.

    >>> import torch
    >>> task = BinaryMap("salient")
    >>> task.loss(torch.zeros(1, 1, 1, 4), torch.tensor([[[1, 0, 0, 0]]]))  # (3/4 + 3 * 1/4) / 4 * log 2
    tensor(0.2599)
    """

    def measures(self) -> dict[str, Metric]:
        return {"iou": ForegroundIoU(), "max f": MaxF()}

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        there = present(target)
        chance, known = self.decode(self.fitting(prediction, target))[there], target[there].long()
        values = {"iou": (confusion((chance > 0.5).long(), known, 2),), "max f": (chance, known)}
        for name, metric in metrics.items():
            metric.update(*values[name])
