"""Residual networks that keep their resolution, for predictions of every pixel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from polytask.errors import PolytaskError
from polytask.sharing._convolutions import convolution
from polytask.sharing.backbone import SequentialBackbone
from polytask.sharing.backbones.small_cnn import Images

STRIDES = (8, 16, 32)


class Blocks(NamedTuple):
    """The number of blocks of each stage, and whether they are bottlenecks."""

    counts: tuple[int, ...]
    bottleneck: bool


PUBLISHED = {
    18: Blocks((2, 2, 2, 2), False),
    34: Blocks((3, 4, 6, 3), False),
    50: Blocks((3, 4, 6, 3), True),
    101: Blocks((3, 4, 23, 3), True),
    152: Blocks((3, 8, 36, 3), True),
}
"""The networks of He et al. 2016, table 1, by their number of layers."""


@dataclass(frozen=True)
class DilatedResNet:
    r"""A residual network whose last stages do not shrink the map: dilated convolutions see as far without.

    A convolution of 7 x 7 with stride 2 and a maximum over 3 x 3 with stride 2, then one stage of residual blocks per
    number in `layers`: f(x) = relu(x + g(x)), with g two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1 of a quarter of the
    channels (a bottleneck), each with batch normalisation; where a stage changes the map, its x goes through a 1 x 1
    convolution. Every stage but the first has a stride of 2 in the 3 x 3
    convolution of its first block, as long as the map is larger than 1 / `stride` of the image; from there on the
    stride is left out, and every 3 x 3 convolution above has double the dilation. What the network computes where an
    ordinary one has a value is what the ordinary one computes; between these places there are new values.

    Args:
        channels: of the images [b, channels, h, w].
        layers: 18, 34, 50, 101 or 152, or the number of blocks of every stage.
        widths: the channels of each stage's output; by default 64, 128, ... (256, 512, ... with bottlenecks).
        stride: the last map has 1 / 8, 1 / 16 or 1 / 32 of the image's height and width; 32 is the ordinary network.
        bottleneck: which kind of block; by default that of the published network, for own numbers of blocks the first.

    Called, it makes a fresh backbone with weights from torch's global generator, normal as in He et al. 2015.

    Source: He, Zhang, Ren, Sun 2016, Deep Residual Learning for Image Recognition, table 1 (the stride of a bottleneck
    sits in its 3 x 3 convolution, as is usual since); Yu, Koltun, Funkhouser 2017, Dilated Residual Networks, section 2
    (without the degridding layers of their section 4); Chen et al. 2017, Rethinking Atrous Convolution (no multi-grid).

    Cost: stride 8 takes 4 times the multiply-adds of the ordinary network in its last stage but one, 16 in the last.

    >>> import torch
    >>> backbone = DilatedResNet(1, layers=(1, 1, 1, 1), widths=(4, 4, 8, 8))()
    >>> [tuple(each.shape[1:]) for each in backbone(torch.zeros(2, 1, 64, 64))]
    [(4, 16, 16), (4, 8, 8), (8, 8, 8), (8, 8, 8)]
    """

    channels: int = 3
    layers: int | tuple[int, ...] = 18
    widths: tuple[int, ...] | None = None
    stride: int = 8
    bottleneck: bool | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "widths"):
            if isinstance(getattr(self, name), list):  # as read from JSON
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.channels < 1:
            raise PolytaskError(f"images need at least one channel, got {self.channels}")
        if self.stride not in STRIDES:
            raise PolytaskError(f"stride must be one of {', '.join(map(str, STRIDES))}, got {self.stride!r}")
        if isinstance(self.layers, int) and self.layers not in PUBLISHED:
            raise PolytaskError(
                f"expected layers of {', '.join(map(str, PUBLISHED))} or the number of blocks of every stage, as in "
                f"(1, 1, 1, 1), got {self.layers}"
            )
        counts, bottleneck = self.blocks
        if not counts or min(counts) < 1 or len(self.all_widths) != len(counts):
            raise PolytaskError(
                f"expected one width and at least one block for every stage, got blocks {counts} and widths "
                f"{self.all_widths}"
            )
        if bottleneck and any(width % 4 for width in self.all_widths):
            raise PolytaskError(f"bottlenecks have a quarter of the channels, got widths {self.all_widths}")

    @property
    def blocks(self) -> Blocks:
        """The blocks that it has."""
        made = PUBLISHED[self.layers] if isinstance(self.layers, int) else Blocks(self.layers, False)
        return made if self.bottleneck is None else Blocks(made.counts, self.bottleneck)

    @property
    def all_widths(self) -> tuple[int, ...]:
        """The channels of each stage's output."""
        first = 256 if self.blocks.bottleneck else 64
        return self.widths or tuple(first * 2**k for k in range(len(self.blocks.counts)))

    def __call__(self) -> SequentialBackbone:
        counts, bottleneck = self.blocks
        stem = self.all_widths[0] // 4 if bottleneck else self.all_widths[0]
        stages: list[nn.Module] = []
        widths = pairwise((stem, *self.all_widths))
        for (below, width), count, (stride, first, above) in zip(widths, counts, self._strides(), strict=True):
            layers: list[nn.Module] = [] if stages else [_stem(self.channels, stem)]
            layers.append(_Block(below, width, bottleneck, stride, first, above))
            layers += [_Block(width, width, bottleneck, 1, above, above) for _ in range(count - 1)]
            stages.append(nn.Sequential(*layers))
        return SequentialBackbone(stages, self.all_widths)

    def _strides(self) -> Iterator[tuple[int, int, int]]:
        """For every stage: its stride, and the dilations of its first 3 x 3 convolution and of those above."""
        yield 1, 1, 1
        reached, dilation = 4, 1
        for _ in self.blocks.counts[1:]:
            if reached < self.stride:
                reached *= 2
                yield 2, dilation, dilation
            else:
                yield 1, dilation, 2 * dilation
                dilation *= 2


def _stem(channels: int, width: int) -> nn.Module:
    return nn.Sequential(
        Images(channels),
        convolution(channels, width, 7, stride=2),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    )


class _Block(nn.Module):
    """relu(x + g(x)); where the map or its channels change, x goes through a 1 x 1 convolution.

    Args:
        below, width: channels that come and go.
        bottleneck: which g.
        stride: of the first 3 x 3 convolution of g.
        first: the dilation of the first 3 x 3 convolution, which still reads what the stage below gave.
        above: the dilation of any further one.
    """

    def __init__(self, below: int, width: int, bottleneck: bool, stride: int, first: int, above: int) -> None:
        super().__init__()
        inner = width // 4 if bottleneck else width
        if bottleneck:
            layers = [(below, inner, 1, 1, 1), (inner, inner, 3, stride, first), (inner, width, 1, 1, 1)]
        else:
            layers = [(below, width, 3, stride, first), (width, width, 3, 1, above)]
        self.residual = _normed(layers)
        changes = below != width or stride > 1 or above != first  # the last: where the ordinary network has a stride
        self.shortcut = _normed([(below, width, 1, stride, 1)]) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x), inplace=True)


def _normed(layers: Sequence[tuple[int, int, int, int, int]]) -> nn.Sequential:
    """Convolutions with batch normalisation, and ReLU between them."""
    modules: list[nn.Module] = []
    for k, (below, above, size, stride, dilation) in enumerate(layers):
        modules += [nn.ReLU(inplace=True)] if k else []
        modules += [convolution(below, above, size, stride, dilation), nn.BatchNorm2d(above)]
    return nn.Sequential(*modules)
