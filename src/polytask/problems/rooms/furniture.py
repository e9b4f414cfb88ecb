"""Tables, seats and beds."""

from polytask.problems.rooms.colours import Palette
from polytask.problems.rooms.draw import Draw
from polytask.problems.rooms.piece import Piece
from polytask.problems.rooms.scene import Kind


def table(draw: Draw, looks: Palette) -> Piece:
    """A dining table, with corners or round."""
    top, stand = draw.one_of(looks.hard), draw.one_of(looks.hard)
    height, thick = draw.between(0.7, 0.78), draw.between(0.025, 0.05)
    if draw.happens(0.25):
        radius = draw.between(0.4, 0.65)
        piece = Piece(Kind.TABLE, 2 * radius, 2 * radius)
        piece.rod(0, 0, 0, radius * 0.55, 0.03, stand)
        piece.rod(0, 0, 0.03, draw.between(0.04, 0.08), height - thick - 0.03, stand)
        piece.rod(0, 0, height - thick, radius, thick, top)
        return piece
    return _with_legs(draw, looks, draw.between(1.0, 1.9), draw.between(0.65, 0.95), height)


def low_table(draw: Draw, looks: Palette) -> Piece:
    """A coffee table, sometimes with a board below."""
    piece = _with_legs(draw, looks, draw.between(0.6, 1.2), draw.between(0.45, 0.7), draw.between(0.35, 0.48))
    if draw.happens(0.4):
        piece.block(0, 0, 0.12, piece.width - 0.12, piece.depth - 0.12, 0.02, draw.one_of(looks.hard))
    return piece


def desk(draw: Draw, looks: Palette) -> Piece:
    """A table for the wall: on legs, on boards, or on a board and a chest of drawers."""
    width, depth, height = draw.between(1.0, 1.6), draw.between(0.5, 0.75), draw.between(0.7, 0.78)
    if draw.happens(0.4):
        return _with_legs(draw, looks, width, depth, height)
    look = draw.one_of(looks.hard)
    piece = Piece(Kind.TABLE, width, depth)
    piece.block(0, 0, height - 0.03, width, depth, 0.03, draw.one_of(looks.hard))
    piece.block(-width / 2 + 0.02, 0, 0, 0.03, depth - 0.04, height - 0.03, look)
    if draw.happens(0.5):
        piece.block(width / 2 - 0.22, 0.02, 0.02, 0.4, depth - 0.08, height - 0.05, look)
        for drawer in range(3):
            piece.block(width / 2 - 0.22, -depth / 2 + 0.05, 0.06 + 0.21 * drawer, 0.36, 0.03, 0.18, look)
    else:
        piece.block(width / 2 - 0.02, 0, 0, 0.03, depth - 0.04, height - 0.03, look)
        piece.block(0, depth / 2 - 0.05, 0.3, width - 0.07, 0.02, height - 0.34, look)
    return piece


def chair(draw: Draw, looks: Palette) -> Piece:
    """A chair for a table; its back is at +y."""
    look = draw.one_of(looks.hard)
    seat = draw.one_of(looks.soft) if draw.happens(0.4) else look
    wide, high, top = draw.between(0.4, 0.48), draw.between(0.43, 0.48), draw.between(0.82, 1.02)
    piece = Piece(Kind.SEAT, wide, wide)
    piece.legs(wide - 0.02, wide - 0.02, high - 0.04, draw.between(0.03, 0.045), look, draw.happens(0.3))
    piece.block(0, 0, high - 0.04, wide, wide, 0.05, seat)
    if draw.happens(0.5):
        piece.block(0, wide / 2 - 0.02, high + 0.08, wide - 0.04, 0.03, top - high - 0.08, seat)
    else:
        for x in (-wide / 2 + 0.02, wide / 2 - 0.02):
            piece.block(x, wide / 2 - 0.02, high + 0.01, 0.035, 0.035, top - high - 0.01, look)
        piece.block(0, wide / 2 - 0.02, top - 0.2, wide - 0.07, 0.02, 0.16, look)
    return piece


