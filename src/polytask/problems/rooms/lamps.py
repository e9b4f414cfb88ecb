"""Lamps. What surrounds a light lets it through: shades throw no shadows."""

from colorsys import hsv_to_rgb

from polytask.problems.rooms.colours import SALTS, Palette
from polytask.problems.rooms.draw import Draw
from polytask.problems.rooms.piece import Piece
from polytask.problems.rooms.scene import Kind, Material

GLOW = 1.6  # of the shade of a burning lamp
BULB = 0.13  # metres from the top of a floor lamp to its light


def shade(draw: Draw, burns: bool) -> Material:
    """Paper or cloth around a lamp."""
    colour = hsv_to_rgb(draw.between(0.02, 0.2), draw.between(0, 0.45), draw.between(0.6, 0.95))
    return Material(colour, salt=draw.whole(0, SALTS), glow=GLOW if burns else 0.0)


def floor_lamp(draw: Draw, looks: Palette, burns: bool) -> Piece:
    """A shade on a pole."""
    look, radius, top = draw.one_of(looks.hard), draw.between(0.14, 0.24), draw.between(1.35, 1.75)
    piece = Piece(Kind.LAMP, 2 * radius, 2 * radius)
    piece.rod(0, 0, 0, 0.14, 0.025, look)
    piece.rod(0, 0, 0.025, 0.015, top - 0.2, look)
    if draw.happens(0.6):
        piece.rod(0, 0, top - 0.3, radius, 0.3, shade(draw, burns), casts=False)
    else:
        piece.globe(0, 0, top - 2 * radius, radius, shade(draw, burns), casts=False)
    return piece


def table_lamp(draw: Draw, looks: Palette) -> Piece:
    """A small one, on a table or a cupboard; it does not burn."""
    look, radius, top = draw.one_of((*looks.hard, *looks.soft)), draw.between(0.09, 0.15), draw.between(0.3, 0.5)
    piece = Piece(Kind.LAMP, 2 * radius, 2 * radius)
    if draw.happens(0.5):
        piece.globe(0, 0, 0, top * 0.25, look)
    piece.rod(0, 0, 0, 0.06, 0.02, look)
    piece.rod(0, 0, 0.02, 0.012, top * 0.6, look)
    piece.rod(0, 0, top * 0.55, radius, top * 0.45, shade(draw, False))
    return piece


def ceiling_lamp(draw: Draw, looks: Palette, burns: bool, drop: float) -> Piece:
    """Hangs `drop` metres below the ceiling; z = 0 is the middle of its shade."""
    radius, look = draw.between(0.12, 0.22), shade(draw, burns)
    piece = Piece(Kind.LAMP, 2 * radius, 2 * radius)
    if draw.happens(0.5):
        piece.globe(0, 0, -radius, radius, look, casts=False)
    else:
        piece.rod(0, 0, -0.09, radius * 1.2, 0.18, look, casts=False)
    piece.rod(0, 0, 0.05, 0.012, drop - 0.05, draw.one_of(looks.hard), casts=False)
    return piece
