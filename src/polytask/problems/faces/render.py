"""From whole numbers to pictures of faces, with everything that is known of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polytask.problems.faces import anatomy, backdrop, marks, wear
from polytask.problems.faces.canvas import Canvas
from polytask.problems.faces.chance import traits
from polytask.problems.faces.draws import Draws, Flags, Numbers
from polytask.problems.faces.parts import Ellipsoid, Triple, seen
from polytask.problems.faces.traits import Traits

GREY = np.array([0.299, 0.587, 0.114], np.float32)
SHOULDER = np.float32(0.6)  # where bright light begins to be compressed
NOISE = 6.0  # the largest standard deviation, in grey levels of 255
DEVIATION = np.float32((2 * (256**2 - 1) / 12) ** 0.5)  # of the sum of two bytes


@dataclass(frozen=True)
class Faces:
    """n drawn faces."""

    image: NDArray[np.uint8]  # [n, c, size, size]: c = 1 grey, or 3 red, green, blue
    landmarks: Numbers  # [n, 5, 2]: x and y as shares of the picture
    pose: NDArray[np.int64]  # [n]: place in POSES
    turn: Numbers  # [n]: degrees, above 0 to the right of the picture
    smile: NDArray[np.int64]  # [n]: 0 or 1, as the next two
    glasses: NDArray[np.int64]
    hair: NDArray[np.int64]  # 1: long


@dataclass(frozen=True)
class Lamp:
    """Light from one side and from everywhere: [n, 1, 1] each."""

    direction: Triple
    around: Numbers

    def on(self, cosine: Numbers) -> Numbers:
        """How bright a surface is whose normal has this cosine with the direction of the light."""
        return self.around + (1 - self.around) * np.maximum(cosine, 0)


def render(seed: int, numbers: range, size: int, colour: bool = False) -> Faces:
    """The faces of these numbers.

    A face does not depend on the others.

    Cost: see `faces`.
    """
    draw = Draws(seed, numbers, grains=2 * (3 if colour else 1) * size * size)
    who = traits(draw)
    canvas = paint(who, draw, size, (lambda colours: colours) if colour else _grey)
    places = anatomy.landmarks(who.shape, who.mimic)
    return Faces(
        image=_photograph(draw, canvas.colours),
        landmarks=anatomy.shown(places, who.stance, anatomy.axes(who.stance)),
        pose=who.stance.pose[:, 0, 0],
        turn=np.degrees(who.stance.turn[:, 0, 0]),
        smile=who.mimic.smile[:, 0, 0].astype(np.int64),
        glasses=who.style.glasses[:, 0, 0].astype(np.int64),
        hair=who.style.long[:, 0, 0].astype(np.int64),
    )


def paint(who: Traits, draw: Draws, size: int, tint: backdrop.Tint) -> Canvas:
    """The light that comes from every pixel.

    Args:
        who: the faces.
        draw: what else is drawn: the background and the light.
        size: of the pictures.
        tint: turns colours [n, 3] into those that are painted, [n, c].
    """
    looks, acts, style = who.shape, who.mimic, who.style.tinted(tint)
    frame = anatomy.axes(who.stance)
    view = anatomy.rays(who.stance, frame, size)
    lamp = _lamp(draw, frame)
    canvas = Canvas(backdrop.wall(draw, tint, size), view.pixel)

    def body(part: Ellipsoid, shade: float) -> None:
        found = seen(part, view)
        canvas.paint(style.skin, lamp.on(found.along(lamp.direction)) * np.float32(shade), found.cover, found.depth)

    def hair(part: Ellipsoid, there: Flags) -> None:
        found = seen(part, view)
        light = lamp.on(found.along(lamp.direction)) * wear.strands(view, found.depth, style)
        canvas.paint(style.hair, light, found.cover * there, found.depth)

    hair(wear.behind(looks, style), style.long)
    body(anatomy.neck(looks), 0.75)
    backdrop.shoulders(canvas, who.stance, style, lamp.around)
    for ear in anatomy.ears(looks):
        body(ear, 0.9)
    face = anatomy.skin(looks, view, lamp.direction)
    light = lamp.on(face.light)
    canvas.paint(style.skin, light, face.cover, face.depth)
    marks.on_face(marks.Brush(canvas, face, view.pixel), light, looks, acts, style)
    for part in anatomy.nose(looks):
        body(part, 1.0)
    hair(wear.cap(looks, style), ~style.bald)
    hair(wear.fringe(looks, style), style.fringe)
    for lock in wear.locks(looks, style):
        hair(lock, style.long)
    wear.glasses(canvas, view, looks, style, lamp.around)
    return canvas


def _grey(colours: Numbers) -> Numbers:
    found: Numbers = (colours @ GREY)[:, None]
    return found


def _lamp(draw: Draws, frame: anatomy.Axes) -> Lamp:
    """From in front, mostly from above."""
    x, y, z = draw.near(0.0, 1.2), draw.near(-0.4, 0.7), draw.between(0.5, 1.0)
    length = np.sqrt(x * x + y * y + z * z)
    found = [(x * a + y * b + z * c) / length for a, b, c in zip(*frame, strict=True)]
    return Lamp((found[0], found[1], found[2]), draw.between(0.25, 0.75))


def _photograph(draw: Draws, light: Numbers) -> NDArray[np.uint8]:
    """Exposed to a mean brightness that varies, softened, brought on the curve of a display (square root); noise."""
    n, c, h, w = light.shape
    exposure = draw.between(0.14, 0.5) / np.maximum(light.reshape(n, -1).mean(1), np.float32(0.01))[:, None, None]
    soft = draw.between(0.0, 0.2)[..., None]
    for axis in (-1, -2):
        light = _softened(light, axis, soft)
    light = np.maximum(light * exposure[..., None], 0)
    light /= 1 + np.maximum(light - SHOULDER, 0)
    grain = draw.grains.reshape(n, 2, c, h, w)
    noise = grain[:, 0].astype(np.float32) + grain[:, 1] - np.float32(255)
    shown = np.sqrt(light) * 255 + noise * (draw.between(0.5, NOISE)[..., None] / DEVIATION)
    return np.rint(np.clip(shown, 0, 255)).astype(np.uint8)


def _softened(light: Numbers, axis: int, share: Numbers) -> Numbers:
    """Every pixel gives a share of its light to each of the two beside it; at the border to itself."""
    given = light * share
    soft = np.moveaxis(light - 2 * given, axis, 0)
    away = np.moveaxis(given, axis, 0)
    soft[1:] += away[:-1]
    soft[:-1] += away[1:]
    soft[0] += away[0]
    soft[-1] += away[-1]
    return np.moveaxis(soft, 0, axis)
