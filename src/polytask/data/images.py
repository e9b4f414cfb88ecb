"""Pictures from bytes, and pictures, label maps and maps of numbers in another size."""

import io
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from polytask.errors import PolytaskError

Array = np.ndarray[Any, np.dtype[Any]]
Size = tuple[int, int]

BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for files that are no whole pictures."""


def decode(content: bytes, name: str, mode: str | None = None) -> Array:
    """An encoded picture (PNG, JPEG, WebP, ...) as numbers [h, w] or [h, w, channels].

    Args:
        content: the file's bytes.
        name: what an error calls the picture.
        mode: Pillow's name of what it shall be, "RGB" or "L" (grey) for instance; None: as it is stored, so that label
            maps keep their numbers.

    Raises:
        PolytaskError: it is no picture, or not a whole one.

    >>> import io
    >>> file = io.BytesIO()
    >>> Image.fromarray(np.array([[0, 3]], np.uint8)).save(file, "PNG")
    >>> decode(file.getvalue(), "labels").tolist()
    [[0, 3]]
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            whole = ImageOps.exif_transpose(picture)
            return np.asarray(whole if mode is None or whole.mode == mode else whole.convert(mode))
    except UnidentifiedImageError as error:  # its own words name an object in memory
        raise _unreadable(name, "it is no picture of a known kind" if content else "it is empty") from error
    except BROKEN as error:
        raise _unreadable(name, f"{type(error).__name__}: {error}") from error


def _unreadable(name: str, why: str) -> PolytaskError:
    return PolytaskError(
        f"{name} can't be read as a picture ({why}): it is cut short, changed or of another kind; copy it again, or "
        "leave it out"
    )


def read_image(path: Path | str, mode: str | None = "RGB") -> Array:
    """The picture in a file; see `decode`.

    Raises:
        PolytaskError: the file is not there, or no whole picture.
    """
    try:
        return decode(Path(path).read_bytes(), str(path), mode)
    except OSError as error:
        raise PolytaskError(f"{path} can't be read: {error.strerror or error}") from error


@dataclass(frozen=True)
class Blob:
    """Encoded pictures laid end to end: picture i is `head` and the bytes `offset[i]` to `offset[i + 1]` of `data`.

    Args:
        data: uint8, all of them.
        offset: [n + 1] where each begins.
        name: what errors call them.
        head: bytes that they have in common.
    """

    data: Array
    offset: Array
    name: str
    head: bytes = b""

    def __len__(self) -> int:
        return len(self.offset) - 1

    def picture(self, number: int) -> Array:
        """One of them."""
        content = self.head + self.data[self.offset[number] : self.offset[number + 1]].tobytes()
        return decode(content, f"picture {number} of {self.name}")

    def stacked(self, numbers: Iterable[int]) -> Tensor:
        """Some of them, [n, h, w] or [n, h, w, channels].

        Raises:
            PolytaskError: they differ in size.
        """
        numbers = list(numbers)
        return stacked([self.picture(k) for k in numbers], [f"picture {k} of {self.name}" for k in numbers])


def stacked(pictures: Sequence[Array], names: Sequence[str]) -> Tensor:
    """Pictures [h, w, ...] of one size as one tensor [n, h, w, ...].

    Raises:
        PolytaskError: they differ in size; the first two that do are named.
    """
    for picture, name in zip(pictures, names, strict=True):
        if picture.shape != pictures[0].shape:
            raise PolytaskError(
                f"the pictures differ in size: {names[0]} is {_told(pictures[0])}, {name} is {_told(picture)}; "
                "bring all to one size (polytask.data.images.resized), or cut them"
            )
    return torch.from_numpy(np.stack(pictures))


def resized(images: Tensor, size: Size) -> Tensor:
    """Images [n, c, h, w], bytes or floats, in another size: each pixel is the mean over its area where both sides
    shrink, else bilinear.

    >>> resized(torch.tensor([[[[0, 10], [20, 50]]]], dtype=torch.uint8), (1, 1)).tolist()
    [[[[20]]]]
    """
    if images.shape[-2:] == size:
        return images
    found = _interpolated(images.float(), size)
    return found if images.is_floating_point() else found.round().to(images.dtype)


def resized_labels(labels: Tensor, size: Size) -> Tensor:
    """Label maps [n, h, w] of any type in another size: each pixel gets the label of the nearest one."""
    for axis, wanted in zip((1, 2), size, strict=True):
        have = labels.shape[axis]
        labels = labels.index_select(axis, ((torch.arange(wanted) + 0.5) * have / wanted).long())
    return labels


def resized_values(values: Tensor, size: Size) -> Tensor:
    """Maps of numbers [n, c, h, w] with missing ones (NaN) in another size, as `resized`; a pixel is the mean of the
    numbers that are there, and missing where more than half of its area is.

    >>> values = torch.tensor([[[[1.0, 3.0], [torch.nan, 2.0]]]])
    >>> resized_values(values, (1, 1)).item()
    2.0
    """
    if values.shape[-2:] == size:
        return values
    there = ~torch.isnan(values)
    weight = _interpolated(there.float(), size)
    mean = _interpolated(torch.where(there, values, 0).float(), size) / weight
    return torch.where(weight >= 0.5, mean, torch.nan)


def _interpolated(x: Tensor, size: Size) -> Tensor:
    if size[0] <= x.shape[-2] and size[1] <= x.shape[-1]:
        return F.interpolate(x, size, mode="area")
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def _told(picture: Array) -> str:
    h, w, *channels = picture.shape
    return f"{h} x {w}" + "".join(f" with {each} channels" for each in channels)
