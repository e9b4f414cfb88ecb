"""A furnished room from two whole numbers."""

import math

from polytask.problems.rooms import colours, furniture, lamps, storage, things
from polytask.problems.rooms.colours import Palette
from polytask.problems.rooms.draw import Draw
from polytask.problems.rooms.layout import Layout
from polytask.problems.rooms.scene import Camera, Light, Material, Scene, Triple

SETS = (
    (furniture.bed, storage.bedside, storage.wardrobe, storage.chest),
    (furniture.sofa, storage.shelf, storage.sideboard, furniture.armchair),
    (storage.sideboard, storage.shelf, furniture.desk),
    (furniture.desk, storage.shelf, storage.chest, furniture.sofa),
    (furniture.bed, furniture.desk, storage.shelf, storage.wardrobe),
)
ANYWHERE = (furniture.low_table, furniture.armchair, furniture.stool, furniture.chair)
ON_FLOOR = (things.ball, things.ball, things.bin_, things.crates, things.plant)
ON_TOP = (lamps.table_lamp, lamps.table_lamp, things.screen, things.crates)


def scene(seed: int, number: int) -> Scene:
    """Scene `number` of a seed: a pure function of the two.

    A room of 3 to 5.5 by 3 to 5.5 metres with doors, windows and pictures on its walls; a bed, sofas, cupboards or
    desks along them, tables with chairs, small things on the floor and on furniture; one or two lamps, and a camera
    that looks across the room at the height of a person's eyes or, once in four, of a robot's.
    """
    draw = Draw(seed, number)
    room = (draw.between(3.0, 5.5), draw.between(3.0, 5.5), draw.between(2.35, 2.9))
    camera = _camera(draw, room)
    looks, layout = colours.palette(draw), Layout(draw, room, camera)
    daylight = _openings(draw, looks, layout)
    _furnish(draw, looks, layout)
    lights = _lamps(draw, looks, layout, bool(daylight)) + daylight
    for top in layout.tops:
        if draw.happens(0.45):
            layout.on(top, draw.one_of(ON_TOP)(draw, looks))
    for _ in range(draw.whole(1, 4)):
        layout.hang(things.picture(draw, looks), draw.between(1.45, 1.75))
    faces = _faces(draw)
    base = draw.between(0.15, 0.4)
    red, green, blue = (base * (0.7 + 0.3 * each) for each in faces[0].colour)
    ambient = (red, green, blue)
    return Scene(room, faces, tuple(layout.parts), camera, tuple(lights[:2]), ambient, draw.whole(0, 2**52))


def _camera(draw: Draw, room: Triple) -> Camera:
    """Looks at a point around the middle of the room; of four places the one farthest from it."""
    aim = [each * draw.between(0.4, 0.6) for each in room[:2]]
    places = [[draw.between(0.35, each - 0.35) for each in room[:2]] for _ in range(4)]
    x, y = max(places, key=lambda place: math.dist(place, aim))
    low = draw.happens(0.25)
    return Camera(
        place=(x, y, draw.between(0.5, 0.9) if low else draw.between(1.3, 1.75)),
        yaw=math.atan2(aim[1] - y, aim[0] - x) + draw.between(-0.15, 0.15),
        pitch=draw.between(-0.12, 0.1) if low else draw.between(-0.38, -0.08),
        roll=draw.between(-0.03, 0.03),
        view=draw.between(1.05, 1.35),
    )


def _faces(draw: Draw) -> tuple[Material, ...]:
    """Four walls, of one look or of two, the floor and the ceiling."""
    papered = colours.wall(draw)
    other = colours.wall(draw) if draw.happens(0.25) else papered
    walls = [other if draw.happens(0.35) else papered for _ in range(4)]
    return (*walls, colours.floor(draw), colours.ceiling(draw))


def _openings(draw: Draw, looks: Palette, layout: Layout) -> list[Light]:
    """At most one door and two windows; the light that comes in by day."""
    if draw.happens(0.7):
        layout.hang(things.door(draw, looks), 0.0, free=0.8)
    day, lights = draw.happens(0.6), []
    for _ in range(draw.whole(0, 2)):
        spot = layout.hang(things.window(draw, looks, day), draw.between(1.4, 1.6))
        bright = draw.between(0.9, 1.6)
        if spot and day:
            lights.append(Light((*spot, 1.6), (0.88 * bright, 0.95 * bright, bright)))
    return lights


def _furnish(draw: Draw, looks: Palette, layout: Layout) -> None:
    """From the largest to the smallest."""
    for make in draw.one_of(SETS):
        layout.at_wall(make(draw, looks))
    if draw.happens(0.6):
        _dining(draw, looks, layout)
    if draw.happens(0.5):
        layout.lie(things.rug(draw))
    for _ in range(draw.whole(1, 3)):
        layout.at_wall(draw.one_of(draw.one_of(SETS))(draw, looks))
    for _ in range(draw.whole(1, 3)):
        layout.anywhere(draw.one_of(ANYWHERE)(draw, looks))
    for _ in range(draw.whole(1, 3)):
        layout.anywhere(draw.one_of(ON_FLOOR)(draw, looks))


def _dining(draw: Draw, looks: Palette, layout: Layout) -> None:
    """A table with chairs at its sides, their backs away from it."""
    table, chair = furniture.table(draw, looks), furniture.chair(draw, looks)
    angle = draw.one_of((0.0, math.pi / 2)) + draw.one_of((0.0, draw.between(-0.4, 0.4)))
    spot = layout.anywhere(table, angle, around=0.3)
    if spot:
        cos, sin = math.cos(angle), math.sin(angle)
        for along, side in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            if draw.happens(0.75):
                reach = (table.depth if side else table.width) / 2 + draw.between(0.0, 0.15)
                x, y = along * reach, side * reach
                turn = angle + math.atan2(-along, side) + draw.between(-0.2, 0.2)
                layout.beside(chair, (spot[0] + cos * x - sin * y, spot[1] + sin * x + cos * y), turn)


def _lamps(draw: Draw, looks: Palette, layout: Layout, daylight: bool) -> list[Light]:
    """One at the ceiling, sometimes one on the floor; the light of those that burn, one at least without daylight."""
    burns, drop = draw.happens(0.75) or not daylight, draw.between(0.2, 0.5)
    bright = draw.between(1.0, 1.8)
    warm = (bright, bright * draw.between(0.85, 1), bright * draw.between(0.65, 0.95))
    spot, height = tuple(each * draw.between(0.35, 0.65) for each in layout.room[:2]), layout.room[2] - drop
    layout.place(lamps.ceiling_lamp(draw, looks, burns, drop), (spot[0], spot[1]), height, (1.0, 0.0))
    lights = [Light((spot[0], spot[1], height), warm)] if burns else []
    if draw.happens(0.5):
        too = draw.happens(0.5)
        lamp = lamps.floor_lamp(draw, looks, too)
        at = layout.at_wall(lamp)
        if at and too:
            lights.append(Light((*at, lamp.height - lamps.BULB), warm))
    return lights
