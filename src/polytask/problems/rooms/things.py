"""Things on the floor and on tables, and what hangs on walls."""

from colorsys import hsv_to_rgb

from polytask.problems.rooms.colours import SALTS, Palette, cloth, thing, wood
from polytask.problems.rooms.draw import Draw
from polytask.problems.rooms.piece import Piece
from polytask.problems.rooms.scene import Kind, Material, Pattern


def ball(draw: Draw, looks: Palette) -> Piece:
    """On the floor."""
    radius = draw.between(0.09, 0.3)
    piece = Piece(Kind.THING, 2 * radius, 2 * radius)
    piece.globe(0, 0, 0, radius, thing(draw))
    return piece


def bin_(draw: Draw, looks: Palette) -> Piece:
    """A round bin."""
    radius = draw.between(0.11, 0.2)
    piece = Piece(Kind.THING, 2 * radius, 2 * radius)
    piece.rod(0, 0, 0, radius, draw.between(0.25, 0.5), thing(draw))
    return piece


def crates(draw: Draw, looks: Palette) -> Piece:
    """One crate, or two on each other."""
    wide, deep, high = draw.between(0.25, 0.5), draw.between(0.25, 0.4), draw.between(0.2, 0.4)
    piece = Piece(Kind.THING, wide, deep)
    piece.block(0, 0, 0, wide, deep, high, draw.one_of((thing(draw), wood(draw))))
    if draw.happens(0.35):
        piece.block(0.02, 0.01, high, wide * 0.8, deep * 0.8, high * draw.between(0.5, 0.9), thing(draw))
    return piece


def plant(draw: Draw, looks: Palette) -> Piece:
    """Leaves in a pot."""
    radius, pot = draw.between(0.12, 0.2), draw.between(0.2, 0.35)
    piece = Piece(Kind.THING, 2.6 * radius, 2.6 * radius)
    piece.rod(0, 0, 0, radius, pot, thing(draw))
    hue, grey, bright = draw.between(0.2, 0.4), draw.between(0.3, 0.7), draw.between(0.25, 0.6)
    green, dark = hsv_to_rgb(hue, grey, bright), hsv_to_rgb(hue, grey, bright / 2)
    leaves = Material(green, dark, Pattern.CARPET, 0.1, draw.whole(0, SALTS))
    low = pot
    for size in (1.1, 1.25, 0.9)[: draw.whole(1, 3)]:
        x, y = draw.between(-0.3, 0.3) * radius, draw.between(-0.3, 0.3) * radius
        piece.globe(x, y, low - 0.05, radius * size, leaves)
        low += radius * size * 1.2
    return piece


def screen(draw: Draw, looks: Palette) -> Piece:
    """A monitor or television on a foot, its picture to the front."""
    width = draw.between(0.45, 0.9)
    dark = Material((0.06, 0.06, 0.07), salt=draw.whole(0, SALTS), glow=draw.one_of((0.0, 2.0)))
    piece = Piece(Kind.THING, width, 0.2)
    piece.block(0, 0, 0, 0.25, 0.16, 0.02, dark)
    piece.block(0, 0, 0.02, 0.05, 0.04, 0.1, dark)
    piece.block(0, -0.03, 0.08, width, 0.04, width * 0.58, dark)
    return piece


def rug(draw: Draw) -> Piece:
    """Lies on the floor and belongs to it."""
    piece = Piece(Kind.FLOOR, draw.between(1.2, 2.4), draw.between(0.8, 1.7))
    piece.block(0, 0, 0, piece.width, piece.depth, 0.012, cloth(draw))
    return piece


def picture(draw: Draw, looks: Palette) -> Piece:
    """Hangs with its back, y = 0, on the wall; z = 0 is its middle."""
    width, height = draw.between(0.3, 1.1), draw.between(0.3, 0.85)
    frame = draw.one_of(looks.hard).colour
    look = Material(frame, frame, Pattern.PAINTING, draw.between(0.015, 0.05), draw.whole(0, SALTS))
    piece = Piece(Kind.PICTURE, width, 0.05)
    piece.block(0, -0.0125, -height / 2, width, 0.025, height, look)
    return piece


def window(draw: Draw, looks: Palette, day: bool) -> Piece:
    """With a sill, and sometimes curtains; z = 0 is its middle."""
    width, height = draw.between(0.7, 1.9), draw.between(0.9, 1.35)
    sky = hsv_to_rgb(draw.between(0.52, 0.64), draw.between(0.15, 0.6), draw.between(0.75, 0.98) if day else 0.1)
    white = hsv_to_rgb(draw.unit(), draw.between(0, 0.15), draw.between(0.6, 0.95))
    panes = Material(sky, white, Pattern.WINDOW, draw.between(0.4, 0.7), draw.whole(0, SALTS), 1.1 if day else 0.0)
    piece = Piece(Kind.OPENING, width, 0.12)
    piece.block(0, -0.02, -height / 2, width, 0.04, height, panes)
    frame = Material(white)
    piece.block(0, -0.06, -height / 2 - 0.03, width + 0.1, 0.12, 0.03, frame)
    if draw.happens(0.4):
        drape, wide, below = cloth(draw), draw.between(0.2, 0.4), draw.between(0.1, 0.6)
        for x in (-(width + wide) / 2 + 0.03, (width + wide) / 2 - 0.03):
            piece.block(x, -0.1, -height / 2 - below, wide, 0.07, height + below + 0.06, drape)
        piece.width = width + 2 * wide
    return piece


def door(draw: Draw, looks: Palette) -> Piece:
    """With a frame and a handle; it stands on the floor."""
    width, height = draw.between(0.75, 0.95), draw.between(1.95, 2.1)
    look = draw.one_of(looks.hard)
    frame = draw.one_of(looks.hard)
    piece = Piece(Kind.OPENING, width + 0.16, 0.06)
    piece.block(0, -0.015, 0, width, 0.03, height, look)
    for x in (-(width + 0.08) / 2, (width + 0.08) / 2):
        piece.block(x, -0.025, 0, 0.08, 0.05, height + 0.08, frame)
    piece.block(0, -0.025, height, width, 0.05, 0.08, frame)
    if draw.happens(0.6):
        for low in (0.2, height / 2 + 0.05):
            piece.block(0, -0.033, low, width * 0.66, 0.012, height / 2 - 0.25, look)
    piece.block(width * 0.4, -0.06, 1.0, 0.1, 0.03, 0.025, Material((0.55, 0.54, 0.5)))
    return piece
