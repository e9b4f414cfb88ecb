"""Scenes as columns of numbers: a row per surface, so that a pixel needs to know one number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polytask.problems.rooms.scene import Camera, Kind, Light, Material, Part, Scene, Shape

Numbers = NDArray[Any]  # float32 throughout
Wholes = NDArray[np.int32]

FACES = (Kind.WALL, Kind.WALL, Kind.WALL, Kind.WALL, Kind.FLOOR, Kind.CEILING)
DARK = Light((-1.0, -1.0, -1.0), (0.0, 0.0, 0.0))
ROOM = len(Shape)  # the "shape" of a face of the room in `Surfaces.shape`


@dataclass(frozen=True)
class Surfaces:
    """All surfaces of n scenes, r rows: the six faces of a room, then its parts, then those of the next scene.

    A face of a room has the centre and the half edges of the room.
    """

    first: Wholes  # [n]: the row of the scene's first face
    scene: Wholes  # [r]
    shape: Wholes  # [r]: a Shape, or ROOM
    centre: Numbers  # [3, r]
    half: Numbers  # [3, r]
    turn: Numbers  # [2, r]: cosine, sine
    kind: Wholes  # [r]
    thing: Wholes  # [r]: object in its scene; the faces of the room are -6 to -1
    casts: NDArray[np.bool_]  # [r]
    colour: Numbers  # [3, r]
    second: Numbers  # [3, r]
    pattern: Wholes  # [r]
    period: Numbers  # [r]
    salt: NDArray[np.uint32]  # [r]
    glow: Numbers  # [r]


@dataclass(frozen=True)
class Views:
    """Cameras, lamps and rooms of n scenes."""

    place: Numbers  # [3, n]
    right: Numbers  # [3, n]: the camera's x axis in the world
    down: Numbers  # [3, n]: its y axis
    ahead: Numbers  # [3, n]: its z axis
    slope: Numbers  # [n]: tangent of half the angle of view
    room: Numbers  # [3, n]
    ambient: Numbers  # [3, n]
    lamps: tuple[Numbers, ...]  # place of the first, the second ... lamp, [3, n]
    lamp_colours: tuple[Numbers, ...]  # [3, n]; 0 where a scene has no such lamp


def surfaces(scenes: Sequence[Scene]) -> Surfaces:
    """The rows of all scenes."""
    rows: list[tuple[float, ...]] = []
    first: list[int] = []
    for number, scene in enumerate(scenes):
        first.append(len(rows))
        middle = tuple(each / 2 for each in scene.room)
        for face, (kind, look) in enumerate(zip(FACES, scene.faces, strict=True)):
            rows.append((number, ROOM, *middle, *middle, 1.0, 0.0, kind, face - 6, False, *_look(look)))
        rows += [(number, *_place(part), *_look(part.material)) for part in scene.parts]
    table = np.array(rows, np.float64).T.copy()
    numbers, wholes = table.astype(np.float32), table.astype(np.int32)
    return Surfaces(
        first=np.array(first, np.int32),
        scene=wholes[0],
        shape=wholes[1],
        centre=numbers[2:5],
        half=numbers[5:8],
        turn=numbers[8:10],
        kind=wholes[10],
        thing=wholes[11],
        casts=wholes[12] > 0,
        colour=numbers[13:16],
        second=numbers[16:19],
        pattern=wholes[19],
        period=numbers[20],
        salt=wholes[21].view(np.uint32),
        glow=numbers[22],
    )


def views(scenes: Sequence[Scene]) -> Views:
    """The cameras, lamps and rooms of all scenes."""
    axes = [camera_axes(scene.camera) for scene in scenes]
    most = max(len(scene.lights) for scene in scenes)
    lamps, colours = [], []
    for number in range(most):
        mine = [scene.lights[number] if number < len(scene.lights) else DARK for scene in scenes]
        lamps.append(_columns([each.place for each in mine]))
        colours.append(_columns([each.colour for each in mine]))
    return Views(
        place=_columns([scene.camera.place for scene in scenes]),
        right=_columns([right for right, _, _ in axes]),
        down=_columns([down for _, down, _ in axes]),
        ahead=_columns([ahead for _, _, ahead in axes]),
        slope=np.array([math.tan(scene.camera.view / 2) for scene in scenes], np.float32),
        room=_columns([scene.room for scene in scenes]),
        ambient=_columns([scene.ambient for scene in scenes]),
        lamps=tuple(lamps),
        lamp_colours=tuple(colours),
    )


def camera_axes(camera: Camera) -> tuple[tuple[float, ...], ...]:
    """The camera's axes x (right), y (down), z (ahead) in the world.

    >>> [[round(each) for each in axis] for axis in camera_axes(Camera((0, 0, 1), yaw=0.0))]
    [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    """
    cos, sin = math.cos(camera.yaw), math.sin(camera.yaw)
    level, rise = math.cos(camera.pitch), math.sin(camera.pitch)
    ahead = (level * cos, level * sin, rise)
    right, down = (sin, -cos, 0.0), (rise * cos, rise * sin, -level)
    c, s = math.cos(camera.roll), math.sin(camera.roll)
    turned_right = tuple(c * x + s * y for x, y in zip(right, down, strict=True))
    turned_down = tuple(c * y - s * x for x, y in zip(right, down, strict=True))
    return turned_right, turned_down, ahead


def _place(part: Part) -> tuple[float, ...]:
    return (part.shape, *part.centre, *part.half, *part.turn, part.kind, part.thing, part.casts)


def _look(look: Material) -> tuple[float, ...]:
    return (*look.colour, *look.second, look.pattern, look.period, look.salt, look.glow)


def _columns(rows: Sequence[Sequence[float]]) -> Numbers:
    return np.array(rows, np.float32).T.copy()
