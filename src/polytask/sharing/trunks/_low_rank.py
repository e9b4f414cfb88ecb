"""What adapters add to a layer: a product of two thin matrices, or a small network behind it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LowRank(nn.Module):
    """y + scale B A x, of what goes into a linear layer or convolution (x) and what comes out (y); B is zero at first.

    Args:
        layer: which it stands beside; A of a convolution has its kernel, stride, padding and dilation, B is 1 x 1.
        rank: r of A [r, ...] and B [outputs, r].
        scale: a factor.
    """

    def __init__(self, layer: nn.Module, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.geometry: tuple[tuple[int, ...], str | tuple[int, ...], tuple[int, ...]] | None = None
        if isinstance(layer, nn.Conv2d):
            self.geometry = (tuple(layer.stride), layer.padding, tuple(layer.dilation))
        assert isinstance(layer.weight, Tensor)
        outputs, *inputs = layer.weight.shape
        self.down = nn.Parameter(torch.empty(rank, *inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.normal_(self.down, std=self.down[0].numel() ** -0.5)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.geometry is None:
            return y + self.scale * F.linear(F.linear(x, self.down), self.up)
        stride, padding, dilation = self.geometry
        thin = F.conv2d(x, self.down, None, stride, padding, dilation)
        return y + self.scale * F.conv2d(thin, self.up[:, :, None, None])


class SmallNetwork(nn.Module):
    """y + W2 gelu(W1 y + b1) + b2 at every position; W2 and b2 are zero at first.

    Args:
        channels: of y.
        width: of W1 y.
        channels_last: whether the last axis of a y with four axes holds the channels, as inside of transformers.
    """

    def __init__(self, channels: int, width: int, channels_last: bool) -> None:
        super().__init__()
        self.channels_last = channels_last
        self.down = nn.Linear(channels, width)
        self.up = nn.Linear(width, channels)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if y.ndim != 4 or self.channels_last:
            return y + self.up(F.gelu(self.down(y)))
        hidden = F.gelu(F.conv2d(y, self.down.weight[:, :, None, None], self.down.bias))
        return y + F.conv2d(hidden, self.up.weight[:, :, None, None], self.up.bias)
