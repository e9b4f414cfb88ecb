"""The decoder of DeepLabv3: the last map, seen at several scales."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask.errors import PolytaskError
from polytask.sharing._convolutions import convolution
from polytask.sharing.heads.decoder import Decoder
from polytask.sharing.heads.fpn import resize


@dataclass(frozen=True)
class DeepLab(Decoder):
    r"""Atrous spatial pyramid pooling of the last stage's map: convolutions of several dilations side by side.

    With f the last map and g(.) = relu(norm(.)): g(W_0 [g(W_1 f), g(W_r1 f), ..., g(W_rn f), resize(g(W_p mean(f)))]),
    where W_1, W_p and W_0 are 1 x 1 convolutions, W_r is a 3 x 3 convolution dilated by r, and mean is over all
    positions. It reads the last stage only: take a backbone that keeps its resolution, such as `DilatedResNet`.

    Args:
        channels: of every branch, and of the map given; 256 in the paper.
        rates: the dilations r; (6, 12, 18) in the paper for a last map of 1 / 16 of the image's size, twice that for
            1 / 8. A dilation as large as the map sees its centre only: choose smaller ones for small images.

    Source: Chen, Papandreou, Schroff, Adam 2017, Rethinking Atrous Convolution for Semantic Image Segmentation, section
    3.3. In training on one image the pooled branch has one value per channel, which has no variance: there its norm
    takes the running statistics, as in evaluation (elsewhere this is an error).

    Cost: (c + 9 n c + (n + 2) channels) channels h w multiply-adds for a map [c, h, w] and n rates.

    >>> import torch
    >>> DeepLab(4, rates=(1, 2))([8, 16])([torch.zeros(1, 16, 8, 8)]).shape
    torch.Size([1, 4, 8, 8])
    """

    channels: int = 256
    rates: tuple[int, ...] = (6, 12, 18)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", tuple(self.rates))
        if self.channels < 1 or any(rate < 1 for rate in self.rates):
            raise PolytaskError(f"DeepLab needs at least one channel, and rates of 1 or more, got {self}")

    def reads(self, stages: int) -> tuple[int, ...]:
        return (stages - 1,)

    def width(self, widths: Sequence[int]) -> int:
        return self.channels

    def __call__(self, widths: Sequence[int]) -> nn.Module:
        return _Pyramid(widths[-1], self.channels, self.rates)


class _Pyramid(nn.Module):
    def __init__(self, width: int, channels: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_layer(width, channels, 1, 1), *(_layer(width, channels, 3, r) for r in rates)])
        self.pooled = nn.Sequential(convolution(width, channels, 1), _NormOfFew(channels), nn.ReLU(inplace=True))
        self.together = _layer(channels * (len(rates) + 2), channels, 1, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        (last,) = features
        everywhere = resize(self.pooled(last.mean((2, 3), keepdim=True)), last.shape[-2:])
        return self.together(torch.cat([*(branch(last) for branch in self.branches), everywhere], 1))


class _NormOfFew(nn.BatchNorm2d):
    """Batch normalisation that takes its running statistics where a batch has one value per channel."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def _layer(below: int, above: int, size: int, dilation: int) -> nn.Module:
    convolved = convolution(below, above, size, dilation=dilation)
    return nn.Sequential(convolved, nn.BatchNorm2d(above), nn.ReLU(inplace=True))
