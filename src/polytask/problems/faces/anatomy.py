"""The parts of a head, in its own axes, and where its landmarks are."""

from dataclasses import dataclass

import numpy as np

from polytask.problems.faces.draws import Numbers
from polytask.problems.faces.parts import Ellipsoid, Rays, Triple, seen
from polytask.problems.faces.traits import Mimic, Shape, Stance

BLEND = np.float32(0.12)
"""Over how much depth the light of the skull goes over into that of the jaw."""

Axes = tuple[Triple, Triple, Triple]


@dataclass(frozen=True)
class Skin:
    """The face without its nose, [n, h, w] each."""

    depth: Numbers
    cover: Numbers
    x: Numbers
    """Where on the face a pixel lies, in the axes of the head."""
    y: Numbers
    light: Numbers
    """The cosine of the angle between the skin and the lamp."""
    stretch: Numbers
    """How much of the face's width there is in a pixel, in widths of pixels, at least 1."""


def axes(stance: Stance) -> Axes:
    """Picture axes (x right, y down, z to the viewer) as unit vectors in the axes of the head, [n, 1, 1] each.

    The head is turned around its y axis, then nodded around the picture's x axis, then tilted in the picture.
    """
    (st, ct), (sn, cn), (sr, cr) = ((np.sin(a), np.cos(a)) for a in (stance.turn, stance.nod, stance.tilt))
    right = (ct, np.zeros_like(ct), st)
    down = (-st * sn, cn, ct * sn)
    towards = (-st * cn, -sn, ct * cn)
    x = tuple(cr * a - sr * b for a, b in zip(right, down, strict=True))
    y = tuple(sr * a + cr * b for a, b in zip(right, down, strict=True))
    return _three(x), _three(y), towards


def rays(stance: Stance, frame: Axes, size: int) -> Rays:
    """One ray through the middle of every pixel."""
    middle = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    column = (middle[None, None, :] - stance.x) / stance.scale
    row = (middle[None, :, None] - stance.y) / stance.scale
    return Rays(frame, column, row, 1 / (size * stance.scale))


def skull_and_jaw(shape: Shape) -> tuple[Ellipsoid, Ellipsoid]:
    """What the face is painted on."""
    return (
        Ellipsoid((0.0, -0.3, -0.12), (shape.wide, 0.74, 0.8)),
        Ellipsoid((0.0, 0.18, 0.08), (shape.jaw_wide, shape.jaw_long, 0.62)),
    )


def skin(shape: Shape, view: Rays, lamp: Triple) -> Skin:
    """The nearer of skull and jaw; where both are as near, their light is mixed."""
    skull, jaw = (seen(each, view) for each in skull_and_jaw(shape))
    share = np.clip(np.float32(0.5) + (jaw.depth - skull.depth) / (2 * BLEND), 0, 1)
    depth = np.maximum(skull.depth, jaw.depth)

    def mixed(direction: Triple) -> Numbers:
        one, other = skull.along(direction), jaw.along(direction)
        return one + share * (other - one)

    ahead = mixed(_AHEAD)
    facing = np.maximum(mixed(view.towards), np.float32(0.2))
    x, y, _ = view.at(depth)
    cover = np.maximum(skull.cover, jaw.cover)
    return Skin(depth, cover, x, y, mixed(lamp), np.maximum(ahead / facing, 1))


def nose(shape: Shape) -> tuple[Ellipsoid, Ellipsoid]:
    """Its ridge and its tip."""
    foot = _surface(shape, np.zeros_like(shape.nose_y), shape.nose_y)
    high = (shape.nose_y - shape.eye_y + np.float32(0.1)) / 2
    out = foot + shape.nose_out - np.float32(0.13)
    return (
        Ellipsoid((0.0, shape.nose_y - high, foot - np.float32(0.03)), (shape.nose_wide * 0.8, high, 0.14)),
        Ellipsoid((0.0, shape.nose_y, out), (shape.nose_wide, 0.095, 0.13)),
    )


def ears(shape: Shape) -> tuple[Ellipsoid, Ellipsoid]:
    """Flat, at the sides."""
    left, right = (
        Ellipsoid((side * (shape.wide - np.float32(0.02)), shape.eye_y + 0.12, -0.12), (0.08, 0.2, 0.13))
        for side in (-1, 1)
    )
    return left, right


def neck(shape: Shape) -> Ellipsoid:
    return Ellipsoid((0.0, 1.25, -0.2), (shape.jaw_wide * np.float32(0.72), 1.1, 0.42))


def landmarks(shape: Shape, mimic: Mimic) -> list[Triple]:
    """Left eye, right eye, tip of the nose, left and right corner of the mouth: places on the face, [n, 1, 1] each.

    Left is left in the picture of a face seen from the front.
    """
    tip = nose(shape)[1]
    points = [
        (-shape.eye_x, shape.eye_y, None),
        (shape.eye_x, shape.eye_y, None),
        (np.zeros_like(shape.eye_x), shape.nose_y, tip.centre[2] + tip.half[2]),
        *((side * mimic.mouth_wide, corner_height(shape, mimic, side), None) for side in (-1, 1)),
    ]
    return [(x, y, _surface(shape, x, y) if z is None else np.asarray(z, np.float32)) for x, y, z in points]


def corner_height(shape: Shape, mimic: Mimic, side: int) -> Numbers:
    """y of the corner of the mouth on one side, -1 or 1."""
    return shape.mouth_y - mimic.lift / 2 + side * mimic.skew


def shown(points: list[Triple], stance: Stance, frame: Axes) -> Numbers:
    """Places of the head in the picture, as shares of it, [n, points, 2]."""
    found = []
    for point in points:
        x, y = (sum(a * p for a, p in zip(axis, point, strict=True)) for axis in frame[:2])
        found.append(np.stack([stance.x + stance.scale * x, stance.y + stance.scale * y], -1)[:, 0, 0])
    return np.stack(found, 1).astype(np.float32)


def _surface(shape: Shape, x: Numbers, y: Numbers) -> Numbers:
    """How far out the face without its nose is at a place of it."""
    ahead = Rays(_OWN, x, y, np.ones_like(x))
    found: Numbers = np.maximum(*(seen(each, ahead).depth for each in skull_and_jaw(shape)))
    return found


def _three(values: tuple[Numbers, ...]) -> Triple:
    x, y, z = values
    return x, y, z


_ZERO, _ONE = np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32)
_AHEAD: Triple = (_ZERO, _ZERO, _ONE)
_OWN: Axes = ((_ONE, _ZERO, _ZERO), (_ZERO, _ONE, _ZERO), _AHEAD)
