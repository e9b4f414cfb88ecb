"""Hair and glasses."""

import numpy as np

from polytask.problems.faces.canvas import Canvas
from polytask.problems.faces.draws import Numbers
from polytask.problems.faces.parts import NOWHERE, Ellipsoid, Rays
from polytask.problems.faces.traits import Shape, Style

STRANDS = np.float32(6)
PLANE, EAR = np.float32(0.74), np.float32(-0.1)  # z of the lenses and of the ears
GLASS = np.full((1, 1), 0.05, np.float32)


def behind(shape: Shape, style: Style) -> Ellipsoid:
    """Long hair behind the neck."""
    return Ellipsoid((0.0, style.length - np.float32(0.95), -0.45), (shape.wide + np.float32(0.14), 0.95, 0.42))


def cap(shape: Shape, style: Style) -> Ellipsoid:
    """The hair on the head: it stands out above the forehead, where it is in front of the skin."""
    thick = style.thick
    return Ellipsoid(
        (style.parting * np.float32(0.15), np.float32(-0.44) - thick / 2, style.hairline),
        (shape.wide + thick * np.float32(0.8), np.float32(0.72) + thick, np.float32(0.86) + thick / 2),
    )


def fringe(shape: Shape, style: Style) -> Ellipsoid:
    """Hair on the forehead."""
    return Ellipsoid(
        (style.parting * np.float32(0.5), -0.72, 0.22), (shape.wide * np.float32(0.8), style.fringe_long, 0.42)
    )


def locks(shape: Shape, style: Style) -> tuple[Ellipsoid, Ellipsoid]:
    """Long hair at both sides of the face."""
    left, right = (
        Ellipsoid((side * shape.wide, style.length - np.float32(0.85), -0.1), (0.2, 0.85, 0.42)) for side in (-1, 1)
    )
    return left, right


def strands(view: Rays, depth: Numbers, style: Style) -> Numbers:
    """Light and dark strands, as far as pixels can show them: a factor of the colour of hair."""
    x, y, z = view.at(depth)
    wave = (x + np.float32(0.6) * z) * STRANDS + y * style.parting * 8
    saw = np.abs(wave - np.floor(wave) - np.float32(0.5)) * 4 - 1
    return 1 + np.float32(0.18) * np.clip(1 - 3 * STRANDS * view.pixel, 0, 1) * saw


def glasses(canvas: Canvas, view: Rays, shape: Shape, style: Style, light: Numbers) -> None:
    """Two rims around the eyes in a plane before the face, a bridge, and sides back to the ears."""
    on = style.glasses.astype(np.float32)
    depth = (PLANE - view.origin[2]) / view.towards[2]
    x, y, _ = view.at(depth)
    soft = view.pixel / view.towards[2]
    across = np.abs(x) - shape.eye_x - np.float32(0.02)
    down = y - shape.eye_y - np.float32(0.01)
    edge = _outline(across, down, style)
    lens = np.clip(np.float32(0.5) - edge / soft, 0, 1) * on
    rim = np.clip(np.float32(0.5) + (style.rim - np.abs(edge)) / soft, 0, 1)
    bar = np.clip(np.float32(0.5) + (style.rim - np.abs(down + np.float32(0.04))) / soft, 0, 1)
    bridge = bar * (across < -style.lens_wide)
    canvas.paint(GLASS, light, lens * style.lens, depth)
    canvas.paint(style.frame, light, np.maximum(rim, bridge) * on, depth)
    for side in (-1, 1):
        _side(canvas, view, shape, style, light * 0.8, side, on)


def _outline(across: Numbers, down: Numbers, style: Style) -> Numbers:
    """How far outside a lens a place is: ellipses of power 2 to 4."""
    u, v = np.square(across / style.lens_wide), np.square(down / style.lens_high)
    round_, boxy = np.sqrt(u + v), np.sqrt(np.sqrt(u * u + v * v))
    root = round_ + style.square * (boxy - round_)
    way = np.sqrt(np.square(across) + np.square(down))
    found: Numbers = np.where(root > np.float32(0.05), way * (1 - 1 / np.maximum(root, np.float32(0.05))), -1)
    return found


def _side(canvas: Canvas, view: Rays, shape: Shape, style: Style, light: Numbers, side: int, on: Numbers) -> None:
    """The bar from the outer end of a rim back to the ear, in a plane seen where it faces the viewer."""
    rim, ear = shape.eye_x + np.float32(0.02) + style.lens_wide, shape.wide + np.float32(0.03)
    out, ahead = (PLANE - EAR) * side, ear - rim  # a normal of the plane: its x and z
    facing = out * view.towards[0] + ahead * view.towards[2]
    ready = np.maximum(facing, np.float32(0.05))
    depth = (out * side * rim + ahead * PLANE - out * view.origin[0] - ahead * view.origin[2]) / ready
    _, y, z = view.at(depth)
    high = np.clip(np.float32(0.5) + (style.rim - np.abs(y - shape.eye_y + np.float32(0.03))) / view.pixel, 0, 1)
    long = np.clip(np.float32(0.5) + np.minimum(z - EAR, PLANE - z) / view.pixel, 0, 1)
    there = on * (facing > np.float32(0.05))
    canvas.paint(style.frame, light, high * long * there, np.where(there > 0, depth, NOWHERE))
