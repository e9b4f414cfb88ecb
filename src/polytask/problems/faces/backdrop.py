"""What is behind the head: a wall with stripes and spots, and shoulders."""

from collections.abc import Callable

import numpy as np

from polytask.problems.faces.canvas import Canvas
from polytask.problems.faces.draws import Draws, Numbers
from polytask.problems.faces.traits import Stance, Style

SPOTS = 4
Tint = Callable[[Numbers], Numbers]


def wall(draw: Draws, tint: Tint, size: int) -> Numbers:
    """A colour that goes over into another one, stripes on some walls, and soft or sharp spots, [n, c, size, size].

    Args:
        draw: of the faces.
        tint: turns colours [n, 3] into those that are painted, [n, c].
        size: of the pictures.
    """
    x, y = _places(size)
    share = np.clip(draw.near(0.0, 1.0) * (x - 0.5) + draw.near(0.0, 1.0) * (y - 0.5) + np.float32(0.5), 0, 1)
    first, last = (tint(_dull(draw))[:, :, None, None] for _ in range(2))
    canvas = Canvas((first + share[:, None] * (last - first)).astype(np.float32), np.float32(1 / size))
    wave = draw.between(3, 12) * (x * draw.near(0.0, 1.0) + y * draw.near(0.0, 1.0))
    stripe = np.clip((np.abs(wave - np.floor(wave) - np.float32(0.5)) - np.float32(0.25)) * 6 + np.float32(0.5), 0, 1)
    canvas.paint(tint(_dull(draw)), _ONE, stripe * (draw.happens(0.3) * draw.between(0.2, 0.9)))
    for _ in range(SPOTS):
        across = (x - draw.between(-0.1, 1.1)) / draw.between(0.05, 0.45)
        down = (y - draw.between(-0.1, 1.1)) / draw.between(0.05, 0.45)
        outside = np.sqrt(across * across + down * down) - 1
        cover = np.clip(np.float32(0.5) - outside / draw.between(0.1, 1.2), 0, 1)
        canvas.paint(tint(_dull(draw)), _ONE, cover * draw.between(0.3, 1.0))
    return canvas.colours


def shoulders(canvas: Canvas, stance: Stance, style: Style, light: Numbers) -> None:
    """A dome below the head, that does not turn with it."""
    size = canvas.colours.shape[-1]
    x, y = _places(size)
    across = (x - stance.x + stance.tilt * stance.scale) / (stance.scale * np.float32(1.45))
    down = (y - stance.y - stance.scale * np.float32(2.05)) / (stance.scale * np.float32(0.95))
    root = np.sqrt(across * across + down * down) + np.float32(1e-6)
    outside = (root - 1) * stance.scale * size
    shade = light * (np.float32(1.1) - np.float32(0.6) * across * across)
    canvas.paint(style.cloth, shade, np.clip(np.float32(0.5) - outside, 0, 1))


def _dull(draw: Draws) -> Numbers:
    """Mostly dull, [n, 3]."""
    grey = draw.between(0.02, 0.8)[:, :, 0]
    return grey + draw.between(0.0, 0.8)[:, :, 0] * (draw.colour(0.02, 0.8) - grey)


def _places(size: int) -> tuple[Numbers, Numbers]:
    """x [1, 1, size] and y [1, size, 1] of the middles of the pixels, as shares of the picture."""
    middle = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    return middle[None, None, :], middle[None, :, None]


_ONE = np.ones((1, 1, 1), np.float32)
