"""Pictures that are painted layer by layer, each in front of or behind what is there."""

import numpy as np

from polytask.problems.faces.draws import Numbers
from polytask.problems.faces.parts import NOWHERE

SOFT = np.float32(0.5)
"""Where two surfaces cross, the seam is spread over so many pixels."""


class Canvas:
    """n pictures of h x w pixels: colours [n, c, h, w], and how near what they show is, [n, h, w].

    Args:
        colours: what is there at first, behind everything.
        pixel: the width of a pixel in the unit of depths, [n, 1, 1] or one for all.
    """

    def __init__(self, colours: Numbers, pixel: Numbers | np.float32) -> None:
        self.colours = colours
        self.pixel = pixel
        self.depth: Numbers = np.full_like(colours[:, 0], NOWHERE)

    def paint(self, colour: Numbers, shade: Numbers, cover: Numbers, depth: Numbers | None = None) -> None:
        """One more layer.

        Args:
            colour: [n, c]; one number for all channels is enough.
            shade: by which the colour is multiplied, [n, h, w] or less.
            cover: 0 to 1, the share of each pixel that is painted.
            depth: towards the viewer. None: on what is there, in front of everything.
        """
        if depth is not None:
            front = np.clip(np.float32(0.5) + (depth - self.depth) / (2 * SOFT * self.pixel), 0, 1)
            cover = cover * front
            np.copyto(self.depth, depth, where=cover > np.float32(0.5))
        for channel in range(self.colours.shape[1]):
            there = self.colours[:, channel]
            own = colour[:, min(channel, colour.shape[1] - 1), None, None]
            there += cover * (own * shade - there)
