"""Cupboards, chests of drawers and shelves."""

from polytask.problems.rooms.colours import SALTS, Palette
from polytask.problems.rooms.draw import Draw
from polytask.problems.rooms.piece import Piece
from polytask.problems.rooms.scene import Kind, Material, Pattern

KNOB = Material((0.5, 0.5, 0.48))


def wardrobe(draw: Draw, looks: Palette) -> Piece:
    """As high as a person, with doors side by side."""
    doors = draw.whole(2, 4)
    return _with_fronts(draw, looks, doors * draw.between(0.4, 0.55), draw.between(1.75, 2.15), doors, 1)


def chest(draw: Draw, looks: Palette) -> Piece:
    """As high as a hip, with drawers."""
    return _with_fronts(draw, looks, draw.between(0.6, 1.3), draw.between(0.7, 1.0), draw.whole(1, 2), draw.whole(2, 4))


def sideboard(draw: Draw, looks: Palette) -> Piece:
    """Long and low, with doors."""
    doors = draw.whole(2, 4)
    return _with_fronts(draw, looks, doors * draw.between(0.4, 0.5), draw.between(0.45, 0.8), doors, draw.whole(1, 2))


def bedside(draw: Draw, looks: Palette) -> Piece:
    """For the side of a bed."""
    return _with_fronts(draw, looks, draw.between(0.35, 0.5), draw.between(0.4, 0.6), 1, 2)


def shelf(draw: Draw, looks: Palette) -> Piece:
    """Boards with books, open to the front, with or without a back."""
    look = draw.one_of(looks.hard)
    width, depth = draw.between(0.6, 1.3), draw.between(0.25, 0.36)
    gap, levels = draw.between(0.3, 0.4), draw.whole(2, 5)
    height = gap * levels + 0.08
    piece = Piece(Kind.CUPBOARD, width, depth)
    for x in (-width / 2 + 0.0125, width / 2 - 0.0125):
        piece.block(x, 0, 0, 0.025, depth, height, look)
    if draw.happens(0.7):
        piece.block(0, depth / 2 - 0.006, 0.02, width - 0.02, 0.01, height - 0.03, look)
    for level in range(levels + 1):
        piece.block(0, -0.003, 0.04 + gap * level, width - 0.04, depth - 0.02, 0.02, look)
    for level in range(levels):
        if draw.happens(0.75):
            _books(draw, piece, width - 0.07, depth, 0.06 + gap * level, gap - 0.07)
    return piece


def _books(draw: Draw, piece: Piece, width: float, depth: float, low: float, height: float) -> None:
    """A row of books that fills a part of the board."""
    filled = width * draw.between(0.3, 1.0)
    x = draw.between(-1, 1) * (width - filled) / 2
    behind = Material((0.1, 0.1, 0.1), (0.12, 0.1, 0.09), Pattern.BOOKS, draw.between(0.06, 0.12), draw.whole(0, SALTS))
    piece.block(x, 0.02, low, filled, depth - 0.1, height, behind)


def _with_fronts(draw: Draw, looks: Palette, width: float, height: float, across: int, down: int) -> Piece:
    """A body with across x down doors or drawers, each with a knob."""
    body = draw.one_of(looks.hard)
    front = draw.one_of(looks.hard) if draw.happens(0.4) else body
    depth, foot = draw.between(0.35, 0.6), draw.one_of((0.0, 0.05, 0.12))
    piece = Piece(Kind.CUPBOARD, width, depth)
    if foot > 0.1:
        piece.legs(width - 0.04, depth - 0.06, foot, 0.05, body, draw.happens(0.5))
    piece.block(0, 0.01, foot, width, depth - 0.02, height - foot, body)
    wide, high = (width - 0.02) / across, (height - foot - 0.04) / down
    for row in range(down):
        for column in range(across):
            x, low = (column + 0.5) * wide - (width - 0.02) / 2, foot + 0.02 + row * high
            piece.block(x, -depth / 2 + 0.01, low, wide - 0.012, 0.02, high - 0.012, front)
            piece.block(x + (down < 2) * wide * 0.36, -depth / 2 - 0.01, low + high / 2, 0.03, 0.02, 0.03, KNOB)
    return piece
