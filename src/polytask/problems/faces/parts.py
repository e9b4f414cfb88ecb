"""Ellipsoids seen from anywhere: depth, outline and light of every pixel."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from polytask.problems.faces.draws import Numbers

Triple = tuple[Numbers, Numbers, Numbers]
NOWHERE = np.float32(-9)
"""The depth where a ray meets nothing."""


@dataclass(frozen=True)
class Rays:
    """Parallel rays towards the viewer, in the axes of the head: x right, y down, z out of the face.

    Lengths are those of half a head, about 12 cm.
    """

    axes: tuple[Triple, Triple, Triple]
    """Right, down and towards the viewer as the picture has them: unit vectors, three of [n, 1, 1] each."""

    column: Numbers
    """Where in the picture the rays are, from the middle of the head to the right, [n, 1, w]."""

    row: Numbers
    """Downwards, [n, h, 1]."""

    pixel: Numbers
    """The width of a pixel, [n, 1, 1]."""

    @property
    def towards(self) -> Triple:
        return self.axes[2]

    @cached_property
    def origin(self) -> Triple:
        """Where each ray passes the plane through the head that faces the viewer: three of [n, h, w]."""
        x, y, z = (right * self.column + down * self.row for right, down, _ in zip(*self.axes, strict=True))
        return x, y, z

    def at(self, depth: Numbers) -> Triple:
        """The places at this depth along the rays."""
        x, y, z = (o + depth * d for o, d in zip(self.origin, self.towards, strict=True))
        return x, y, z


@dataclass(frozen=True)
class Ellipsoid:
    """Its axes are those of the head.

    Args:
        centre, half: three numbers or columns [n, 1, 1] each; `half` is half of each axis.
    """

    centre: Sequence[Numbers | float]
    half: Sequence[Numbers | float]


@dataclass(frozen=True)
class Seen:
    """An ellipsoid as the rays meet it, [n, h, w] each."""

    depth: Numbers
    """Along the ray towards the viewer; beside the outline that of the outline, `NOWHERE` where `cover` is 0."""

    cover: Numbers
    """0 to 1: the share of the pixel inside the outline, the outline being taken for straight there."""

    slope: Triple
    """The outward normal, of any length."""

    def along(self, direction: Triple) -> Numbers:
        """The cosine of the angle between the normal and a unit vector."""
        g, d = self.slope, direction
        found: Numbers = (g[0] * d[0] + g[1] * d[1] + g[2] * d[2]) * self._shrink
        return found

    @cached_property
    def _shrink(self) -> Numbers:
        """What makes the normal a unit vector."""
        g = self.slope
        found: Numbers = 1 / np.sqrt(g[0] * g[0] + g[1] * g[1] + g[2] * g[2])
        return found


def seen(body: Ellipsoid, rays: Rays) -> Seen:
    r"""Where the rays meet an ellipsoid with centre c and half axes a.

    With q = (o - c) / a and e = d / a the ray o + s d meets it at s = (-q.e + sqrt((q.e)^2 - e.e (q.q - 1))) / e.e, the
    larger of two roots because d points to the viewer. G = q.q - (q.e)^2 / e.e is 1 on the outline, and grows as the
    square of the distance r from the centre in the picture: the outline is r (1 - 1 / sqrt(G)) away.
    """
    q = [
        (right * rays.column - c) / a + down * rays.row / a
        for right, down, c, a in zip(*rays.axes[:2], body.centre, body.half, strict=True)
    ]
    e = [d / a for d, a in zip(rays.towards, body.half, strict=True)]
    ee = e[0] * e[0] + e[1] * e[1] + e[2] * e[2]
    qe = (q[0] * e[0] + q[1] * e[1] + q[2] * e[2]) / ee
    g = q[0] * q[0] + q[1] * q[1] + q[2] * q[2] - qe * qe * ee
    rise = np.sqrt(np.maximum(1 - g, 0) / ee)
    root = np.sqrt(np.maximum(g, np.float32(1e-6)))
    outside = _from_centre(body, rays) * (1 - 1 / root)
    cover = np.clip(np.float32(0.5) - outside / rays.pixel, 0, 1)
    s = rise - qe
    depth = np.where(cover > 0, s, NOWHERE)
    x, y, z = ((qi + s * ei) / a for qi, ei, a in zip(q, e, body.half, strict=True))
    return Seen(depth, cover, (x, y, z))


def _from_centre(body: Ellipsoid, rays: Rays) -> Numbers:
    """How far each ray passes from the centre."""
    across, down = (sum(a * c for a, c in zip(axis, body.centre, strict=True)) for axis in rays.axes[:2])
    found: Numbers = np.sqrt(np.square(rays.column - across) + np.square(rays.row - down))
    return found
