"""How bright and of which colour a surface looks."""

import numpy as np

from polytask.problems.rooms.cast import Hits, Rays, reached
from polytask.problems.rooms.cull import Grid
from polytask.problems.rooms.patterns import PATTERNS
from polytask.problems.rooms.scene import Kind
from polytask.problems.rooms.spots import Spots
from polytask.problems.rooms.tables import ROOM, Numbers, Surfaces, Views
from polytask.problems.rooms.textures import Surface

REACH = 2.5  # metres from a lamp at which its light has fallen to a half
CORNER = 0.2  # metres from a wall at which half of the shade in corners is gone
SHADE = 0.4  # of the ambient light, in a corner
SKIRTING = 0.08  # metres: height of the white board at the foot of the walls
PAINT = np.array([[0.82], [0.8], [0.76]], np.float32)  # of that board


def radiance(table: Surfaces, views: Views, grid: Grid, rays: Rays, hits: Hits, spots: Spots) -> Numbers:
    r"""Red, green, blue of every pixel, [3, p, t]: colour * (ambient + sum of lamps + glow).

    A lamp at distance r whose light comes from direction l gives max(n . l, 0) / (1 + (r / 2.5 m)^2), and nothing where
    another part is in between. The ambient light is a little brighter from above, and dimmer in the room's corners.
    """
    shape = hits.depth.shape
    normal = [each.reshape(shape) for each in spots.normal]
    around = _around(views, grid, hits, normal)
    light = [around * each for each in views.ambient[:, grid.scene]]
    for place, colour in zip(views.lamps, views.lamp_colours, strict=True):
        lamp = place[:, grid.scene]
        way = [o - p for o, p in zip(lamp, hits.point, strict=True)]
        square = way[0] * way[0] + way[1] * way[1] + way[2] * way[2]
        facing = normal[0] * way[0] + normal[1] * way[1] + normal[2] * way[2]
        free = reached(table, grid, hits, lamp, (facing > 0) & (colour.max(0) > 0)[grid.scene])
        strength = facing * free / (np.sqrt(square) * (1 + square / (REACH * REACH)))
        for channel, tint in zip(light, colour[:, grid.scene], strict=True):
            channel += strength * tint
    glow = np.take(table.glow, hits.row)
    colours = _colours(table, hits, spots, _pixel(views, grid, rays, hits, normal).ravel())
    return np.stack([each.reshape(shape) * (channel + glow) for each, channel in zip(colours, light, strict=True)])


def _around(views: Views, grid: Grid, hits: Hits, normal: list[Numbers]) -> Numbers:
    """The share of the ambient light that comes to each point."""
    share = 0.9 + 0.1 * normal[2]
    for end, place, n in zip(views.room[:, grid.scene], hits.point, normal, strict=True):
        apart = np.minimum(place, end - place) / CORNER
        share *= 1 - SHADE * (1 - n * n) / (1 + apart * apart)
    return share


def _pixel(views: Views, grid: Grid, rays: Rays, hits: Hits, normal: list[Numbers]) -> Numbers:
    """The size of each pixel on the surface, in metres: depth / focal length / cosine to the surface."""
    x, y, z = rays.world
    length = np.sqrt(x * x + y * y + z * z)
    cosine = np.abs(normal[0] * x + normal[1] * y + normal[2] * z) / length
    return hits.depth / grid.focal(views.slope)[grid.scene] / np.maximum(cosine, 0.05)


def _colours(table: Surfaces, hits: Hits, spots: Spots, pixel: Numbers) -> Numbers:
    """The share of light that each pixel's surface gives back, [3, m]."""
    row = hits.row.ravel()
    pattern = np.take(table.pattern, row)
    out = np.empty((3, len(row)), np.float32)
    for kind, coloured in PATTERNS.items():
        where = np.flatnonzero(pattern == kind)
        if len(where):
            part = row[where]
            look = Surface(
                *(np.take(each, where) for each in (spots.u, spots.v, spots.half_u, spots.half_v, pixel)),
                *(np.take(each, part, -1) for each in (table.colour, table.second, table.period, table.salt)),
            )
            out[:, where] = coloured(look)
    low = np.flatnonzero((spots.v + spots.half_v < SKIRTING) & (np.take(table.shape, row) == ROOM))
    low = low[np.take(table.kind, row[low]) == Kind.WALL]
    out[:, low] = PAINT
    return out
