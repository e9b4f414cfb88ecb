"""The files of MTFL: encoded pictures, landmarks and labels."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polytask.data.images import Blob
from polytask.errors import PolytaskError
from polytask.problems._files import data_file, read_archive

Array = np.ndarray[Any, np.dtype[Any]]

SOURCES = ("LFW", "the net", "AFLW")
KINDS = ("pose", "smile", "glasses", "gender")


class FaceArchive:
    """A .npz file with image_data and image_offset (pictures laid end to end, see `Blob`); landmarks [n, 5, 2]; pose 0
    to 4, smile, glasses and gender, 0 or 1; source 0 to 2.

    Args:
        data_root, name: where.

    Raises:
        PolytaskError: it is not there, not whole, lacks something, or its columns differ in length.
    """

    def __init__(self, data_root: Path, name: str) -> None:
        path = data_file(data_root, name)
        found = read_archive(path, "image_data", "image_offset", "landmarks", *KINDS, "source")
        self.blob = Blob(found["image_data"], found["image_offset"], str(path))
        self.landmarks = torch.from_numpy(found["landmarks"].astype(np.float32))
        self.labels = {kind: torch.from_numpy(found[kind].astype(np.int64)) for kind in KINDS}
        self.source = torch.from_numpy(found["source"].astype(np.int64))
        contents = [self.blob.data[first:last].tobytes() for first, last in pairwise(self.blob.offset)]
        alike = Counter(contents)
        self.repeated = torch.tensor([alike[each] > 1 for each in contents])
        """[n] whether the same picture is there once more."""
        lengths = {"landmarks": len(self.landmarks), "source": len(self.source)}
        lengths |= {kind: len(each) for kind, each in self.labels.items()}
        wrong = {kind: count for kind, count in lengths.items() if count != len(self)}
        if wrong:
            raise PolytaskError(f"{path} has {len(self)} pictures and {wrong} labels; copy it again")

    def __len__(self) -> int:
        return len(self.blob)

    def targets(self, rows: Tensor) -> dict[str, Tensor]:
        """Landmarks and labels of some pictures."""
        return {"landmarks": self.landmarks[rows]} | {kind: each[rows] for kind, each in self.labels.items()}
