"""The image itself, or another one, at every pixel."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor
from torchmetrics import Metric

from polytask.errors import PolytaskError
from polytask.tasks.colours import colour_images
from polytask.tasks.dense import Dense, check_floating, check_labelled, check_pixels, chosen
from polytask.tasks.map_metrics import MeanError, PeakSignalToNoise
from polytask.tasks.task import present


@dataclass(frozen=True)
class Criterion:
    """A loss of numbers.

    Args:
        of: errors -> losses, of any shape.
        likelihood_scale: see `Task.likelihood_scale`.
        best: the constant that minimises it, of all labels of a channel.
    """

    of: Callable[[Tensor], Tensor]
    likelihood_scale: float
    best: Callable[[Tensor], Tensor]


CRITERIA = {
    "l1": Criterion(torch.abs, 1.0, torch.median),
    "l2": Criterion(torch.square, 0.5, lambda labels: labels.mean(dtype=torch.float64)),
}
"""The losses that `Reconstruction` may have, by the name that its setting `criterion` takes."""


@dataclass(frozen=True)
class Reconstruction(Dense):
    """An image: loss (prediction - target)², the mean over the numbers that are there.

    Targets are [b, channels, h, w] floating point, 0 to 1 (missing: NaN, in any channel); network outputs
    [b, channels, h, w], not squeezed into that range. Metrics: mean absolute error; PSNR in decibels, from the
    squared error pooled over the split (see `PeakSignalToNoise`), of outputs clamped to 0 to 1. Error map: the mean
    absolute error over the channels, 1 from one half on. Raster: 255 times the output rounded, uint8, [b, h, w, 3] or
    [b, h, w].

    Args:
        channels: 3 for colours, 1 for grey; others can be learned, but not shown.
        criterion: "l2" (the default) or "l1".
        scored: as in `Dense`.

    `constant` is the mean colour, for "l1" the median of each channel. `likelihood_scale` is 1/2 for squared errors (a
    Gaussian), 1 for absolute ones (Laplace).

    Cost: one pass over the image.

    >>> import torch
    >>> task = Reconstruction("grey", channels=1)
    >>> task.loss(torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.5, float("nan")]]]]))
    tensor(0.2500)
    """

    channels: int = 3
    criterion: str = field(default="l2", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen(CRITERIA, self, "criterion")
        if self.channels < 1:
            raise PolytaskError(f"task '{self.name}' needs at least one channel, got {self.channels}")

    @property
    def outputs(self) -> int:
        return self.channels

    @property
    def shown(self) -> bool:
        return self.channels in (1, 3)

    @property
    def likelihood_scale(self) -> float:
        return CRITERIA[self.criterion].likelihood_scale

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        error = self.fitting(prediction, target) - target
        return CRITERIA[self.criterion].of(error if complete else torch.where(present(target), error, 0)).sum()

    def credit_sum(self, prediction: Tensor, target: Tensor) -> Tensor:
        """1 - absolute error, summed over the numbers that are there; outputs clamped to 0 to 1."""
        error = self.decode(self.fitting(prediction, target)) - target.float()
        return torch.where(present(target), 1 - error.abs(), 0).sum()

    def measures(self) -> dict[str, Metric]:
        return {"mae": MeanError(self.unit), "psnr": PeakSignalToNoise("dB")}

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        there = present(target)
        error = self.decode(self.fitting(prediction, target))[there] - target[there].float()
        values = {"mae": error.abs(), "psnr": error.square()}
        for name, metric in metrics.items():
            metric.update(values[name])

    @property
    def target_channels(self) -> int:
        return self.channels

    def check(self, target: Tensor) -> None:
        self.check_form(target)
        check_floating(self, target, "give images of 0 to 1, say target.float() / 255")
        check_pixels(
            self,
            ((target < 0) | (target > 1)).any(1),
            target,
            "images of numbers 0 to 1",
            "scale them, say target / 255, and mark missing numbers with NaN",
        )

    def fitted(self, target: Tensor) -> Self:
        self.check(target)
        check_labelled(self, target)
        return self

    def decode(self, prediction: Tensor) -> Tensor:
        """The image, clamped to 0 to 1, [n, channels, h, w]."""
        return prediction.float().clamp(0, 1)

    def constant(self, target: Tensor) -> Tensor:
        best = CRITERIA[self.criterion].best
        return torch.stack([best(self._labels(channel).float()).float() for channel in target.unbind(1)])

    def raster(self, prediction: Tensor) -> Tensor:
        found = self._as_picture(self.decode(prediction))
        return found[..., 0] if self.channels == 1 else found

    def _as_picture(self, images: Tensor) -> Tensor:
        if not self.shown:
            raise PolytaskError(
                f"task '{self.name}' makes images of {self.channels} channels, which can't be shown: 1 or 3 can; "
                "read them with decode"
            )
        return colour_images(images)

    def as_target(self, prediction: Tensor) -> Tensor:
        return self.decode(prediction)

    def painted(self, values: Tensor) -> Tensor:
        return self._as_picture(values)

    def how_wrong(self, prediction: Tensor, target: Tensor) -> Tensor:
        return 2 * (self.decode(prediction) - target.float()).abs().mean(1)