def stool(draw: Draw, looks: Palette) -> Piece:
    """A round stool on legs, or a round cushion on the floor."""
    radius, height = draw.between(0.15, 0.24), draw.between(0.38, 0.5)
    piece = Piece(Kind.SEAT, 2 * radius, 2 * radius)
    if draw.happens(0.5):
        piece.rod(0, 0, 0.01, radius * 1.1, height * 0.85, draw.one_of(looks.soft))
        return piece
    look = draw.one_of(looks.hard)
    piece.legs(radius * 1.5, radius * 1.5, height - 0.04, 0.03, look, True)
    piece.rod(0, 0, height - 0.04, radius, 0.05, draw.one_of((look, *looks.soft)))
    return piece


def sofa(draw: Draw, looks: Palette) -> Piece:
    """For two or three people."""
    return _padded(draw, looks, draw.whole(2, 3))


def armchair(draw: Draw, looks: Palette) -> Piece:
    """A sofa for one."""
    return _padded(draw, looks, 1)


def bed(draw: Draw, looks: Palette) -> Piece:
    """Single or double, with its head at +y."""
    double = draw.happens(0.5)
    width, length = (draw.between(1.4, 1.8) if double else draw.between(0.85, 1.05)), draw.between(1.95, 2.1)
    frame, sheet, cover = draw.one_of(looks.hard), draw.one_of(looks.soft), draw.one_of(looks.soft)
    low, thick = draw.between(0.12, 0.3), draw.between(0.15, 0.25)
    piece = Piece(Kind.BED, width, length)
    piece.legs(width - 0.02, length - 0.02, low, 0.07, frame, False)
    piece.block(0, 0, low - 0.06, width, length, 0.12, frame)
    piece.block(0, 0, low, width - 0.06, length - 0.06, thick, sheet)
    shown = draw.between(0.5, 0.8)
    piece.block(0, -length * (1 - shown) / 2, low + 0.07, width + 0.02, length * shown, thick - 0.03, cover)
    piece.block(0, length / 2 - 0.01, 0.1, width + 0.04, 0.04, draw.between(0.6, 1.1), frame)
    if draw.happens(0.3):
        piece.block(0, -length / 2 + 0.01, 0.1, width + 0.03, 0.04, draw.between(0.4, 0.6), frame)
    pillow = draw.one_of(looks.soft)
    for x in (-width / 4, width / 4) if double else (0.0,):
        piece.block(x, length / 2 - 0.28, low + thick - 0.02, 0.6 if double else 0.65, 0.36, 0.12, pillow)
    return piece


def _with_legs(draw: Draw, looks: Palette, width: float, depth: float, height: float) -> Piece:
    top, stand = draw.one_of(looks.hard), draw.one_of(looks.hard)
    thick, leg = draw.between(0.025, 0.05), draw.between(0.035, 0.08)
    piece = Piece(Kind.TABLE, width, depth)
    piece.legs(width - 0.06, depth - 0.06, height - thick, leg, stand, draw.happens(0.3))
    piece.block(0, 0, height - thick, width, depth, thick, top)
    if draw.happens(0.5):
        piece.block(0, 0, height - thick - 0.08, width - 0.14, depth - 0.14, 0.09, stand)
    return piece


def _padded(draw: Draw, looks: Palette, seats: int) -> Piece:
    look, cushion = draw.one_of(looks.soft), draw.one_of(looks.soft)
    one, arm, depth = draw.between(0.52, 0.68), draw.between(0.1, 0.22), draw.between(0.78, 0.95)
    seat, back = draw.between(0.38, 0.45), draw.between(0.68, 0.9)
    width = seats * one + 2 * arm
    piece = Piece(Kind.SEAT, width, depth)
    piece.block(0, 0, 0.05, width - 0.02, depth - 0.02, seat - 0.19, look)
    for x in (-(width - arm) / 2, (width - arm) / 2):
        piece.block(x, 0, 0.04, arm, depth - 0.01, seat + draw.between(0.1, 0.2), look)
    piece.block(0, (depth - 0.2) / 2, 0.03, width - 0.01, 0.2, back, look)
    for number in range(seats):
        x = (number - (seats - 1) / 2) * one
        piece.block(x, -0.1, seat - 0.14, one - 0.02, depth - 0.22, 0.14, cushion)
        if draw.happens(0.4):
            piece.block(x, depth / 2 - 0.27, seat, 0.4, 0.12, 0.36, draw.one_of(looks.soft))
    return piece
