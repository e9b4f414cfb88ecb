"""The decoder for trunks that decode already."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from polytask.sharing.heads.decoder import Decoder


@dataclass(frozen=True)
class LastMap(Decoder):
    """A 3 x 3 convolution of the last stage's map, for trunks whose last map has the inputs' own size.

    Source: Liu, Johns, Davison 2019, End-to-End Multi-Task Learning with Attention: the authors' task layers on SegNet,
    a 3 x 3 convolution before the 1 x 1 convolution of the task, without norm or activation between them.

    >>> import torch
    >>> LastMap()([8, 4])([torch.zeros(2, 4, 16, 16)]).shape
    torch.Size([2, 4, 16, 16])
    """

    def reads(self, stages: int) -> tuple[int, ...]:
        return (stages - 1,)

    def width(self, widths: Sequence[int]) -> int:
        return widths[-1]

    def __call__(self, widths: Sequence[int]) -> nn.Module:
        return _Convolution(widths[-1])


class _Convolution(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: list[Tensor]) -> Tensor:
        (last,) = features
        return self.convolution(last)
