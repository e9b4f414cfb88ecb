"""What the surface is like where a ray meets it: its normal, and where on it that is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from polytask.problems.rooms.cast import Hits, Rays
from polytask.problems.rooms.cull import Grid
from polytask.problems.rooms.scene import Shape
from polytask.problems.rooms.shapes import Vector, ball, never_zero, slab, tube, turned, turned_back
from polytask.problems.rooms.tables import ROOM, Numbers, Surfaces, Views

Found = tuple[Vector, Numbers, Numbers, Numbers, Numbers]  # normal, u, v, half_u, half_v
QUARTER = np.float32(np.pi / 2)
ONE = np.float32(1)


@dataclass(frozen=True)
class Spots:
    """The surface at m = p * t pixels; u and v run along it, in metres from its middle."""

    normal: Numbers  # [3, m]: unit vectors in the world, on the side that the ray comes from
    u: Numbers  # [m]
    v: Numbers
    half_u: Numbers  # [m]: u and v go from -half to half
    half_v: Numbers


def spots(table: Surfaces, views: Views, grid: Grid, rays: Rays, hits: Hits) -> Spots:
    """The surface under every pixel."""
    row = hits.row.ravel()
    shape = np.take(table.shape, row)
    scene = np.broadcast_to(grid.scene, hits.row.shape).ravel()
    out = np.empty((7, len(row)), np.float32)
    for form, of_form in FORMS.items():
        where = np.flatnonzero(shape == form)
        part = row[where]
        turn, half = np.take(table.turn, part, 1), np.take(table.half, part, 1)
        place = np.take(views.place, scene[where], 1) - np.take(table.centre, part, 1)
        ray = [np.take(each.ravel(), where) for each in rays.world]
        normal, *along = of_form(turned(place, turn), never_zero(turned(ray, turn)), half)
        for column, values in enumerate((*turned_back(normal, turn), *along)):
            out[column, where] = values
    return Spots(out[:3], *out[3:])


def on_box(origin: Vector, ray: Vector, half: Numbers) -> Found:
    """The outside of a box: on the face through which the ray comes in, the last of three planes."""
    near = [slab(origin[axis], ray[axis], half[axis])[0] for axis in range(3)]
    return _on_face(near, np.maximum(np.maximum(near[0], near[1]), near[2]), origin, ray, half)


def on_room(origin: Vector, ray: Vector, half: Numbers) -> Found:
    """The inside of a room: on the face through which the ray goes out, the first of three planes."""
    far = [slab(origin[axis], ray[axis], half[axis])[1] for axis in range(3)]
    return _on_face(far, np.minimum(np.minimum(far[0], far[1]), far[2]), origin, ray, half)


def on_cylinder(origin: Vector, ray: Vector, half: Numbers) -> Found:
    """An upright cylinder: on its side u is the way around it, on its ends u and v are x and y."""
    side, end = tube(origin, ray, half)[0], slab(origin[2], ray[2], half[2])[0]
    x, y, z = _points(origin, ray, np.maximum(side, end))
    radius, round_it = half[0], side > end
    outward = round_it / np.maximum(np.sqrt(x * x + y * y), np.float32(1e-6))
    return (
        (x * outward, y * outward, np.copysign(ONE, -ray[2]) * ~round_it),
        np.where(round_it, _around(x, y) * QUARTER * radius, x),
        np.where(round_it, z, y),
        np.where(round_it, 2 * QUARTER * radius, radius),
        np.where(round_it, half[2], radius),
    )


def on_ball(origin: Vector, ray: Vector, half: Numbers) -> Found:
    """A ball: u is the way around its equator, v the height."""
    x, y, z = _points(origin, ray, ball(origin, ray, half)[0])
    radius = half[0]
    inverse = ONE / np.sqrt(x * x + y * y + z * z)
    return (x * inverse, y * inverse, z * inverse), _around(x, y) * QUARTER * radius, z, 2 * QUARTER * radius, radius


FORMS: dict[int, Callable[[Vector, Vector, Numbers], Found]] = {
    ROOM: on_room,
    Shape.BOX: on_box,
    Shape.CYLINDER: on_cylinder,
    Shape.BALL: on_ball,
}


def _on_face(planes: list[Numbers], met: Numbers, origin: Vector, ray: Vector, half: Numbers) -> Found:
    """On that face of a box whose plane is the one that is met."""
    on_x, on_y = planes[0] == met, planes[1] == met
    on_y &= ~on_x
    on_z = ~(on_x | on_y)
    x, y, z = _points(origin, ray, met)
    return (
        [np.copysign(ONE, -each) * on for each, on in zip(ray, (on_x, on_y, on_z), strict=True)],
        np.where(on_x, y, x),
        np.where(on_z, y, z),
        np.where(on_x, half[1], half[0]),
        np.where(on_z, half[1], half[2]),
    )


def _points(origin: Vector, ray: Vector, depth: Numbers) -> list[Numbers]:
    return [o + depth * d for o, d in zip(origin, ray, strict=True)]


def _around(x: Numbers, y: Numbers) -> Numbers:
    """The direction of (x, y), from -2 to 2 quarters: measured along a square, so that no arctangent is needed, whose
    last bits differ from machine to machine."""
    share = y / np.maximum(np.abs(x) + np.abs(y), np.float32(1e-9))
    return np.where(x >= 0, share, np.copysign(np.float32(2), y) - share)
