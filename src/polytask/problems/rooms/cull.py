"""Which parts can be met in which tile of a picture: what spares the rays most of their work.

A tile is 8 x 8 pixels. A pair is (tile, row of `Surfaces`); pairs are worked through in *slots*: the k-th slot holds
the k-th part of every tile that has so many, so that a slot is one batched intersection.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polytask.problems.rooms.shapes import box, never_zero, turned, turned_back
from polytask.problems.rooms.tables import Numbers, Surfaces, Views

SIDE = 8  # of a tile, in pixels
NEAREST = np.float32(0.05)  # nothing nearer to the camera is seen, in metres
MARGIN = np.float32(1e-3)  # for rounding, in metres

Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
BORDERS = [(a, b) for a in range(8) for b in range(a) if (CORNERS[a] != CORNERS[b]).sum() == 1]


@dataclass(frozen=True)
class Grid:
    """The tiles of n pictures of h x w pixels; tile t is at row t // across % down of picture t // (across * down)."""

    pictures: int
    height: int
    width: int

    @property
    def across(self) -> int:
        return -(-self.width // SIDE)

    @property
    def down(self) -> int:
        return -(-self.height // SIDE)

    @property
    def scene(self) -> Indices:
        """The picture of every tile."""
        return np.repeat(np.arange(self.pictures), self.across * self.down)

    def focal(self, slope: Numbers) -> Numbers:
        """Pixels per unit of x / z, for cameras with this tangent of half the angle of view."""
        return np.float32(max(self.width, self.height) / 2) / slope


def seen_pairs(table: Surfaces, views: Views, grid: Grid, rows: Indices) -> tuple[Indices, Indices]:
    """The pairs (tile, row) of the rows whose box's outline in the picture touches the tile."""
    scene = table.scene[rows]
    x, y, there = _outline(table, views, rows)
    focal = grid.focal(views.slope)[scene]
    limits = []
    for place, size, tiles in ((x, grid.width, grid.across), (y, grid.height, grid.down)):
        pixels = place * focal + np.float32(size / 2)
        low = np.where(there, pixels, np.inf).min(0)
        high = np.where(there, pixels, -np.inf).max(0)
        first = np.clip((low - 1) / SIDE, -1, tiles).astype(np.int64)
        last = np.clip((high + 1) / SIDE, -1, tiles).astype(np.int64)
        visible = (high >= 0) & (low <= tiles * SIDE)
        limits.append((np.maximum(first, 0), np.where(visible, np.minimum(last, tiles - 1), -1)))
    (left, right), (top, bottom) = limits
    wide = np.maximum(right - left + 1, 0)
    count = wide * np.maximum(bottom - top + 1, 0)
    part = np.repeat(np.arange(len(rows)), count)
    step = np.arange(len(part)) - np.repeat(np.cumsum(count) - count, count)
    row, column = top[part] + step // wide[part], left[part] + step % wide[part]
    return (scene[part].astype(np.int64) * grid.down + row) * grid.across + column, rows[part]


def shading_pairs(
    table: Surfaces, grid: Grid, low: Numbers, high: Numbers, lamp: Numbers, wanted: Flags
) -> tuple[Indices, Indices]:
    """The pairs (tile, row) of the parts that may throw a shadow on the tile's points.

    Those whose box, made larger by half of the tile's points' extent, is met by the line from the lamp to their middle.

    Args:
        table, grid: the scenes.
        low, high: smallest and largest coordinates of the points of each tile, [3, t].
        lamp: its place for each tile, [3, t].
        wanted: the tiles that matter, [t].
    """
    part = _casting(table, grid.pictures)  # [n, most, 1]: as many rows for every picture, -1 for none
    turn, half, centre = (np.take(each, part, 1) for each in (table.turn, table.half, table.centre))
    middle, lamps, extent = (  # [3, n, 1, tiles of a picture]
        each.reshape(3, grid.pictures, 1, -1) for each in ((low + high) / 2 - lamp, lamp, (high - low) / 2 + MARGIN)
    )
    way, origin = turned(middle, turn), turned(lamps - centre, turn)
    (cos, sin), (x, y, z) = np.abs(turn), extent
    enlarged = (half[0] + (x * cos + y * sin), half[1] + (x * sin + y * cos), half[2] + z)
    near, far = box(origin, never_zero(way), enlarged)
    met = (near < far) & (near < 1) & (far > 0) & (part >= 0) & wanted.reshape(grid.pictures, 1, -1)
    picture, which, tile = np.nonzero(met)
    return picture * (grid.across * grid.down) + tile, part[picture, which, 0]


def slots(tile: Indices, row: Indices, tiles: int) -> tuple[Indices, Indices, list[slice]]:
    """Pairs in slots.

    Returns:
        The tiles that have pairs, those with most pairs first; the rows, slot by slot; and the slots as slices of them.
        A slot has the rows of the first of these tiles.

    >>> order, rows, found = slots(np.array([3, 5, 5]), np.array([10, 11, 12]), tiles=6)
    >>> order.tolist(), [rows[slot].tolist() for slot in found]
    ([5, 3], [[11, 10], [12]])
    """
    count = np.bincount(tile, minlength=tiles)
    order = np.argsort(-count, kind="stable")
    rank = np.empty(tiles, np.int64)
    rank[order] = np.arange(tiles)
    by_tile = np.argsort(rank[tile], kind="stable")
    place = rank[tile[by_tile]]
    of_tile = count[order]
    slot = np.arange(len(tile)) - np.repeat(np.cumsum(of_tile) - of_tile, of_tile)
    in_slots = row[by_tile[np.argsort(slot * tiles + place, kind="stable")]]
    sizes = np.bincount(slot, minlength=1)
    starts = np.cumsum(sizes) - sizes
    cuts = [slice(start, start + size) for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)]
    return order[: sizes[0]], in_slots, cuts


def _outline(table: Surfaces, views: Views, rows: Indices) -> tuple[Numbers, Numbers, Flags]:
    """Points x / z, y / z whose rectangle encloses each row's box in the picture, [20, r], and which of them count: its
    corners in front of the camera, and where its borders come nearer than `NEAREST`."""
    scene = table.scene[rows]
    half, turn = table.half[:, rows], table.turn[:, rows]
    centre = table.centre[:, rows] - views.place[:, scene]
    corners = [
        c + each for c, each in zip(centre, turned_back(CORNERS.T[:, :, None] * half[:, None], turn), strict=True)
    ]
    x, y, z = (
        axis[0] * corners[0] + axis[1] * corners[1] + axis[2] * corners[2]
        for axis in (views.right[:, scene], views.down[:, scene], views.ahead[:, scene])
    )
    a, b = (list(ends) for ends in zip(*BORDERS, strict=True))
    crosses = (z[a] < NEAREST) != (z[b] < NEAREST)
    share = np.where(crosses, (NEAREST - z[a]) / np.where(crosses, z[b] - z[a], 1), 0)
    cut_x, cut_y = (each[a] + share * (each[b] - each[a]) for each in (x, y))
    there = z >= NEAREST
    safe = np.where(there, z, 1)
    return (
        np.concatenate([x / safe, cut_x / NEAREST]),
        np.concatenate([y / safe, cut_y / NEAREST]),
        np.concatenate([there, crosses]),
    )


def _casting(table: Surfaces, pictures: int) -> Indices:
    """The rows of the parts that throw shadows, [n, most, 1]: a line per picture, filled up with -1."""
    rows = np.flatnonzero(table.casts)
    scene = table.scene[rows]
    count = np.bincount(scene, minlength=pictures)
    place = np.arange(len(rows)) - (np.cumsum(count) - count)[scene]
    out = np.full((pictures, max(count.max(), 1), 1), -1)
    out[scene, place, 0] = rows
    return out
