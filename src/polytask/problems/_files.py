"""Data files that problems read from disk."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polytask.data.images import Blob, resized
from polytask.errors import PolytaskError

GREY = (0.299, 0.587, 0.114)
AT_ONCE = 512


def data_file(data_root: str | Path, name: str) -> Path:
    """The file of this name (with its folder) below `data_root`; an error says where it was expected."""
    root, path = Path(data_root), Path(data_root) / name
    if path.is_file():
        return path
    if not root.is_dir():
        raise PolytaskError(f"no folder {root}: --data-root must be the folder that holds {name}")
    raise PolytaskError(f"expected the file {path} and it is not there; put it there or give another --data-root")


def read_archive(path: Path, *needed: str) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Everything in a .npz file.

    Raises:
        PolytaskError: it is no whole one, or lacks an array that is needed.
    """
    try:
        with np.load(path) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise PolytaskError(f"{path} is no whole .npz file ({type(error).__name__}: {error}); copy it again") from error
    missing = [name for name in needed if name not in found]
    if missing:
        raise PolytaskError(f"{path} lacks the arrays {', '.join(missing)}; it holds {', '.join(found)}")
    return found


def pictures(blob: Blob, rows: Tensor, size: int, colour: bool = True) -> Tensor:
    """Some of a file's coloured pictures in some size, uint8 [n, 3, size, size], or grey, [n, 1, size, size]: means
    over areas where they shrink.
    """
    images = torch.empty(len(rows), 3 if colour else 1, size, size, dtype=torch.uint8)
    for part, into in zip(rows.split(AT_ONCE), images.split(AT_ONCE), strict=True):
        found = blob.stacked(part.tolist()).permute(0, 3, 1, 2).float()
        shown = found if colour else torch.einsum("nchw,c->nhw", found, torch.tensor(GREY))[:, None]
        into.copy_(resized(shown, (size, size)).round())
    return images
