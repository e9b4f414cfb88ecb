"""Which way the surface at every pixel faces."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from polytask.tasks.colours import bytes_of
from polytask.tasks.dense import Dense, check_floating, check_labelled, check_pixels, chosen, pixels
from polytask.tasks.map_metrics import MeanError, MedianError, Share
from polytask.tasks.task import present

WITHIN = {"within 11.25": 11.25, "within 22.5": 22.5, "within 30": 30.0}
TOLERANCE = 0.1
"""How far from 1 the length of a target may be."""

SHORTEST = 1e-3
"""The length below which predictions are not fully normalised in the loss."""


def unit(vectors: Tensor, shortest: float = 1e-12) -> Tensor:
    """Vectors [b, 3, h, w] divided by their length, by `shortest` where they are shorter.

    The same as torch's `normalize`, which is many times slower on channels.
    """
    return vectors * vectors.square().sum(1, keepdim=True).clamp_min(shortest**2).rsqrt()


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """The cosine of the angle between vectors, [b, 3, h, w] twice -> [b, h, w]; 0 for a zero vector.

    The product of their lengths is taken for at least `SHORTEST`, so that the gradient at a zero vector is bounded.
    """
    lengths = first.square().sum(1) * second.square().sum(1)
    return (first * second).sum(1) * lengths.clamp_min(SHORTEST**2).rsqrt()


def angles(first: Tensor, second: Tensor) -> Tensor:
    """The angle between vectors of any length in degrees, [b, 3, h, w] twice -> [b, h, w]; 90 for a zero vector.

    2 atan2(|a - b|, |a + b|) of the unit vectors: exact near 0 and 180 degrees too, where the arc cosine is not.

    >>> import torch
    >>> angles(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1), torch.tensor([0.0, 5.0, 0.0]).view(1, 3, 1, 1))
    tensor([[[90.]]])
    """
    a, b = unit(first), unit(second)
    apart, together = (a - b).square().sum(1).sqrt(), (a + b).square().sum(1).sqrt()
    return torch.rad2deg(2 * torch.atan2(apart, together))


def _cosine_sum(prediction: Tensor, target: Tensor, there: Tensor | None) -> Tensor:
    lost = 1 - cosines(prediction, target)
    return 3 * (lost if there is None else torch.where(there, lost, 0)).sum()


def _l1_sum(prediction: Tensor, target: Tensor, there: Tensor | None) -> Tensor:
    lost = (unit(prediction, SHORTEST) - unit(target)).abs()
    return (lost if there is None else torch.where(there[:, None], lost, 0)).sum()


@dataclass(frozen=True)
class Criterion:
    """A loss of directions.

    Args:
        total: predictions [b, 3, h, w], targets, where there is a label [b, h, w] (None: everywhere) -> the sum over
            all entries with a label, each of which carries the mean loss of its pixel, or its own.
        middle: labels of one component [n] -> its value in the best constant direction, before that is normalised.
    """

    total: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    middle: Callable[[Tensor], Tensor]


CRITERIA = {
    "cosine": Criterion(_cosine_sum, lambda labels: labels.mean(dtype=torch.float64)),
    "l1": Criterion(_l1_sum, torch.median),
}
"""The losses that `Normals` may have, by the name that its setting `criterion` takes."""


@dataclass(frozen=True)
class Normals(Dense):
    r"""Unit vectors at every pixel: loss 1 - n . m, the mean over the labelled pixels, n = prediction / |prediction|.

    m is the target. With `criterion` "l1" the loss of a pixel is the mean over its three components of |n_i - m_i|.

    Targets are [b, 3, h, w] floating point (float16 will do), NaN in all three components where there is no normal;
    network outputs [b, 3, h, w] of any length. Which axis points where is the data's business: the task only compares.
    Targets whose length is within 10 % of 1 (rounded or compressed ones) are normalised in loss and metrics; others are
    an error in `fitted`. Metrics, in degrees: mean and median angle, the median from a histogram (at most 0.005
    degrees off); and the share of pixels less than 11.25, 22.5 and 30 degrees off. Error map: the angle, 1 from 90
    degrees on. Raster: 127.5 (n + 1) rounded, uint8 [b, h, w, 3].

    Args:
        criterion: "cosine" (the default, as in the MTAN protocol) or "l1".
        unit: of the angles, "°".
        scored: as in `Dense`.

    Source: the MTAN protocol (Liu, Johns, Davison 2019): their network ends in the division by the length, their code's
    loss is 1 minus the mean over valid pixels of the dot product, the paper leaves out the 1. It takes a pixel for
    invalid when the three components of its target add up to 0, which also drops normals such as
    (0.7, -0.7, 0); here NaN alone is missing. Its medians are averaged over batches; here they are pooled.

    `data.counts()` counts three entries per pixel, so `loss_sum` carries the loss of a pixel three times.

    `constant` is the mean direction, which minimises the cosine loss; for "l1" the normalised median of each
    component, which is near the best. A zero vector has an angle of 90 degrees to everything; in the loss, vectors
    shorter than 0.001 are divided by that, so that their gradient stays bounded.

    Cost: a few passes over three maps.

    >>> import torch
    >>> target = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    >>> Normals("normals").loss(torch.tensor([0.0, 3.0, 4.0]).view(1, 3, 1, 1), target)  # 1 - 4/5
    tensor(0.2000)
    """

    criterion: str = field(default="cosine", kw_only=True)
    unit: str = field(default="°", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen(CRITERIA, self, "criterion")

    @property
    def outputs(self) -> int:
        return 3

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        shown = self.fitting(prediction, target)
        if complete:
            return CRITERIA[self.criterion].total(shown, target.to(shown.dtype), None)
        return CRITERIA[self.criterion].total(shown, target.to(shown.dtype).nan_to_num(0.0), present(target[:, 0]))

    def credit_sum(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The cosine of the angle, for each of the three entries of a pixel."""
        return 3 * cosines(self.fitting(prediction, target), target.float()).nan_to_num(0.0).sum()

    def measures(self) -> dict[str, Metric]:
        return {
            "mean angle": MeanError(self.unit),
            "median angle": MedianError(unit=self.unit),
            **{name: Share() for name in WITHIN},
        }

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        angle = angles(self.fitting(prediction, target), target.float())[pixels(target)]
        values = {"mean angle": angle, "median angle": angle}
        values |= {name: angle < largest for name, largest in WITHIN.items()}
        for name, metric in metrics.items():
            metric.update(values[name])

    @property
    def label_unit(self) -> str:
        """Components of a unit vector have none; `unit` is that of the angles."""
        return ""

    @property
    def target_channels(self) -> int:
        return 3

    def check(self, target: Tensor) -> None:
        self.check_form(target)
        check_floating(self, target, "give unit vectors, say target.float() / 127.5 - 1 for bytes")
        lengths, there = target.square().sum(1, dtype=torch.float32).sqrt(), present(target)
        check_pixels(
            self,
            there.any(1) & ~there.all(1),
            target,
            "three numbers or three NaN at every pixel",
            "mark all components missing: target = target.where(~target.isnan().any(1, keepdim=True), torch.nan)",
        )
        check_pixels(
            self,
            there.all(1) & ~((lengths - 1).abs() <= TOLERANCE),
            target,
            f"normals of length 1 (within {TOLERANCE:g})",
            "mark pixels without a normal missing: target = target.where(target.norm(dim=1, keepdim=True) > 0.5, "
            "torch.nan); others can be normalised: torch.nn.functional.normalize(target, dim=1)",
        )

    def fitted(self, target: Tensor) -> Self:
        self.check(target)
        check_labelled(self, target)
        return self

    def decode(self, prediction: Tensor) -> Tensor:
        """Unit vectors, [n, 3, h, w]."""
        return unit(prediction.float())

    def constant(self, target: Tensor) -> Tensor:
        there = pixels(target)
        middle = [CRITERIA[self.criterion].middle(each[there].float()) for each in target.unbind(1)]
        return F.normalize(torch.stack(middle).float(), dim=0)

    def raster(self, prediction: Tensor) -> Tensor:
        return bytes_of((self.decode(prediction) + 1) / 2).permute(0, 2, 3, 1)

    def as_target(self, prediction: Tensor) -> Tensor:
        return self.decode(prediction)

    def painted(self, values: Tensor) -> Tensor:
        return bytes_of((values + 1) / 2).permute(0, 2, 3, 1)

    def how_wrong(self, prediction: Tensor, target: Tensor) -> Tensor:
        return angles(prediction, target.float()) / 90
