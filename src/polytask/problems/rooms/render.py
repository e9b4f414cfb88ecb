"""Scenes to pictures, with everything that is known of their pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from polytask.problems.rooms.cast import cast, pixel_rays
from polytask.problems.rooms.cull import SIDE, Grid
from polytask.problems.rooms.edges import edges
from polytask.problems.rooms.light import radiance
from polytask.problems.rooms.scene import Scene
from polytask.problems.rooms.sensor import photograph
from polytask.problems.rooms.spots import spots
from polytask.problems.rooms.tables import Numbers, Views, surfaces, views


@dataclass(frozen=True)
class Rendering:
    """n pictures of h x w pixels, and what they show.

    Camera axes: x to the right, y down, z along the line of sight.
    """

    image: NDArray[np.uint8]  # [n, 3, h, w]
    kind: NDArray[np.int8]  # [n, h, w]: a Kind
    thing: NDArray[np.int16]  # [n, h, w]: which object of the scene; walls -6 to -3, floor -2, ceiling -1
    depth: Numbers  # [n, h, w]: metres along the camera's z axis
    normal: Numbers  # [n, 3, h, w]: unit vectors in camera axes, on the side that is seen: normal . ray < 0
    edge: NDArray[np.bool_]  # [n, h, w]: see `edges`


def render(scenes: Sequence[Scene], height: int, width: int) -> Rendering:
    """Pictures of the scenes by ray casting, one ray through the middle of every pixel.

    The picture of a scene does not depend on the other scenes. Depth, normals and classes are those of the ray's hit;
    the colours are softened and made noisy as by a camera (`photograph`).

    Cost: 2 to 3 ms of one core per scene at 64 x 64, four times as much at 128 x 128.
    """
    table, camera, grid = surfaces(scenes), views(scenes), Grid(len(scenes), height, width)
    rays = pixel_rays(camera, grid)
    hits = cast(table, camera, grid, rays)
    found = spots(table, camera, grid, rays, hits)
    light = radiance(table, camera, grid, rays, hits, found)
    normal = _in_camera(camera, grid, [each.reshape(hits.depth.shape) for each in found.normal])
    depth, thing = pictures(hits.depth, grid), pictures(np.take(table.thing, hits.row), grid)
    point = np.stack([pictures(rays.x, grid) * depth, pictures(rays.y, grid) * depth, depth], 1)
    return Rendering(
        image=photograph(pictures(light, grid), [scene.grain for scene in scenes]),
        kind=pictures(np.take(table.kind, hits.row), grid).astype(np.int8),
        thing=thing.astype(np.int16),
        depth=depth,
        normal=normal,
        edge=edges(thing, depth, normal, point),
    )


def pictures(values: Numbers, grid: Grid) -> Numbers:
    """From [..., p, t], tile by tile, to [n, ..., h, w]."""
    front = values.shape[:-2]
    split = values.reshape(*front, SIDE, SIDE, grid.pictures, grid.down, grid.across)
    k = len(front)
    moved = split.transpose(k + 2, *range(k), k + 3, k, k + 4, k + 1)
    joined = moved.reshape(grid.pictures, *front, grid.down * SIDE, grid.across * SIDE)
    return np.ascontiguousarray(joined[..., : grid.height, : grid.width])


def joined(parts: Sequence[Rendering]) -> Rendering:
    """Several renderings as one."""
    return Rendering(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Rendering)))


def _in_camera(camera: Views, grid: Grid, normal: Sequence[Numbers]) -> Numbers:
    axes = (each[:, grid.scene] for each in (camera.right, camera.down, camera.ahead))
    turned = [axis[0] * normal[0] + axis[1] * normal[1] + axis[2] * normal[2] for axis in axes]
    return pictures(np.stack(turned), grid)
