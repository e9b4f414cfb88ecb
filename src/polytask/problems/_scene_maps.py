"""Pictures of scenes and what belongs to their pixels."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from polytask.data.images import Size, resized, resized_labels, resized_values

SHORTEST = 0.5


@dataclass(frozen=True)
class Maps:
    """Pictures and what belongs to their pixels; missing numbers are NaN, missing classes -100.

    Args:
        images: uint8 [n, 3, h, w].
        classes: int8 [n, h, w].
        depth: metres, [n, h, w].
        normals: unit vectors [n, 3, h, w].
    """

    images: Tensor
    classes: Tensor
    depth: Tensor
    normals: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.images, self.classes, self.depth, self.normals))

    def resized(self, size: Size) -> "Maps":
        """In another size: means of pictures, depths and normals, the nearest class."""
        if self.images.shape[-2:] == size:
            return self
        return Maps(
            resized(self.images, size),
            resized_labels(self.classes, size),
            resized_values(self.depth[:, None], size)[:, 0],
            unit(resized_values(self.normals, size)),
        )

    def packed(self) -> "Maps":
        """Depth and normals in 16 bits, which round them by 0.05 % at most."""
        return Maps(self.images, self.classes, self.depth.half(), self.normals.half())


def unit(normals: Tensor) -> Tensor:
    """Normals [n, 3, h, w] of unit length; NaN where they are shorter than one half, or missing."""
    length = normals.norm(dim=1, keepdim=True)
    return torch.where(length >= SHORTEST, F.normalize(normals, dim=1), torch.nan)


def positive(depth: Tensor) -> Tensor:
    """Depths; NaN where there is none: 0, negative or not finite."""
    return torch.where((depth > 0) & torch.isfinite(depth), depth, torch.nan)
