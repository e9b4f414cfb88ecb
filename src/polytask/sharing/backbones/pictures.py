"""Pictures as vectors, and vectors as they are."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing.backbone import Backbone, build
from polytask.sharing.backbones.inputs import PartInput
from polytask.sharing.backbones.small_cnn import SmallCNN
from polytask.sharing.heads.pooling import pool


@dataclass(frozen=True)
class Pictures:
    """A picture as the last feature of a backbone, the mean over all places.

        x -> pool(backbone((x - mean) / deviation))

    Args:
        backbone: the recipe of any backbone for images [b, 3, h, w], as in `Timm("resnet18", pretrained=True)`.
        mean, deviation: of red, green and blue, where the pictures are 0..1; those that a trained backbone was trained
            with. By default nothing is changed.

    Called, it makes a fresh module: images [b, 3, h, w] in, [b, backbone.widths[-1]] out.

    >>> part = Pictures(SmallCNN(3, widths=(4, 8)))()
    >>> part(torch.zeros(2, 3, 16, 16)).shape, part.width
    (torch.Size([2, 8]), 8)
    """

    backbone: Callable[[], Backbone] = field(default_factory=lambda: SmallCNN(3))
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "deviation", tuple(self.deviation))
        if len(self.mean) != len(self.deviation) or not all(each > 0 for each in self.deviation):
            raise PolytaskError(
                "Pictures needs as many means as deviations, one for each channel, and deviations above 0, got "
                f"{self.mean} and {self.deviation}"
            )

    def __call__(self) -> "PictureFeature":
        return PictureFeature(build(self.backbone), self.mean, self.deviation)


class PictureFeature(nn.Module):
    """The module that `Pictures` makes."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: Backbone, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        super().__init__()
        self.backbone = backbone
        self.width = backbone.widths[-1]
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return pool(self.backbone((images - self.mean) / self.deviation)[-1])


@dataclass(frozen=True)
class Vector:
    """A vector as it is, or through one linear layer and ReLU.

    Args:
        inputs: how many numbers a vector has; 0: as many as the data have.
        width: of the layer; 0 for none.

    Called, it makes a fresh module: [b, inputs] in, [b, width] out.

    >>> [Vector(7)().width, Vector(7, width=3)()(torch.zeros(2, 7)).shape]
    [7, torch.Size([2, 3])]
    """

    inputs: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        if min(self.inputs, self.width) < 0:
            raise PolytaskError(f"inputs and width of Vector must be at least 0, got {self}")

    def suited(self, to: PartInput) -> "Vector":
        """The same, for vectors as long as the input's."""
        return replace(self, inputs=self.inputs or to.shape[0])

    def __call__(self) -> "VectorFeature":
        if not self.inputs:
            raise PolytaskError("Vector needs to know how long the vectors are: Vector(inputs=...)")
        return VectorFeature(self.inputs, self.width)


class VectorFeature(nn.Module):
    """The module that `Vector` makes."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.inputs, self.width = inputs, width or inputs
        self.layer = nn.Sequential(nn.Linear(inputs, width), nn.ReLU()) if width else nn.Identity()

    def forward(self, vectors: Tensor) -> Tensor:
        if vectors.ndim != 2 or vectors.shape[1] != self.inputs:
            raise PolytaskError(f"expected vectors of shape [b, {self.inputs}], got {list(vectors.shape)}")
        return self.layer(vectors)
