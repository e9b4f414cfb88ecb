"""What a face is like."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from polytask.problems.faces.draws import Flags, Numbers

POSES = ("left profile", "left", "frontal", "right", "right profile")
"""Where the nose points, as seen in the picture: the classes and the sides of MTFL."""


@dataclass(frozen=True)
class Stance:
    """How the head stands: [n, 1, 1] each, angles in radians, places as shares of the picture."""

    pose: NDArray[np.int64]
    turn: Numbers
    """Around the neck; above 0 the nose is to the right of the picture."""
    nod: Numbers
    """Above 0 downwards."""
    tilt: Numbers
    """In the picture, clockwise."""
    scale: Numbers
    """Half a head, as a share of the picture."""
    x: Numbers
    y: Numbers


@dataclass(frozen=True)
class Shape:
    """The proportions of a head in half heads, [n, 1, 1] each."""

    wide: Numbers
    jaw_wide: Numbers
    jaw_long: Numbers
    eye_x: Numbers
    eye_y: Numbers
    eye_wide: Numbers
    nose_y: Numbers
    nose_out: Numbers
    nose_wide: Numbers
    mouth_y: Numbers


@dataclass(frozen=True)
class Mimic:
    """What the face does, [n, 1, 1] each."""

    smile: Flags
    mouth_wide: Numbers
    """Half of its width."""
    lift: Numbers
    """How much higher the corners are than the middle."""
    skew: Numbers
    """How much higher the left corner is than the mean of both."""
    open: Numbers
    teeth: Numbers
    """0 to 1."""
    eyes: Numbers
    """How wide they are open, 0 to 1."""
    look_x: Numbers
    look_y: Numbers
    brow: Numbers


@dataclass(frozen=True)
class Style:
    """Colours [n, 3], and what is worn."""

    skin: Numbers
    hair: Numbers
    iris: Numbers
    lips: Numbers
    frame: Numbers
    cloth: Numbers
    long: Flags
    length: Numbers
    bald: Flags
    thick: Numbers
    """Of the hair on the head."""
    hairline: Numbers
    parting: Numbers
    fringe: Flags
    fringe_long: Numbers
    beard: Numbers
    glasses: Flags
    lens: Numbers
    """How much a lens takes of the light."""
    square: Numbers
    lens_wide: Numbers
    lens_high: Numbers
    rim: Numbers

    def tinted(self, tint: Callable[[Numbers], Numbers]) -> "Style":
        """With other colours, such as grey ones, [n, c]."""
        return replace(
            self,
            skin=tint(self.skin),
            hair=tint(self.hair),
            iris=tint(self.iris),
            lips=tint(self.lips),
            frame=tint(self.frame),
            cloth=tint(self.cloth),
        )


@dataclass(frozen=True)
class Traits:
    """All that is known of some faces."""

    stance: Stance
    shape: Shape
    mimic: Mimic
    style: Style
