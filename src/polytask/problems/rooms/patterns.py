"""Procedural textures: how two colours lie on a surface.

Every pattern is a pure function of the `Surface` at m pixels to red, green and blue, [3, m]. Where a pixel is larger
than the details, they fade to their mean.
"""

from collections.abc import Callable

import numpy as np

from polytask.problems.rooms.scene import Pattern
from polytask.problems.rooms.tables import Numbers
from polytask.problems.rooms.textures import Surface, clouds, fine, line, mix, muted, noise, rainbow


def plain(of: Surface) -> Numbers:
    """One colour, a little uneven."""
    return of.colour * (0.97 + 0.06 * clouds(of.u * 3, of.v * 3, of.salt))


def planks(of: Surface) -> Numbers:
    """Boards of width `period`, each of its own brightness, with grain along u and dark gaps."""
    across = of.v / of.period
    board = np.floor(across)
    along = of.u / (of.period * 9) + noise(board, board, of.salt) * 7
    number = np.floor(along)
    tone = 0.78 + 0.34 * noise(board, number, of.salt)
    grain = clouds(of.u * 5 + number * 17, of.v * 70, of.salt) - 0.5
    tone += 0.22 * grain * fine(of, 0.03)
    gap = np.maximum(line(across, of, 0.05), line(along, of, 0.006, 9))
    return mix(of.colour * tone, of.second, gap)


def tiles(of: Surface) -> Numbers:
    """Squares of edge `period` with joints of the second colour."""
    x, y = of.u / of.period, of.v / of.period
    tone = 0.92 + 0.12 * noise(np.floor(x), np.floor(y), of.salt)
    return mix(of.colour * tone, of.second, np.maximum(line(x, of, 0.04), line(y, of, 0.04)))


def checks(of: Surface) -> Numbers:
    """Squares of edge `period`, the two colours by turns."""
    x, y = np.floor(of.u / of.period), np.floor(of.v / of.period)
    odd = ((x + y).astype(np.int32) & 1).astype(np.float32)
    return mix(of.colour, of.second, 0.5 + (odd - 0.5) * fine(of, of.period))


def stripes(of: Surface) -> Numbers:
    """Upright stripes (along v), `period` from one to the next, the second colour half as wide as the first."""
    x = of.u / of.period
    within = x - np.floor(x)
    on = (within < 1 / 3).astype(np.float32)
    return mix(of.colour, of.second, 1 / 3 + (on - 1 / 3) * fine(of, of.period / 2))


def carpet(of: Surface) -> Numbers:
    """Fibres of 1.5 cm between the two colours, and larger worn places."""
    fibre = noise(np.floor(of.u * 66), np.floor(of.v * 66), of.salt) - 0.5
    worn = clouds(of.u / of.period, of.v / of.period, of.salt)
    share = 0.3 + 0.5 * fibre * fine(of, 0.03) + 0.3 * worn
    return mix(of.colour, of.second, np.clip(share, 0, 1))


def books(of: Surface) -> Numbers:
    """Backs of books side by side, about `period` wide, of many colours and heights, before the second colour."""
    x = of.u / of.period
    number = np.floor(x)
    split = 0.3 + 0.4 * noise(number, number, of.salt)
    number = 2 * number + (x - number > split).astype(np.float32)
    tone = 0.35 + 0.65 * noise(number, number + 1, of.salt)
    pale = 0.25 + 0.6 * noise(number, number + 3, of.salt)
    colour = mix(rainbow(noise(number, number + 2, of.salt)), np.ones_like(of.colour), pale) * tone
    above = of.v > of.half_v * (1 - 0.5 * noise(number, number + 4, of.salt))
    return mix(colour, of.second, above.astype(np.float32))


def painting(of: Surface) -> Numbers:
    """A landscape with a disc in the sky, in a mount and a frame of the first colour; the frame is `period` wide."""
    x, y = of.u / of.half_u, of.v / of.half_v
    zero, white = np.zeros_like(x), np.ones_like(of.colour)
    hue_of_sky, hue_of_land, hue, across, up, size = (noise(zero + k, zero, of.salt) for k in range(6))
    sky = mix(muted(hue_of_sky), white, 0.55 + 0.3 * y)
    hills = 0.5 * clouds(x * 2, zero, of.salt) + 0.2 * clouds(x * 6, zero, of.salt + 1) - 0.5
    disc = (x - across * 1.2 + 0.6) ** 2 + (y - up * 1.2 + 0.6) ** 2 < size * 0.25
    inside = np.where(disc, muted(hue), sky)
    inside = np.where(y < hills, muted(hue_of_land) * (0.45 + 0.2 * y), inside)
    edge = np.minimum(of.half_u - np.abs(of.u), of.half_v - np.abs(of.v))
    inside = np.where(edge < 2 * of.period, 0.92 * white, inside)
    return np.where(edge < of.period, of.colour, inside)


def window(of: Surface) -> Numbers:
    """Panes about `period` wide between bars of the second colour; outside a sky of the first colour above trees."""
    y = of.v / of.half_v
    zero = np.zeros_like(y)
    trees = 0.7 * clouds(of.u * 3 + 50, zero, of.salt) + 0.12 * clouds(of.u * 14, zero, of.salt) - 0.75
    sky = mix(of.colour, np.minimum(of.colour * 2, 0.95), np.clip(0.6 - y * 0.5, 0, 1))
    green = np.array([[0.35], [0.5], [0.28]], np.float32) * of.colour * (1 + y / 2)
    outside = np.where(y < trees, green, sky)
    panes = np.maximum(np.rint(of.half_u / of.period), 1)
    x = (of.u / of.half_u + 1) * panes / 2
    bar = 0.025
    near_bar = np.minimum(np.abs(x - np.rint(x)) * of.half_u * 2 / panes, of.half_v - np.abs(of.v))
    cross = (near_bar < bar) | ((np.abs(of.v - of.half_v / 3) < bar / 2) & (of.half_v > 0.55))
    return np.where(cross, of.second, outside)


PATTERNS: dict[Pattern, Callable[[Surface], Numbers]] = {
    Pattern.PLAIN: plain,
    Pattern.PLANKS: planks,
    Pattern.TILES: tiles,
    Pattern.CHECKS: checks,
    Pattern.STRIPES: stripes,
    Pattern.CARPET: carpet,
    Pattern.BOOKS: books,
    Pattern.PAINTING: painting,
    Pattern.WINDOW: window,
}
