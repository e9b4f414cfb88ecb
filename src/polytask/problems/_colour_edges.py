"""Edges of a picture, from its colours alone."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

STRONG = 0.1
STEPS = ((0, 1), (1, 1), (1, 0), (1, -1))
"""Down and right to the next pixel across an edge, for slopes of about 0, 45, 90 and 135 degrees."""


def colour_edges(pictures: Tensor, strong: float = STRONG) -> Tensor:
    """Where the colour changes most steeply, in lines one pixel wide (staircases where they are slanted): true or
    false, [n, h, w].

    The slope of each channel is taken by Sobel's 3 x 3 masks divided by 8 (the change from one pixel to the next; at
    the border the last row and column are repeated); a pixel has the slope of the channel where it is longest. It is
    an edge where that is longer than `strong`, longer than at the neighbour on one side across the edge and no shorter
    than on the other: of eight neighbours those two that lie nearest to the direction of the slope.

    Args:
        pictures: 0 to 1, [n, channels, h, w].
        strong: shortest slope of an edge.

    Source: non-maximum suppression as in Canny 1986, A Computational Approach to Edge Detection; without its
    smoothing and its second threshold.

    >>> import torch
    >>> step = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 3, 4)
    >>> colour_edges(step)[0, 1].tolist()
    [False, True, False, False]
    """
    across, down = _slopes(pictures)
    length, channel = (across.square() + down.square()).sqrt().max(1)
    along = torch.atan2(*(each.gather(1, channel[:, None])[:, 0] for each in (down, across)))
    direction = (along / (math.pi / 4)).round().long() % 4
    h, w = length.shape[1:]
    padded = F.pad(length, (1, 1, 1, 1))
    edges = torch.zeros_like(length, dtype=torch.bool)
    for number, (y, x) in enumerate(STEPS):
        before, after = (padded[:, 1 + k * y : 1 + k * y + h, 1 + k * x : 1 + k * x + w] for k in (-1, 1))
        edges |= (direction == number) & (length > before) & (length >= after)
    return edges & (length > strong)


def _slopes(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's masks, each the product of a difference and a mean; by slices: a convolution takes several times as
    long here."""
    padded = F.pad(pictures, (1, 1, 1, 1), mode="replicate")
    across, down = padded[..., 2:] - padded[..., :-2], padded[..., 2:, :] - padded[..., :-2, :]
    across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    return across / 8, down / 8
