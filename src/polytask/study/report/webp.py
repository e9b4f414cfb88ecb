"""Pictures as WebP data URIs: made, measured, and made smaller."""

import base64
import io
from functools import cache

from PIL import Image

START = "data:image/webp;base64,"

FEW_COLOURS = 64
"""Pictures with no more colours, as those of classes, are kept exactly."""

SMALL = 96
"""So are pictures with no more pixels a side: WebP halves the resolution of colours where it is not exact."""

FINE = 80
"""Unless less than this quality is asked for."""


def encoded(image: Image.Image, side: int, quality: int) -> str:
    """An image as a data URI, its longer side at most `side` pixels; `quality` is of those with many colours.

    >>> encoded(Image.new("RGB", (2, 2)), side=256, quality=80)[:23]
    'data:image/webp;base64,'
    """
    few, longest = image.getcolors(FEW_COLOURS) is not None, max(image.size)
    if longest > side:
        width, height = (max(1, round(each * side / longest)) for each in image.size)
        image = image.resize((width, height), Image.Resampling.NEAREST if few else Image.Resampling.BOX)
    file = io.BytesIO()
    exact = few or (longest <= SMALL and quality >= FINE)
    image.save(file, "WEBP", lossless=exact, quality=quality, method=4)
    return START + base64.b64encode(file.getvalue()).decode()


@cache
def size_of(uri: str) -> tuple[int, int]:
    """Width and height in pixels."""
    return _opened(uri).size


@cache
def smaller(uri: str, side: int, quality: int) -> str:
    """The picture again, in no more pixels than `side` and no better quality."""
    return encoded(_opened(uri).convert("RGB"), side, quality)


def _opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(START))))
