"""The encoder-decoder on which multi-task methods for scenes are usually compared."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from polytask.errors import PolytaskError
from polytask.sharing._convolutions import convolution
from polytask.sharing.backbone import Backbone, State, run_to_the_end, state_of, whole_features
from polytask.sharing.backbones.small_cnn import Images


@dataclass(frozen=True)
class SegNet:
    r"""Encoder and decoder of equally many stages; the decoder puts values back where the encoder's maxima were.

    Encoder stage k (1 to S/2): x_k, i_k = maxpool_2x2(g_k(x_{k-1})), with the places i_k of the maxima. Decoder stage
    k (S/2 to 1): y_{k-1} = h_k(unpool(y_k, i_k)), with y_{S/2} = x_{S/2}; unpool writes each value to its place and
    zeros elsewhere. g_k and h_k are 3 x 3 convolutions, each with batch normalisation and ReLU. The S stages are x_1,
    ..., x_{S/2}, y_{S/2 - 1}, ..., y_0: the last one, y_0, has the size of the images, whatever that is.

    Args:
        channels: of the images [b, channels, h, w]; h and w at least 2^(S/2).
        widths: the channels of x_1 to x_{S/2}. Those of y_k are those of x_k, and y_0 has as many as x_1.
        convolutions: how many each g_k has, and each h_k. The defaults are VGG-16's thirteen.

    Called, it makes a fresh backbone with weights from torch's global generator, normal as in He et al. 2015.

    Source: Badrinarayanan, Kendall, Cipolla 2017, SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
    Segmentation, section 3. The convolutions have no bias, which the normalisation would take away.

    Cost: with the defaults 13 + 13 convolutions of 29 million weights, 650 thousand multiply-adds a pixel.

    >>> import torch
    >>> backbone = SegNet(1, widths=(4, 8), convolutions=(1, 1))()
    >>> [tuple(each.shape) for each in backbone(torch.zeros(2, 1, 20, 32))]
    [(2, 4, 10, 16), (2, 8, 5, 8), (2, 4, 10, 16), (2, 4, 20, 32)]
    """

    channels: int = 3
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    convolutions: tuple[int, ...] = (2, 2, 3, 3, 3)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "convolutions", tuple(self.convolutions))
        if self.channels < 1:
            raise PolytaskError(f"images need at least one channel, got {self.channels}")
        if len(self.widths) != len(self.convolutions) or not self.widths or min(self.convolutions) < 1:
            raise PolytaskError(
                "a SegNet needs one width and one number of convolutions (1 or more) per encoder stage, got widths "
                f"{self.widths} and convolutions {self.convolutions}"
            )

    def __call__(self) -> "SegNetBackbone":
        stages: list[nn.Module] = []
        below = self.channels
        for width, count in zip(self.widths, self.convolutions, strict=True):
            stages.append(_Encode(below, width, count, Images(below) if not stages else nn.Identity()))
            below = width
        decoded = (self.widths[0], *self.widths[:-1])
        mirrored = zip(self.widths, decoded, self.convolutions, strict=True)
        stages += [_Decode(width, above, count) for width, above, count in reversed(list(mirrored))]
        return SegNetBackbone(stages, (*self.widths, *reversed(decoded)))


class Places(NamedTuple):
    """Where the maxima of a map were, and how large it was."""

    indices: Tensor
    size: tuple[int, int]


class SegNetBackbone(Backbone):
    """Stages that encode, then as many that decode; `SegNet` makes one.

    Args:
        stages: called with the map from below and the places of those below; those that encode add places, those that
            decode take them away.
        widths: the number of channels of each stage's output.
    """

    full_resolution = True

    def __init__(self, stages: Iterable[nn.Module], widths: Sequence[int]) -> None:
        super().__init__(widths)
        self.stages = nn.ModuleList(stages)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return run_to_the_end(self.walk(inputs))

    def used_for(self, stages: Iterable[int]) -> list[nn.Module]:
        above = max(stages) + 1
        return [self] if above == len(self.stages) else list(self.stages[:above])

    def walk(self, inputs: Tensor) -> Generator[Tensor, Tensor, list[Tensor]]:
        return _up(self.stages, inputs, [])

    def split_inside(self, stage: int) -> tuple[nn.Module, nn.Module]:
        return _Lower(self.stages[:stage], self.kept), _Upper(self.stages[stage:])


def _up(stages: Iterable[nn.Module], x: Tensor, places: list[Places]) -> Generator[Tensor, Tensor, list[Tensor]]:
    features = []
    for stage in stages:
        x = yield stage(x, places)
        features.append(x)
    return features


class _Lower(nn.Module):
    def __init__(self, stages: Iterable[nn.Module], kept: Iterable[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.kept = tuple(kept)

    def forward(self, inputs: Tensor) -> State:
        places: list[Places] = []
        cut, rest = state_of(run_to_the_end(_up(self.stages, inputs, places)), self.kept)
        return State(cut, (rest, places))


class _Upper(nn.Module):
    def __init__(self, stages: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, state: State) -> list[Tensor]:
        rest, places = state.rest
        below = whole_features(State(state.cut, rest))
        return [*below, *run_to_the_end(_up(self.stages, below[-1], list(places)))]


class _Encode(nn.Module):
    def __init__(self, below: int, width: int, count: int, inputs: nn.Module) -> None:
        super().__init__()
        self.inputs = inputs
        self.convolutions = _chain([below, *[width] * count])

    def forward(self, x: Tensor, places: list[Places]) -> Tensor:
        x = self.convolutions(self.inputs(x))
        size = (x.shape[-2], x.shape[-1])
        if min(size) < 2:
            raise PolytaskError(
                f"the images are too small to be halved in every encoder stage: nothing is left of {list(size)}; take "
                "larger images, or fewer stages (widths)"
            )
        pooled, indices = F.max_pool2d(x, 2, return_indices=True)
        places.append(Places(indices, size))
        return pooled


class _Decode(nn.Module):
    def __init__(self, width: int, above: int, count: int) -> None:
        super().__init__()
        self.convolutions = _chain([*[width] * count, above])

    def forward(self, x: Tensor, places: list[Places]) -> Tensor:
        indices, size = places.pop()
        return self.convolutions(F.max_unpool2d(x, indices, [2, 2], output_size=size))


def _chain(widths: Sequence[int]) -> nn.Sequential:
    layers: list[Any] = []
    for below, above in pairwise(widths):
        layers += [convolution(below, above, 3), nn.BatchNorm2d(above), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
