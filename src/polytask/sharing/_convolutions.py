"""Convolutions as networks with batch normalisation and ReLU start with them."""

from torch import nn


def convolution(below: int, above: int, size: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size of a map but for its stride.

    Initial weights are normal with variance 2 / (above size^2), so that gradients keep their size: He, Zhang, Ren, Sun
    2015, Delving Deep into Rectifiers, eq. 14.
    """
    padding = dilation * (size // 2)
    layer = nn.Conv2d(below, above, size, stride, padding, dilation, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
