"""Edges from what is exactly known of every pixel."""

import numpy as np
from numpy.typing import NDArray

from polytask.problems.rooms.tables import Numbers, Wholes

CREASE = float(np.cos(np.pi / 6))  # of the angle between two normals at an edge
JUMP = 0.05  # metres


def edges(thing: Wholes, depth: Numbers, normal: Numbers, point: Numbers) -> NDArray[np.bool_]:
    """Outlines of objects, creases and jumps, one pixel wide.

    Of two pixels side by side, or one above the other, that which is nearer to the camera (the left or upper one if
    none is) is an edge where

    * they show different objects (a wall, the floor and the ceiling are one object each), or
    * their normals differ by more than 30 degrees, or
    * each lies more than 5 cm off the plane through the other: one part of an object in front of another.

    Args:
        thing: the object, [n, h, w].
        depth: along the camera's z axis, [n, h, w].
        normal, point: in camera axes, [n, 3, h, w].
    """
    found = np.zeros(thing.shape, np.bool_)
    for first, second in ((np.s_[..., :-1], np.s_[..., 1:]), (np.s_[..., :-1, :], np.s_[..., 1:, :])):
        one, other = normal[first], normal[second]
        apart = point[second] - point[first]
        off = np.minimum(np.abs((apart * one).sum(1)), np.abs((apart * other).sum(1)))
        edge = (thing[first] != thing[second]) | ((one * other).sum(1) < CREASE) | (off > JUMP)
        farther = depth[first] > depth[second]
        found[first] |= edge & ~farther
        found[second] |= edge & farther
    return found
