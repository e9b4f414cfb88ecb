"""Where a line enters and leaves a convex body: the formulas of ray casting.

A line is origin + s * direction. Each function gives (near, far): the body holds the points with near <= s <= far, and
none when near > far. Axes: bodies (and origins) b, with any axes in front for the directions.
"""

from collections.abc import Sequence

import numpy as np

from polytask.problems.rooms.tables import Numbers

Vector = Sequence[Numbers] | Numbers  # three of one shape

TINY = np.float32(1e-12)
NEVER = np.float32(1e9)  # near of a line that misses


def slab(origin: Numbers, direction: Numbers, half: Numbers) -> tuple[Numbers, Numbers]:
    """Between the planes x = -half and x = half: near, far = (-origin -+ half * sign) / direction."""
    inverse = np.float32(1) / direction
    near = origin * inverse
    reach = np.abs(inverse, out=inverse) * half
    far = reach - near
    near += reach
    return np.negative(near, out=near), far


def box(origin: Vector, direction: Vector, half: Vector) -> tuple[Numbers, Numbers]:
    """An axis-parallel box around 0, half its edges [3, b]; the direction has no component 0.

    >>> import numpy as np
    >>> column = lambda *of: np.array([of], np.float32).T
    >>> box(column(-3, 0, 0), column(1, 1e-9, 1e-9), column(1, 1, 1))
    (array([2.], dtype=float32), array([4.], dtype=float32))
    """
    near, far = slab(origin[0], direction[0], half[0])
    for axis in (1, 2):
        nearer, farther = slab(origin[axis], direction[axis], half[axis])
        np.maximum(near, nearer, out=near)
        np.minimum(far, farther, out=far)
    return near, far


def tube(origin: Vector, direction: Vector, half: Vector) -> tuple[Numbers, Numbers]:
    """An upright cylinder around 0 without end, of radius half[0]."""
    return _quadratic(
        direction[0] * direction[0] + direction[1] * direction[1],
        origin[0] * direction[0] + origin[1] * direction[1],
        origin[0] * origin[0] + origin[1] * origin[1] - half[0] * half[0],
    )


def cylinder(origin: Vector, direction: Vector, half: Vector) -> tuple[Numbers, Numbers]:
    """An upright cylinder around 0: half = (radius, radius, half the height)."""
    near, far = tube(origin, direction, half)
    lower, upper = slab(origin[2], direction[2], half[2])
    return np.maximum(near, lower), np.minimum(far, upper)


def ball(origin: Vector, direction: Vector, half: Vector) -> tuple[Numbers, Numbers]:
    """A ball around 0 of radius half[0]."""
    return _quadratic(
        direction[0] * direction[0] + direction[1] * direction[1] + direction[2] * direction[2],
        origin[0] * direction[0] + origin[1] * direction[1] + origin[2] * direction[2],
        origin[0] * origin[0] + origin[1] * origin[1] + origin[2] * origin[2] - half[0] * half[0],
    )


def _quadratic(a: Numbers, b: Numbers, c: Numbers) -> tuple[Numbers, Numbers]:
    """Between the roots of a s^2 + 2 b s + c; a > 0."""
    under = b * b - a * c
    root = np.sqrt(np.maximum(under, 0))
    inverse = np.float32(1) / a
    near, far = (-b - root) * inverse, (root - b) * inverse
    return near + NEVER * (under < 0), far


def turned(vector: Vector, turn: Numbers) -> Vector:
    """A world vector in the axes of a box with this turn (cosine, sine)."""
    return vector[0] * turn[0] + vector[1] * turn[1], vector[1] * turn[0] - vector[0] * turn[1], vector[2]


def turned_back(vector: Vector, turn: Numbers) -> Vector:
    """A vector in the axes of a box in those of the world."""
    return vector[0] * turn[0] - vector[1] * turn[1], vector[1] * turn[0] + vector[0] * turn[1], vector[2]


def never_zero(direction: Vector) -> tuple[Numbers, ...]:
    """The same plus 1e-12, which changes nothing but a component 0: it can be divided by."""
    return tuple(each + TINY for each in direction)
