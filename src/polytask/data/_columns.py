"""Rows of columns: taken when they are asked for, summed up without being held, and copied without more."""

import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor

from polytask.data.batch import gathered
from polytask.data.mapped import Mapped

Index = Tensor | slice
ALL = slice(None)
CHUNK = 1 << 26
"""Bytes of a column that are looked at together for a checksum."""


def taken(column: Tensor, rows: Tensor | None, index: Index = ALL, device: torch.device | None = None) -> Tensor:
    """Rows of a column, on a device.

    Args:
        column: where they are.
        rows: of a view, the numbers of its rows in the column; None: all of them.
        index: which rows of the view; those of a slice of a whole column are not copied.
    """
    index = index if rows is None else rows[index]
    return column[index] if isinstance(index, slice) else gathered(column, index, device)


def own(column: Tensor) -> Tensor:
    """A column without what else lies in its memory, which would be pickled with it; one in a file stays there."""
    if isinstance(column, Mapped):
        return column
    return column.clone() if column.untyped_storage().nbytes() > column.numel() * column.element_size() else column


def add_column(digest: hashlib.blake2b, what: str, column: Tensor, rows: int, part: Callable[[slice], Tensor]) -> None:
    """Add a column to a checksum, some rows at a time.

    Args:
        digest: the checksum.
        what: the column is called.
        column: where it is stored; only its type and shape are looked at.
        rows: how many it has.
        part: gives those of a slice.
    """
    kind = part(slice(0, 0)).dtype
    digest.update(f"{what} {kind} {[rows, *column.shape[1:]]}".encode())
    at_once = max(1, CHUNK // max(1, column.element_size() * math.prod(column.shape[1:])))
    for first in range(0, rows, at_once):
        digest.update(part(slice(first, first + at_once)).contiguous().numpy().data)
