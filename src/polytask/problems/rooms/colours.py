"""What furniture and walls look like: colours that say nothing about the class."""

from colorsys import hsv_to_rgb
from typing import NamedTuple

from polytask.problems.rooms.draw import Draw
from polytask.problems.rooms.scene import Material, Pattern, Triple

SALTS = 2**31 - 1


class Palette(NamedTuple):
    """The looks that one room is furnished with: tables, cupboards, beds and seats draw from the same ones."""

    hard: tuple[Material, ...]
    soft: tuple[Material, ...]


def palette(draw: Draw) -> Palette:
    """Three hard looks (wood or paint) and three soft ones (cloth)."""
    return Palette(
        tuple(wood(draw) if draw.happens(0.55) else paint(draw) for _ in range(3)),
        tuple(cloth(draw) for _ in range(3)),
    )


def wood(draw: Draw) -> Material:
    """From nearly white to nearly black."""
    hue, grey, bright = draw.between(0.04, 0.11), draw.between(0.25, 0.65), draw.between(0.15, 0.8)
    colour = hsv_to_rgb(hue, grey, bright)
    return Material(colour, _times(colour, 0.55), Pattern.PLANKS, draw.between(0.1, 0.4), draw.whole(0, SALTS))


def paint(draw: Draw) -> Material:
    """White, grey, black or a colour."""
    grey = draw.between(0, 0.12) if draw.happens(0.5) else draw.between(0.2, 0.75)
    return Material(hsv_to_rgb(draw.unit(), grey, draw.between(0.12, 0.92)), salt=draw.whole(0, SALTS))


def cloth(draw: Draw) -> Material:
    """Of any colour: plain, woven, striped or checked."""
    first, second = (_any_colour(draw) for _ in range(2))
    pattern = draw.one_of((Pattern.PLAIN, Pattern.PLAIN, Pattern.CARPET, Pattern.STRIPES, Pattern.CHECKS))
    if pattern is Pattern.CARPET:
        second = _times(first, 0.7)
    return Material(first, second, pattern, draw.between(0.08, 0.3), draw.whole(0, SALTS))


def wall(draw: Draw) -> Material:
    """Plain or striped wallpaper, mostly pale; sometimes boards or bricks."""
    hue, bright = draw.unit(), draw.between(0.5, 0.92)
    colour = hsv_to_rgb(hue, draw.between(0, 0.35), bright)
    second = hsv_to_rgb(hue, draw.between(0.05, 0.5), bright * draw.between(0.7, 0.98))
    salt = draw.whole(0, SALTS)
    chance = draw.unit()
    if chance < 0.5:
        return Material(colour, salt=salt)
    if chance < 0.8:
        return Material(colour, second, Pattern.STRIPES, draw.between(0.08, 0.5), salt)
    if chance < 0.9:
        return Material(colour, second, Pattern.TILES, draw.between(0.15, 0.5), salt)
    return wood(draw)._replace(period=draw.between(0.1, 0.2))


def floor(draw: Draw) -> Material:
    """Boards, tiles, a chequered floor or carpet."""
    chance, salt = draw.unit(), draw.whole(0, SALTS)
    if chance < 0.45:
        return wood(draw)._replace(period=draw.between(0.09, 0.2))
    if chance < 0.7:
        return carpet(draw)
    bright = draw.between(0.3, 0.85)
    first = hsv_to_rgb(draw.unit(), draw.between(0, 0.35), bright)
    if chance < 0.9:
        return Material(first, _times(first, draw.between(0.45, 0.8)), Pattern.TILES, draw.between(0.2, 0.6), salt)
    return Material(first, _times(first, draw.between(0.2, 0.7)), Pattern.CHECKS, draw.between(0.25, 0.5), salt)


def carpet(draw: Draw) -> Material:
    """Fibres of one colour, dark and light."""
    colour = hsv_to_rgb(draw.unit(), draw.between(0.05, 0.6), draw.between(0.25, 0.8))
    return Material(colour, _times(colour, 0.5), Pattern.CARPET, draw.between(0.4, 1.5), draw.whole(0, SALTS))


def ceiling(draw: Draw) -> Material:
    """White; sometimes panels or boards."""
    bright = draw.between(0.75, 0.95)
    colour = hsv_to_rgb(draw.between(0.05, 0.2), draw.between(0, 0.1), bright)
    chance, salt = draw.unit(), draw.whole(0, SALTS)
    if chance < 0.75:
        return Material(colour, salt=salt)
    if chance < 0.9:
        return Material(colour, _times(colour, 0.75), Pattern.TILES, 0.6, salt)
    return wood(draw)._replace(period=draw.between(0.12, 0.2))


def thing(draw: Draw) -> Material:
    """A toy, a bin: any colour at all."""
    pattern = draw.one_of((Pattern.PLAIN, Pattern.PLAIN, Pattern.STRIPES, Pattern.CHECKS))
    period = draw.between(0.06, 0.2)
    return Material(_any_colour(draw), _any_colour(draw), pattern, period, draw.whole(0, SALTS))


def _any_colour(draw: Draw) -> Triple:
    return hsv_to_rgb(draw.unit(), draw.between(0, 0.8), draw.between(0.15, 0.92))


def _times(colour: Triple, factor: float) -> Triple:
    red, green, blue = colour
    return red * factor, green * factor, blue * factor
