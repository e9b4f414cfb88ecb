"""What a scene is made of: a room, parts, materials, lamps and a camera, as plain data.

World axes: x and y along the floor, z up, in metres; the room fills 0..x, 0..y, 0..z of its size.
"""

from enum import IntEnum
from typing import NamedTuple

Triple = tuple[float, float, float]


class Kind(IntEnum):
    """What a pixel can show: the classes of the segmentation."""

    WALL = 0
    FLOOR = 1
    CEILING = 2
    OPENING = 3
    PICTURE = 4
    TABLE = 5
    CUPBOARD = 6
    BED = 7
    SEAT = 8
    LAMP = 9
    THING = 10


KINDS = tuple(kind.name.lower() for kind in Kind)


class Shape(IntEnum):
    """The form of a part. A part of any form is convex."""

    BOX = 0
    CYLINDER = 1
    BALL = 2


class Pattern(IntEnum):
    """How two colours lie on a surface (see `patterns`)."""

    PLAIN = 0
    PLANKS = 1
    TILES = 2
    CHECKS = 3
    STRIPES = 4
    CARPET = 5
    BOOKS = 6
    PAINTING = 7
    WINDOW = 8


class Material(NamedTuple):
    """The look of a surface.

    Args:
        colour: red, green, blue, the share of light that comes back, 0..1.
        second: the other colour of the pattern.
        pattern: how the two colours lie.
        period: after how many metres the pattern comes again.
        salt: a whole number that makes the pattern's random numbers differ.
        glow: light that the surface gives by itself, as a multiple of its colour.
    """

    colour: Triple
    second: Triple = (0.0, 0.0, 0.0)
    pattern: Pattern = Pattern.PLAIN
    period: float = 1.0
    salt: int = 0
    glow: float = 0.0


class Part(NamedTuple):
    """A box, an upright cylinder or a ball.

    Args:
        shape: the form.
        centre: its middle.
        half: half the edges of a box; (radius, radius, half the height) of a cylinder; three times a ball's radius.
        material: its look.
        kind: its class.
        thing: the object that the part belongs to, a whole number from 1: parts of one table share it.
        turn: (cosine, sine) of the angle by which a box is turned about the vertical, from x to y.
        casts: whether it throws shadows; what surrounds a lamp's light does not.
    """

    shape: Shape
    centre: Triple
    half: Triple
    material: Material
    kind: Kind
    thing: int = 1
    turn: tuple[float, float] = (1.0, 0.0)
    casts: bool = True


class Camera(NamedTuple):
    """Where the picture is taken from.

    Args:
        place: of the eye, inside the room and outside every part.
        yaw: of the line of sight about the vertical, from x to y, radians.
        pitch: of the line of sight above the horizon, radians.
        roll: about the line of sight, radians.
        view: the angle between the left and the right border (upper and lower one in upright pictures), radians.
    """

    place: Triple
    yaw: float
    pitch: float = 0.0
    roll: float = 0.0
    view: float = 1.1


class Light(NamedTuple):
    """A lamp: a point that shines equally in all directions."""

    place: Triple
    colour: Triple = (1.0, 1.0, 1.0)


class Scene(NamedTuple):
    """Everything that a picture is made from.

    Args:
        room: the size of the room along x, y and z.
        faces: the looks of the walls x = 0, x = room x, y = 0, y = room y, of the floor and of the ceiling.
        parts: what stands and hangs in it.
        camera: where it is seen from.
        lights: one or two lamps.
        ambient: the light that comes from everywhere, red, green, blue.
        grain: what draws the camera's noise, a whole number.
    """

    room: Triple
    faces: tuple[Material, ...]
    parts: tuple[Part, ...]
    camera: Camera
    lights: tuple[Light, ...]
    ambient: Triple = (0.3, 0.3, 0.3)
    grain: int = 0
