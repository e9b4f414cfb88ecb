"""What faces are like, drawn by lot."""

import numpy as np

from polytask.problems.faces.draws import Draws, chosen
from polytask.problems.faces.traits import Mimic, Shape, Stance, Style, Traits

SHARES = (0.075, 0.175, 0.5, 0.175, 0.075)
TURNS = (-55, -38, -15, 15, 38, 55)
"""Between which angles, in degrees, the head of each pose is turned."""

SKINS = ((0.93, 0.72, 0.60), (0.87, 0.62, 0.47), (0.74, 0.48, 0.33), (0.53, 0.32, 0.21), (0.33, 0.20, 0.14))
HAIRS = ((0.05, 0.04, 0.04), (0.12, 0.07, 0.04), (0.28, 0.15, 0.07), (0.66, 0.47, 0.22), (0.55, 0.53, 0.50))
IRISES = ((0.14, 0.08, 0.04), (0.22, 0.13, 0.06), (0.16, 0.24, 0.14), (0.20, 0.30, 0.42))
FRAMES = ((0.03, 0.03, 0.03), (0.22, 0.11, 0.05), (0.45, 0.43, 0.40), (0.35, 0.04, 0.05))


def traits(draw: Draws) -> Traits:
    """Those of the faces that these numbers are of."""
    return Traits(stance(draw), shape(draw), mimic(draw), style(draw))


def stance(draw: Draws) -> Stance:
    """A pose, then an angle within it; the rest around the middle, as in MTFL's crops."""
    pose = draw.one_of(SHARES)
    edges = np.radians(np.array(TURNS)).astype(np.float32)
    return Stance(
        pose=pose,
        turn=draw.between(edges[pose], edges[pose + 1]),
        nod=draw.near(0.0, 0.3),
        tilt=draw.near(0.0, 0.3),
        scale=draw.near(0.48, 0.06),
        x=draw.near(0.5, 0.06),
        y=draw.near(0.39, 0.06),
    )


def shape(draw: Draws) -> Shape:
    """Everybody's own."""
    return Shape(
        wide=draw.near(0.70, 0.07),
        jaw_wide=draw.near(0.56, 0.08),
        jaw_long=draw.near(0.80, 0.08),
        eye_x=draw.near(0.295, 0.035),
        eye_y=draw.near(-0.08, 0.05),
        eye_wide=draw.near(0.125, 0.02),
        nose_y=draw.near(0.27, 0.05),
        nose_out=draw.near(0.16, 0.05),
        nose_wide=draw.near(0.115, 0.025),
        mouth_y=draw.near(0.55, 0.05),
    )


def mimic(draw: Draws) -> Mimic:
    """A smile makes the mouth wider, lifts its corners, mostly shows teeth, and narrows the eyes."""
    smile = draw.happens(0.5)
    much = draw.between(0.35, 1.0)
    smiling = np.where(smile, much, 0).astype(np.float32)
    agape = draw.happens(0.25) * draw.between(0.02, 0.11)
    laughing = draw.happens(0.7) * smiling
    return Mimic(
        smile=smile,
        mouth_wide=draw.near(0.215, 0.04) + np.float32(0.09) * smiling,
        lift=draw.near(-0.01, 0.03) + np.float32(0.13) * smiling,
        skew=draw.near(0.0, 0.02),
        open=np.where(smile, laughing * draw.between(0.04, 0.09), agape).astype(np.float32),
        teeth=np.where(smile, 1, draw.between(0.0, 0.4)).astype(np.float32),
        eyes=draw.between(0.75, 1.0) - np.float32(0.3) * smiling,
        look_x=draw.near(0.0, 0.4),
        look_y=draw.near(0.0, 0.2),
        brow=draw.near(0.0, 0.03),
    )


def style(draw: Draws) -> Style:
    """Hair, glasses and beard say nothing about each other."""
    skin = chosen(SKINS, draw.one_of((0.25, 0.25, 0.2, 0.15, 0.15))) * draw.between(0.85, 1.1)[:, :, 0]
    hair = chosen(HAIRS, draw.one_of((0.3, 0.25, 0.2, 0.15, 0.1))) * draw.between(0.7, 1.4)[:, :, 0]
    redness = np.concatenate([draw.between(0.75, 1.0), draw.between(0.45, 0.7), draw.between(0.45, 0.75)], 1)[:, :, 0]
    long = draw.happens(0.5)
    bald = draw.happens(0.2) & ~long
    dark = draw.happens(0.25)
    return Style(
        skin=skin,
        hair=hair,
        iris=chosen(IRISES, draw.one_of((0.35, 0.3, 0.15, 0.2))),
        lips=skin * redness,
        frame=chosen(FRAMES, draw.one_of((0.5, 0.2, 0.2, 0.1))),
        cloth=draw.colour(0.02, 0.7),
        long=long,
        length=draw.between(0.75, 1.3),
        bald=bald,
        thick=draw.between(0.04, 0.16),
        hairline=draw.between(-0.4, -0.24),
        parting=draw.near(0.0, 0.5),
        fringe=draw.happens(0.35) & ~bald,
        fringe_long=draw.between(0.18, 0.42),
        beard=draw.happens(0.15) * draw.between(0.3, 0.9),
        glasses=draw.happens(0.35),
        lens=np.where(dark, draw.between(0.6, 0.95), draw.between(0.0, 0.2)).astype(np.float32),
        square=draw.unit(),
        lens_wide=draw.near(0.2, 0.03),
        lens_high=draw.near(0.155, 0.03),
        rim=draw.between(0.012, 0.04),
    )
