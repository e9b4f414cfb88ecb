"""The decoder of feature pyramid networks."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from polytask.errors import PolytaskError
from polytask.sharing.heads.decoder import Decoder


@dataclass(frozen=True)
class FPN(Decoder):
    r"""Top-down sum of all stages, at the resolution of the lowest: p_k = lateral_k(f_k) + resize(p_{k+1}).

    The map given is relu(norm(conv_3x3(p_1))); `resize` is bilinear. Where all stages have one size, as in plain
    vision transformers, it is the sum of the laterals.

    Args:
        channels: of every p_k, and of the map given.

    Source: Lin et al. 2017, Feature Pyramid Networks for Object Detection, section 3 (laterals are 1 x 1
    convolutions); one map for dense prediction as in Kirillov et al. 2019, Panoptic Feature Pyramid Networks.
    The paper upsamples to the nearest neighbour; bilinear maps have no steps.

    Cost: sum_k c_k channels h_k w_k + 9 channels^2 h_1 w_1 multiply-adds: keep `channels` small beside the trunk's.

    >>> import torch
    >>> maps = [torch.zeros(2, 8, 16, 16), torch.zeros(2, 16, 8, 8)]
    >>> FPN(4)([8, 16])(maps).shape
    torch.Size([2, 4, 16, 16])
    """

    channels: int = 32

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise PolytaskError(f"FPN needs at least one channel, got {self.channels}")

    def reads(self, stages: int) -> tuple[int, ...]:
        return tuple(range(stages))

    def width(self, widths: Sequence[int]) -> int:
        return self.channels

    def __call__(self, widths: Sequence[int]) -> nn.Module:
        return _Pyramid(widths, self.channels)


class _Pyramid(nn.Module):
    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        # A bias in one of the sums is a bias of them all.
        self.laterals = nn.ModuleList(
            nn.Conv2d(width, channels, 1, bias=k + 1 == len(widths)) for k, width in enumerate(widths)
        )
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: list[Tensor]) -> Tensor:
        total: Tensor | None = None
        for lateral, feature in zip(reversed(self.laterals), reversed(features), strict=True):
            level = lateral(feature)
            total = level if total is None else level + resize(total, level.shape[-2:])
        return F.relu(self.norm(self.convolution(total)))


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """A map [b, c, h, w] in another size, bilinear; as it is where it has that size."""
    size = tuple(size)
    return x if tuple(x.shape[-2:]) == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
