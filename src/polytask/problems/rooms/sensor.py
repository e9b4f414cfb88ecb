"""From light to bytes, as in a camera."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polytask.problems.rooms.tables import Numbers

GREY = 0.6  # mean of the square root of the light, after exposure
NOISE = 2.0  # standard deviation, in grey levels of 255
ASIDE = 0.08  # of a pixel's light that falls on each of the two pixels beside it, along each axis
SHOULDER = 0.6  # where bright light begins to be compressed

_EVERY_OTHER = np.uint32(0x00FF00FF)  # two of four bytes
_MEAN, _DEVIATION = 4 * 127.5, (4 * (256**2 - 1) / 12) ** 0.5  # of the sum of four bytes


def photograph(light: Numbers, grains: Sequence[int]) -> NDArray[np.uint8]:
    """Exposed to one mean, softened by the lens, sqrt for the display (gamma 2), and noise.

    Args:
        light: [n, 3, h, w].
        grains: whole numbers from 0, one per picture, that draw its noise.
    """
    root = np.sqrt(light)
    exposure = (GREY / np.maximum(_mean(root), 1e-3)) ** 2
    soft = light * exposure[:, None, None, None]
    for axis in (-1, -2):
        soft = _softened(soft, axis)
    soft /= 1 + np.maximum(soft - SHOULDER, 0)
    shown = np.sqrt(soft, out=soft)
    shown *= 255
    for picture, grain in zip(shown, grains, strict=True):
        picture += NOISE * _normal(grain, picture.size).reshape(picture.shape)
    return np.rint(np.clip(shown, 0, 255, out=shown), out=shown).astype(np.uint8)


def _mean(values: Numbers) -> Numbers:
    """The mean over each picture: of whole numbers, whose sum does not hang on the order."""
    whole = (np.minimum(values, 4) * 4096).astype(np.int32)
    pixels = values[0].size
    return (whole.sum((1, 2, 3), dtype=np.int64) / (4096 * pixels)).astype(np.float32)


def _softened(light: Numbers, axis: int) -> Numbers:
    """Every pixel gives a share of its light to the two beside it; at the border to itself."""
    soft = light * (1 - 2 * ASIDE)
    shared = np.moveaxis(light * ASIDE, axis, 0)
    to = np.moveaxis(soft, axis, 0)
    to[1:] += shared[:-1]
    to[:-1] += shared[1:]
    to[0] += shared[0]
    to[-1] += shared[-1]
    return soft


def _normal(grain: int, size: int) -> Numbers:
    """Numbers of mean 0 and deviation 1: sums of four random bytes, which are the same on every machine."""
    words = np.random.Philox(key=np.array([grain, 1], np.uint64)).random_raw(-(-size // 2)).view(np.uint32)
    pairs = (words & _EVERY_OTHER) + (words >> np.uint32(8) & _EVERY_OTHER)
    sums = (pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16))
    return (sums[:size].astype(np.float32) - _MEAN) / _DEVIATION
