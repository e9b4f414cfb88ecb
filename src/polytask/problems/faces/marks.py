"""What is painted on the skin: eyes, brows, mouth, beard."""

from typing import Any

import numpy as np

from polytask.problems.faces.anatomy import Skin, corner_height
from polytask.problems.faces.canvas import Canvas
from polytask.problems.faces.draws import Numbers
from polytask.problems.faces.traits import Mimic, Shape, Style

WHITE, TOOTH, DARK, THROAT = ((np.full((1, 1), each, np.float32)) for each in (0.72, 0.8, 0.04, 0.08))  # greys


class Brush:
    """Paints on the skin in the places of the face, as far as it is seen.

    Args:
        canvas: where to.
        skin: the face.
        pixel: the width of a pixel, [n, 1, 1].
    """

    def __init__(self, canvas: Canvas, skin: Skin, pixel: Numbers) -> None:
        self.canvas, self.skin = canvas, skin
        self.on_skin = skin.cover * (np.abs(canvas.depth - skin.depth) < np.float32(1e-3))
        self.soft_x: Numbers = pixel * np.minimum(skin.stretch, 4)
        self.soft_y = pixel

    def ellipse(self, x: Any, y: Any, wide: Any, high: Any, slant: Any = 0.0, bend: Any = 0.0) -> Numbers:
        """The share of each pixel inside an ellipse with these half axes.

        Args:
            x, y: its middle.
            wide, high: half of its axes.
            slant: by how much its right end is lower than its middle, for a width of 1.
            bend: by how much its ends are lower than its middle, for a width of 1, squared.
        """
        across = self.skin.x - x
        down = self.skin.y - y - slant * across - bend * across * across
        u, v = across / wide, down / high
        root = np.sqrt(u * u + v * v) + np.float32(1e-6)
        # How far the ellipse is from here along the line to its middle, in pixels along that line.
        pixels = np.sqrt(np.square(across / self.soft_x) + np.square(down / self.soft_y))
        found: Numbers = np.clip(np.float32(0.5) + pixels * (1 / root - 1), 0, 1)
        return found

    def paint(self, colour: Numbers, cover: Numbers, shade: Any = 1.0) -> None:
        self.canvas.paint(colour, shade, cover * self.on_skin)


def on_face(brush: Brush, light: Numbers, shape: Shape, mimic: Mimic, style: Style) -> None:
    """All of it, with how bright the skin is, [n, h, w]."""
    under_nose(brush, light, shape, style)
    beard(brush, light, shape, style)
    mouth(brush, light, shape, mimic, style)
    eyes(brush, light, shape, mimic, style)


def eyes(brush: Brush, light: Numbers, shape: Shape, mimic: Mimic, style: Style) -> None:
    """Sockets, whites, irises, pupils, lids, brows."""
    for side in (-1, 1):
        x, y, wide = side * shape.eye_x, shape.eye_y, shape.eye_wide
        high = wide * np.float32(0.52) * mimic.eyes
        brush.paint(style.skin, np.float32(0.45) * brush.ellipse(x, y, wide * 1.5, wide * 1.1), light * 0.7)
        brush.paint(DARK, brush.ellipse(x, y - np.float32(0.018), wide * 1.12, high * 1.15, bend=0.6))
        inside = brush.ellipse(x, y, wide, high)
        brush.paint(WHITE, inside, light)
        ix, iy, iris = x + mimic.look_x * wide, y + mimic.look_y * high, wide * np.float32(0.5)
        brush.paint(style.iris, inside * brush.ellipse(ix, iy, iris, iris), light)
        brush.paint(DARK, inside * brush.ellipse(ix, iy, iris * 0.5, iris * 0.5))
        brow = brush.ellipse(
            x, y - np.float32(0.2) - mimic.brow, wide * 1.35, 0.035, slant=side * np.float32(0.1), bend=0.9
        )
        brush.paint(style.hair * np.float32(0.8), np.float32(0.85) * brow, light)


def mouth(brush: Brush, light: Numbers, shape: Shape, mimic: Mimic, style: Style) -> None:
    """Lips around an opening with teeth; folds beside it in a smile. Its corners are those of `landmarks`."""
    skin, wide = brush.skin, mimic.mouth_wide
    t = np.clip(skin.x / wide, -1, 1)
    bow = 1 - t * t
    round_ = np.sqrt(bow)
    middle = shape.mouth_y + mimic.lift * (np.float32(0.5) - t * t) + mimic.skew * t
    ends = np.clip(np.float32(0.5) + (wide - np.abs(skin.x)) / brush.soft_x, 0, 1)

    def between(upper: Numbers, lower: Numbers) -> Numbers:
        band = np.clip(np.float32(0.5) + np.minimum(skin.y - upper, lower - skin.y) / brush.soft_y, 0, 1)
        found: Numbers = band * ends
        return found

    gap = mimic.open * round_
    brush.paint(style.lips, between(middle - gap / 2 - 0.05 * round_, middle + gap + 0.065 * round_), light)
    inside = between(middle - gap / 2 - np.float32(0.008), middle + gap + np.float32(0.008))
    brush.paint(THROAT, inside, 0.4 + 0.6 * light)
    tooth = between(middle - gap / 2, middle + gap * np.float32(0.7)) * np.clip(gap / brush.soft_y, 0, 1)
    brush.paint(TOOTH, tooth * mimic.teeth * (bow > np.float32(0.12)), light)
    for side in (-1, 1):
        corner = corner_height(shape, mimic, side)
        fold = brush.ellipse(
            side * (wide + np.float32(0.035)), corner - np.float32(0.06), 0.02, 0.12, slant=side * np.float32(0.5)
        )
        brush.paint(style.skin, fold * (np.float32(0.6) * mimic.smile), light * 0.6)


def beard(brush: Brush, light: Numbers, shape: Shape, style: Style) -> None:
    """Chin and cheeks below the nose, without the mouth."""
    chin = brush.ellipse(0.0, shape.mouth_y + np.float32(0.12), shape.jaw_wide * 1.05, 0.42)
    above = np.clip((brush.skin.y - shape.nose_y - np.float32(0.08)) / 0.08, 0, 1)
    brush.paint(style.hair, chin * above * style.beard, light)


def under_nose(brush: Brush, light: Numbers, shape: Shape, style: Style) -> None:
    """The shadow of the nose."""
    below = brush.ellipse(0.0, shape.nose_y + np.float32(0.1), shape.nose_wide * 1.1, 0.035)
    brush.paint(style.skin, np.float32(0.7) * below, light * 0.5)
