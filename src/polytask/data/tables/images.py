"""Columns that name picture files, or hold pictures."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from polytask._text import listed
from polytask.data.images import decode, read_image, resized
from polytask.data.tables.conversion import to_pictures
from polytask.data.tables.encoders import Encoder, Floats
from polytask.errors import PolytaskError

LARGEST = 64
"""The longer side of pictures in the network, in pixels, where nothing is said: a CPU trains on some thousand."""
LOOKED_AT = 50
"""Training pictures that the size is learned from."""
SHOWN = 3
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class UnreadableImages(PolytaskError):
    """Pictures of a column that can't be read.

    Args:
        column: its name.
        rows: why, by the number of the row.
        count: how many rows there are.
    """

    def __init__(self, column: str, rows: Mapping[int, str], count: int) -> None:
        self.column, self.rows, self.count = column, dict(rows), count
        first = "; ".join(list(self.rows.values())[:SHOWN])
        more = f"; and {len(self.rows) - SHOWN} more" if len(self.rows) > SHOWN else ""
        super().__init__(
            f"column '{column}': {len(self.rows)} of {count} pictures can't be read: {first}{more}. Mend them, or "
            "empty their cells (an empty cell is a missing picture), or write "
            f"`{column}: {{kind: image, unreadable: missing}}` in the table's YAML file"
        )


@dataclass(frozen=True)
class ImageEncoder(Encoder):
    """Pictures as bytes [3, height, width]: red, green and blue, the whole picture resized; black where missing.

    Cells are names of files, relative to the folder of the table; or the content of files, as bytes. Where training
    rows had no picture, a column of "numbers" says which.

    Args:
        height, width: in pixels.
        indicator: whether training rows had no picture.
        lenient: pictures that can't be read count as missing.
        folder: what names of files are relative to; no part of what was learned.
    """

    as_written = True
    own_input = True

    height: int
    width: int
    indicator: bool
    lenient: bool = False
    folder: str = field(default="", compare=False)

    @staticmethod
    def convert(column: pl.Series) -> pl.Series:
        return to_pictures(column)

    @classmethod
    def fit(
        cls,
        column: pl.Series,
        size: int | Sequence[int] = 0,
        unreadable: str = "refuse",
        folder: str = "",
    ) -> "ImageEncoder | None":
        """Learn the size from the training pictures.

        Args:
            column: names of files, or contents.
            size: in pixels: of both sides, or [height, width]; 0: the median of 50 training pictures, made smaller
                where its longer side is above 64.
            unreadable: "refuse", or "missing": pictures that can't be read count as missing.
            folder: what names of files are relative to.
        """
        if unreadable not in ("refuse", "missing"):
            raise PolytaskError(f"'unreadable' of an image must be refuse or missing, got {unreadable!r}")
        there = column.drop_nulls()
        if not len(there):
            return None
        lenient = unreadable == "missing"
        first = [_opened(each, folder, row) for row, each in enumerate(there.head(LOOKED_AT).to_list())]
        height, width = _size(size) or _usual_size(first)
        return cls(column.name, height, width, len(there) < len(column), lenient, folder)

    @property
    def copes(self) -> bool:
        """Whether it was trained on rows without a picture, or told to take them."""
        return self.indicator or self.lenient

    @property
    def features(self) -> tuple[str, ...]:
        return (f"{self.name} is missing",) if self.indicator else ()

    def placed(self, folder: Path) -> "ImageEncoder":
        return replace(self, folder=str(folder))

    def told(self, column: pl.Series) -> list[str]:
        gone = column.null_count()
        if not (gone and self.copes):
            return []
        return [f"column '{self.name}': no picture in {gone:,} of {len(column):,} rows, which the network copes with"]

    def numbers(self, column: pl.Series) -> Floats:
        gone = column.is_null().to_numpy().astype(np.float32)
        return gone[:, None][:, : len(self.features)]

    def inputs(self, column: pl.Series) -> dict[str, np.ndarray[Any, Any]]:
        """Pictures [rows, 3, height, width].

        Raises:
            UnreadableImages: some can't be read, all of which are named.
        """
        cells = column.to_list()
        pictures = np.zeros((len(cells), 3, self.height, self.width), np.uint8)
        wrong: dict[int, str] = {}

        def put(row: int) -> None:
            found = _opened(cells[row], self.folder, row)
            if isinstance(found, str):
                wrong[row] = found
            else:
                pixels = torch.from_numpy(np.array(found)).permute(2, 0, 1)[None]
                pictures[row] = resized(pixels, (self.height, self.width))[0].numpy()

        _at_once(put, (row for row, cell in enumerate(cells) if cell is not None))
        if wrong and not self.lenient:
            raise UnreadableImages(self.name, dict(sorted(wrong.items())), len(cells))
        return {self.name: pictures}

    def unread(self, column: pl.Series) -> dict[int, str]:
        """Pictures that can't be read where these count as missing: why, by the number of the row.

        Raises:
            PolytaskError: none of several rows has one that can be read; where they were looked for.

        Cost: every picture is read once more.
        """
        cells = column.to_list()
        there = [row for row, cell in enumerate(cells) if cell is not None] if self.lenient else []
        wrong: dict[int, str] = {}

        def look(row: int) -> None:
            found = _opened(cells[row], self.folder, row)
            if isinstance(found, str):
                wrong[row] = found

        _at_once(look, there)
        found = dict(sorted(wrong.items()))
        if there and len(found) == len(there) and len(cells) > 1:
            where = f"; they were looked for in {Path(self.folder).resolve()}" if column.dtype == pl.String else ""
            raise PolytaskError(
                f"column '{self.name}': none of its {len(there):,} pictures can be read{where}: "
                f"{listed(list(found.values()), SHOWN, '; ')}"
            )
        return found

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Encoder:
        return cls(**plain)


def folder_of(path: str | Path) -> Path:
    """What names of files in the table at a path are relative to: the folder of its file.

    >>> folder_of("photos/labels.csv").name
    'photos'
    """
    path = Path(path)
    return path if path.is_dir() else path.parent


def _at_once(work: Callable[[int], None], rows: Iterable[int]) -> None:
    """Do this for rows, several at a time."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(work, rows))


def _opened(cell: str | bytes, folder: str, row: int) -> Bytes | str:
    """The picture [h, w, 3], or why it can't be read."""
    try:
        if isinstance(cell, bytes):
            return decode(cell, f"row {row + 1}", "RGB")
        return read_image(Path(folder) / cell, "RGB")
    except PolytaskError as error:
        return str(error).split(": it is cut short")[0]


def _size(size: int | Sequence[int]) -> tuple[int, int] | None:
    """Height and width, where they are said."""
    sides = [size, size] if isinstance(size, int) else list(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 0 for side in sides):
        raise PolytaskError(f"'size' of an image must be a whole number of pixels, or [height, width], got {size!r}")
    return (sides[0], sides[1]) if all(sides) else None


def _usual_size(pictures: Sequence[Bytes | str]) -> tuple[int, int]:
    """The median height and width of those that can be read, at most 64 pixels."""
    sides = [each.shape[:2] for each in pictures if not isinstance(each, str)]
    if not sides:
        return LARGEST, LARGEST  # that none can be read is told when all are
    height, width = np.median(np.array(sides), axis=0)
    shrink = min(1.0, LARGEST / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))
