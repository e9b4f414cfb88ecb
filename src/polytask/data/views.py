"""Which part of its picture each sample shows, and maps sampled there: for all samples of a batch at once."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from polytask.errors import PolytaskError


@dataclass(frozen=True)
class View:
    r"""Windows of pictures, perhaps mirrored: the place p of a view is the place `origin + extent p` of its picture.

    Places are fractions: (0, 0) is the upper left corner of the picture (not the middle of its first pixel), (1, 1) the
    lower right one. So one view is right for an input and for targets of other sizes. What a view shows of a sample
    does not depend on the other samples, to the last bit.

    Args:
        origin, extent: [b, 2], down and right, float64 on the CPU; a negative extent mirrors.

    >>> import torch
    >>> mirrored = View(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, -1.0]]))
    >>> mirrored.nearest(torch.tensor([[[1, 2, 3]]])).tolist()
    [[[3, 2, 1]]]
    """

    origin: Tensor
    extent: Tensor

    @classmethod
    def whole(cls, samples: int) -> "View":
        """The whole pictures of some samples."""
        return cls(torch.zeros(samples, 2, dtype=torch.float64), torch.ones(samples, 2, dtype=torch.float64))

    def within(self, window: "View") -> "View":
        """What is seen when this view is looked at through another one."""
        return View(self.origin + self.extent * window.origin, self.extent * window.extent)

    @property
    def zoom(self) -> Tensor:
        """[b] how many times larger things look: the geometric mean of both directions."""
        return self.extent.prod(1).abs().rsqrt()

    @property
    def mirrored(self) -> Tensor:
        """[b] whether left and right are swapped."""
        return self.extent[:, 1] < 0

    def nearest(self, maps: Tensor) -> Tensor:
        """Maps [b, h, w] or [b, c, h, w] of any type as the view shows them, in their own size: the nearest pixels."""
        channels = _channels(maps)
        b, c, h, w = channels.shape
        rows, columns = ((self._pixels(axis, size) + 0.5).floor().long() for axis, size in enumerate((h, w)))
        rows = rows.clamp(0, h - 1)[:, None] + torch.arange(b * c).reshape(b, c, 1) * h
        taken = channels.reshape(-1, w).index_select(0, rows.reshape(-1).to(maps.device)).reshape(channels.shape)
        columns = columns.clamp(0, w - 1).to(maps.device)
        return taken.gather(3, columns[:, None, None].expand(channels.shape)).reshape(maps.shape)

    def bilinear(self, maps: Tensor) -> Tensor:
        """Floating-point maps [b, h, w] or [b, c, h, w] as the view shows them, in their own size, as float32.

        NaN does not spread: a pixel is NaN where the nearest one is, and else the mean of those of the four around it
        that are not, weighed as they lie. Samples that are not zoomed keep their values exactly.
        """
        channels = _channels(maps)
        zoomed = (self.extent.abs() != 1).any(1)
        shown = torch.empty_like(channels, dtype=torch.float32)
        for these, sampled in ((~zoomed, View.nearest), (zoomed, View._between)):
            if bool(these.any()):
                rows = these.nonzero()[:, 0].to(maps.device)
                part = View(self.origin[these], self.extent[these])
                shown.index_copy_(0, rows, sampled(part, channels.index_select(0, rows).float()))
        return shown.reshape(maps.shape)

    def _between(self, channels: Tensor) -> Tensor:
        """As `bilinear`."""
        there = ~torch.isnan(channels)
        if bool(there.all()):
            return self._sampled(channels)
        weight = self._sampled(there.float())
        weight = torch.where(weight > 1 - 1e-5, 1, weight)  # so that rounding changes nothing where nothing is missing
        value = self._sampled(torch.where(there, channels, 0)) / weight
        return torch.where(self.nearest(there), value, torch.nan)

    def _sampled(self, channels: Tensor) -> Tensor:
        h, w = channels.shape[-2:]
        y, x = ((2 * self._pixels(axis, size) + 1) / size - 1 for axis, size in enumerate((h, w)))
        y, x = y.to(channels), x.to(channels)
        grid = torch.stack([x[:, None, :].expand(-1, h, -1), y[:, :, None].expand(-1, -1, w)], 3)
        return F.grid_sample(channels, grid, "bilinear", "border", align_corners=False)

    def _pixels(self, axis: int, size: int) -> Tensor:
        """[b, size] where each row (or column) of the view lies among the picture's; 0 is the middle of the first."""
        steps = torch.arange(size) + 0.5
        return size * self.origin[:, axis, None] + self.extent[:, axis, None] * steps - 0.5


def _channels(maps: Tensor) -> Tensor:
    if maps.ndim not in (3, 4):
        raise PolytaskError(f"expected maps of shape [b, h, w] or [b, c, h, w], got {list(maps.shape)}")
    return maps.reshape(len(maps), -1, *maps.shape[-2:])
