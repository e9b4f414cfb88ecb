"""Columns in files: written some rows at a time, mapped into memory as tensors without a copy."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polytask.errors import PolytaskError

Array = np.ndarray[Any, np.dtype[Any]]


class Mapped(Tensor):
    """A tensor whose numbers stay in a `.npy` file: pages are read when they are touched, and may be dropped again.

    A slice of it is one as well. Pickled or copied it is the name of its file, so that other processes map it as well.
    Whatever else is made of it (chosen rows, a sum) is an ordinary tensor. Writing to it changes the memory of this
    process, never the file.

    Attributes:
        path: of the file.
        known_finite: no number in it is NaN or infinite; that need not be looked at again.
        first: of the rows of the file, the one that it begins with.

    >>> import pickle, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x.npy"
    >>> write_rows(path, np.float32, (3, 2), [np.ones((2, 2)), np.zeros((1, 2))])
    >>> column = mapped(path)
    >>> column.index_select(0, torch.tensor([2, 0])).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    >>> len(pickle.dumps(column)) < 300
    True
    """

    path: Path
    known_finite: bool = False
    first: int = 0
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __getitem__(self, index: Any) -> Tensor:
        if not isinstance(index, slice) or index.step not in (None, 1):
            return super().__getitem__(index)
        first, last, _ = index.indices(len(self))
        return self.narrow(0, first, max(0, last - first))

    def narrow(self, dim: int, start: Any, length: Any) -> Tensor:
        """Some neighbouring rows, still in the file."""
        found = super().narrow(dim, start, length)
        return found if dim else _mapped(found, self.path, self.known_finite, self.first + int(start))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return mapped, (self.path, self.known_finite, self.first, len(self))

    def __deepcopy__(self, memo: Any) -> Tensor:
        return mapped(self.path, self.known_finite, self.first, len(self))


def mapped(path: Path, known_finite: bool = False, first: int = 0, rows: int | None = None) -> Tensor:
    """The tensor of a `.npy` file, or some of its rows; an empty one is an ordinary tensor.

    Raises:
        PolytaskError: the file is not there, or not whole.
    """
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if (empty := _empty(path)) is not None:
            return torch.from_numpy(empty)
        raise PolytaskError(f"{path} is no whole .npy file ({error})") from error
    whole = torch.from_numpy(array)
    return _mapped(whole[first:] if rows is None else whole[first : first + rows], path, known_finite, first)


def _mapped(tensor: Tensor, path: Path, known_finite: bool, first: int) -> Mapped:
    made = tensor.as_subclass(Mapped)
    made.path, made.known_finite, made.first = path, known_finite, first
    return made


def write_rows(path: Path, dtype: Any, shape: tuple[int, ...], blocks: Iterable[Array]) -> None:
    """A `.npy` file of this shape, from blocks of rows that come one after the other.

    Raises:
        OSError: the disk is full, say. (A mapped file that is written on a full disk would end the process.)
    """
    with path.open("wb") as file:
        write_header(file, dtype, shape)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)


def write_header(file: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    """The beginning of a `.npy` file, before its numbers in the order of rows."""
    told = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, told)


def _empty(path: Path) -> Array | None:
    """The array of a file that holds none: it can't be mapped."""
    try:
        found: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return None if found.size else found
