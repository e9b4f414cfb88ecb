"""Dots on images."""

import torch
from torch import Tensor

from polytask.tasks.colours import MISSING_COLOUR, class_colours, colour_images

BLANK = 96


def dotted(points: Tensor, images: Tensor | None = None) -> Tensor:
    """Points as dots of their own colour with a black rim, on images.

    Args:
        points: x and y as fractions of width and height, [b, points, 2]; those that are NaN are left out.
        images: floats 0 to 1, [b, 3 or 1, h, w]; without them the points are drawn on grey of 96 x 96.

    Returns:
        uint8 [b, h, w, 3]. A dot has a radius of 1/48 of the shorter side, at least one pixel.
    """
    if images is None:
        canvas = torch.tensor(MISSING_COLOUR, dtype=torch.uint8).expand(len(points), BLANK, BLANK, 3)
    else:
        canvas = colour_images(images)
    canvas = canvas.to(points.device).clone()
    height, width = canvas.shape[1:3]
    row, column = torch.arange(height).to(points)[:, None] + 0.5, torch.arange(width).to(points) + 0.5
    radius = max(1.0, min(height, width) / 48)
    for point, colour in zip(points.unbind(1), class_colours(points.shape[1]).to(points.device), strict=True):
        x, y = point[:, 0, None, None] * width, point[:, 1, None, None] * height
        distance = torch.hypot(column - x, row - y)  # NaN is near nothing
        canvas[distance <= radius + 1] = 0
        canvas[distance <= radius] = colour
    return canvas
