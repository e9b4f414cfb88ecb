"""What textures are made of: noise, lines and blends, the same on every machine.

Only + - * /, rounding and hashes of whole numbers are used: sines differ in their last bits.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polytask.problems.rooms.tables import Numbers


class Surface(NamedTuple):
    """Pixels of one pattern."""

    u: Numbers  # [m]: along the surface, in metres from its middle
    v: Numbers
    half_u: Numbers  # [m]: where it ends
    half_v: Numbers
    pixel: Numbers  # [m]: the size of the pixel on the surface, in metres
    colour: Numbers  # [3, m]
    second: Numbers  # [3, m]
    period: Numbers  # [m]
    salt: NDArray[np.uint32]  # [m]


def noise(i: Numbers, j: Numbers, salt: NDArray[np.uint32]) -> Numbers:
    """A number from 0 up to 1 for every pair of whole numbers: the same for the same pair."""
    mixed = i.astype(np.int32).view(np.uint32) * np.uint32(0x9E3779B1)
    mixed ^= j.astype(np.int32).view(np.uint32) * np.uint32(0x85EBCA77) + salt * np.uint32(0xC2B2AE3D)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        mixed ^= mixed >> np.uint32(shift)
        mixed *= np.uint32(factor)
    mixed ^= mixed >> np.uint32(15)
    return (mixed >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def clouds(x: Numbers, y: Numbers, salt: NDArray[np.uint32]) -> Numbers:
    """Smooth noise, 0..1: `noise` at whole x and y, blended in between."""
    i, j = np.floor(x), np.floor(y)
    s, t = x - i, y - j
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    low = noise(i, j, salt) * (1 - s) + noise(i + 1, j, salt) * s
    high = noise(i, j + 1, salt) * (1 - s) + noise(i + 1, j + 1, salt) * s
    return low * (1 - t) + high * t


def mix(first: Numbers, second: Numbers, share: Numbers) -> Numbers:
    """first where the share is 0, second where it is 1."""
    return first + (second - first) * share


def fine(of: Surface, detail: Numbers | float) -> Numbers:
    """How much of details of this size, in metres, is left: 1 where pixels are small, 0 where they are larger."""
    return np.clip(1.5 - of.pixel / detail, 0, 1)


def line(x: Numbers, of: Surface, width: float, stretch: float = 1) -> Numbers:
    """1 on lines at whole x, of this width in periods, at least as wide as half a pixel but fainter then."""
    size = of.pixel / (of.period * np.float32(stretch))
    wide = np.maximum(size, width)
    near = np.abs(x - np.rint(x)) < wide / 2
    return near.astype(np.float32) * width / wide


def rainbow(hue: Numbers) -> Numbers:
    """The pure colour of a hue 0..1, [3, m]."""
    around = hue * 6 + np.array([[0.0], [4.0], [2.0]], np.float32)
    around -= 6 * np.floor(around / 6)
    return np.clip(np.abs(around - 3) - 1, 0, 1)


def muted(hue: Numbers) -> Numbers:
    """A colour of this hue, a third grey, [3, m]."""
    return 0.7 * rainbow(hue) + 0.2
