"""Two pictures in one: composed for all samples at once."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def overlay(
    pictures: Array,
    pairs: Array,
    canvas: tuple[int, int],
    left: tuple[tuple[int, int], tuple[int, int]],
    right: tuple[tuple[int, int], tuple[int, int]],
    rng: np.random.Generator,
) -> Array:
    """Lay pairs of pictures into one canvas each, at random places; where they meet, the lighter pixel wins.

    Args:
        pictures: [sources, h, w].
        pairs: [n, 2], which two sources make each sample: left and right.
        canvas: height and width of the result.
        left, right: for the left and the right picture, the range of rows and of columns (end not included)
            in which its upper left corner is drawn.
        rng: draws the places.

    Returns:
        [n, 1, height, width], of the type of `pictures`.

    >>> dots = np.array([[[1]], [[2]]])
    >>> rng = np.random.default_rng(0)
    >>> overlay(dots, np.array([[0, 1]]), (1, 2), ((0, 1), (0, 1)), ((0, 1), (1, 2)), rng).tolist()
    [[[[1, 2]]]]
    """
    size = len(pairs)
    sample = np.arange(size)[:, None, None]
    result = np.zeros((size, *canvas), pictures.dtype)
    for sources, (rows, columns) in zip(pairs.T, (left, right), strict=True):
        top, start = rng.integers(*rows, size=size), rng.integers(*columns, size=size)
        y = top[:, None, None] + np.arange(pictures.shape[1])[None, :, None]
        x = start[:, None, None] + np.arange(pictures.shape[2])[None, None, :]
        result[sample, y, x] = np.maximum(result[sample, y, x], pictures[sources])
    return result[:, None]


def draw_pairs(sources: Array, size: int, rng: np.random.Generator) -> Array:
    """[size, 2] of these sources, every one used about equally often on either side."""
    times = -(-size // len(sources))
    return np.stack([rng.permutation(np.tile(sources, times))[:size] for _ in range(2)], 1)
