"""Rays from the camera to the nearest surface, and from lamps to what they might light.

Pixels are held tile by tile, [p, t]: p = 64 pixels of a tile, t tiles of all pictures (`cull.Grid`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from polytask.problems.rooms.cull import NEAREST, SIDE, Flags, Grid, Indices, seen_pairs, shading_pairs, slots
from polytask.problems.rooms.scene import Shape
from polytask.problems.rooms.shapes import Vector, ball, box, cylinder, never_zero, slab, turned
from polytask.problems.rooms.tables import Numbers, Surfaces, Views, Wholes

Body = Callable[[Vector, Vector, Vector], tuple[Numbers, Numbers]]

BODIES: dict[Shape, Body] = {Shape.BOX: box, Shape.CYLINDER: cylinder, Shape.BALL: ball}
END = np.float32(0.999)  # a ray from a lamp stops so near to the point that it might light


@dataclass(frozen=True)
class Rays:
    """One ray through the middle of every pixel."""

    x: Numbers  # [p, t]: the direction is (x, y, 1) in the camera's axes
    y: Numbers
    world: tuple[Numbers, ...]  # three of [p, t]: the same direction in the world's axes


@dataclass(frozen=True)
class Hits:
    """What the rays meet first."""

    depth: Numbers  # [p, t]: metres along the camera's z axis
    row: Wholes  # [p, t]: row of `Surfaces`
    point: tuple[Numbers, ...]  # three of [p, t]: where, in the world


def pixel_rays(views: Views, grid: Grid) -> Rays:
    """The rays through the middles of all pixels."""
    inside, tile = np.arange(SIDE * SIDE)[:, None], np.arange(grid.across * grid.down)
    column = inside % SIDE + SIDE * (tile % grid.across)
    row = inside // SIDE + SIDE * (tile // grid.across)
    focal = np.repeat(grid.focal(views.slope), len(tile))
    x = np.tile((column + 0.5 - grid.width / 2).astype(np.float32), grid.pictures) / focal
    y = np.tile((row + 0.5 - grid.height / 2).astype(np.float32), grid.pictures) / focal
    axes = zip(*(np.take(axis, grid.scene, 1) for axis in (views.right, views.down, views.ahead)), strict=True)
    return Rays(x, y, never_zero([right * x + down * y + ahead for right, down, ahead in axes]))


def cast(table: Surfaces, views: Views, grid: Grid, rays: Rays) -> Hits:
    """The nearest surface of every pixel."""
    depth, row = _room(table, views, grid, rays.world)
    for shape, body in BODIES.items():
        rows = np.flatnonzero(table.shape == shape)
        order, parts, found = slots(*seen_pairs(table, views, grid, rows), len(grid.scene))
        crossing = _crossing(body, table, parts, views.place[:, grid.scene[order]], rays.world, order)
        best, winner = np.take(depth, order, 1), np.take(row, order, 1)
        for slot in found:
            part = parts[slot].astype(np.int32)
            near, far = crossing(slot)
            met = (near < far) & (near > NEAREST) & (near < best[:, : len(part)])
            np.copyto(best[:, : len(part)], near, where=met)
            np.copyto(winner[:, : len(part)], part, where=met)
        depth[:, order], row[:, order] = best, winner
    place = views.place[:, grid.scene]
    return Hits(depth, row, tuple(o + depth * d for o, d in zip(place, rays.world, strict=True)))


def reached(table: Surfaces, grid: Grid, hits: Hits, lamp: Numbers, towards: Flags) -> Flags:
    """Where the light of a lamp comes to: no other part is between it and the point of the pixel.

    Args:
        table, grid, hits: the scenes and what is seen of them.
        lamp: its place for each tile, [3, t].
        towards: [p, t], whether the surface faces the lamp. Where it does not, the answer is False.
    """
    free = towards.copy()
    low, high = (np.stack([end(each, 0) for each in hits.point]) for end in (np.min, np.max))
    way = [point - place for point, place in zip(hits.point, lamp, strict=True)]
    tiles, rows = shading_pairs(table, grid, low, high, lamp, towards.max(0))
    for shape, body in BODIES.items():
        mine = table.shape[rows] == shape
        order, parts, found = slots(tiles[mine], rows[mine], len(grid.scene))
        crossing = _crossing(body, table, parts, lamp[:, order], way, order)
        own, still = np.take(hits.row, order, 1), np.take(free, order, 1)
        for slot in found:
            part = parts[slot].astype(np.int32)
            near, far = crossing(slot)
            shaded = (near < far) & (near < END) & (far > 0) & (own[:, : len(part)] != part)
            still[:, : len(part)] &= ~shaded
        free[:, order] = still
    return free


def _room(table: Surfaces, views: Views, grid: Grid, ray: tuple[Numbers, ...]) -> tuple[Numbers, Wholes]:
    """Where each ray leaves the room, and through which face."""
    half = views.room / 2
    origin = (views.place - half)[:, grid.scene]
    half = half[:, grid.scene]
    ends = [slab(origin[axis], ray[axis], half[axis])[1] for axis in range(3)]
    depth = np.minimum(np.minimum(ends[0], ends[1]), ends[2])
    faces = [2 * axis + (ray[axis] > 0) for axis in range(3)]
    face = np.where(depth == ends[0], faces[0], np.where(depth == ends[1], faces[1], faces[2]))
    return depth, table.first[grid.scene] + face.astype(np.int32)


def _crossing(
    body: Body, table: Surfaces, parts: Indices, place: Numbers, direction: Sequence[Numbers], order: Indices
) -> Callable[[slice], tuple[Numbers, Numbers]]:
    """near, far of the lines of any slot.

    Args:
        body: the form of the parts.
        table: the scenes.
        parts: their rows, slot by slot.
        place: where the lines of each tile of `order` begin, [3, len(order)].
        direction: three of [p, t].
        order: the tiles, as the slots have them.
    """
    turn, centre, half = (np.take(each, parts, 1) for each in (table.turn, table.centre, table.half))
    mine = [np.take(each, order, 1) for each in direction]

    def crossing(slot: slice) -> tuple[Numbers, Numbers]:
        tiles = slot.stop - slot.start
        origin = turned(place[:, :tiles] - centre[:, slot], turn[:, slot])
        return body(origin, never_zero(turned([each[:, :tiles] for each in mine], turn[:, slot])), half[:, slot])

    return crossing
