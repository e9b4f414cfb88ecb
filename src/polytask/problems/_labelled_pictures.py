"""The forms in which small labelled pictures are read: archives of JPEG or plain arrays, CIFAR's binary files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from polytask.data.images import Blob
from polytask.errors import PolytaskError
from polytask.problems._files import data_file, read_archive

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Batch:
    """Some pictures, uint8 [n, channels, h, w], and their labels by kind, [n] each."""

    images: Tensor
    labels: Mapping[str, Tensor]


class Pictures(Protocol):
    """Labelled pictures that can be read in part."""

    def __len__(self) -> int: ...

    def read(self, rows: Tensor) -> Batch:
        """Some of them."""


@dataclass(frozen=True)
class InMemory:
    """Pictures that are there already."""

    images: Tensor
    labels: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Tensor) -> Batch:
        return Batch(self.images[rows], {kind: each[rows] for kind, each in self.labels.items()})


class JpegArchive:
    """A .npz file of JPEG pictures laid end to end (`Blob`): image_data, image_offset, jpeg_header (the bytes that all
    begin with), label, class_names."""

    def __init__(self, path: Path) -> None:
        entries = read_archive(path, "image_data", "image_offset", "jpeg_header", "label", "class_names")
        self.blob = Blob(entries["image_data"], entries["image_offset"], str(path), entries["jpeg_header"].tobytes())
        self.labels = torch.from_numpy(entries["label"].astype(np.int64))
        self.names = tuple(map(str, entries["class_names"]))

    def __len__(self) -> int:
        return len(self.blob)

    def read(self, rows: Tensor) -> Batch:
        images = self.blob.stacked(rows.tolist()).permute(0, 3, 1, 2).contiguous()
        return Batch(images, {"label": self.labels[rows]})


def read_records(paths: Sequence[Path], *kinds: str) -> InMemory:
    """Files of CIFAR's binary version: for each picture one byte per kind of label, then 32 x 32 pixels of red, green
    and blue, row by row.

    Raises:
        PolytaskError: a file is not there, or its length is not that of whole records.
    """
    size = len(kinds) + PIXELS
    found = []
    for path in paths:
        data = np.fromfile(data_file(path.parent, path.name), np.uint8)
        if not len(data) or len(data) % size:
            raise PolytaskError(
                f"{path} has {len(data)} bytes, which are not records of {size} ({len(kinds)} for labels and {PIXELS} "
                "for pixels): it is cut short, or of another kind; copy it again"
            )
        found.append(data.reshape(-1, size))
    records = torch.from_numpy(np.concatenate(found))
    labels = {kind: records[:, k].long() for k, kind in enumerate(kinds)}
    return InMemory(records[:, len(kinds) :].reshape(-1, 3, SIDE, SIDE).contiguous(), labels)


def read_names(path: Path) -> tuple[str, ...]:
    """The names in a text file, one a line; none where there is no such file."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return tuple(line.strip() for line in lines if line.strip())


def parts(
    train: Pictures, test: Pictures, n_train: int | None, most: int, seed: int
) -> dict[str, tuple[Pictures, Tensor]]:
    """Of which pictures each split is made: validation drawn from the training ones, at most `most` and a tenth of
    them; of both others at most half as many as are trained on.

    Raises:
        PolytaskError: too few, or more than there are.
    """
    tenth = max(1, min(most, len(train) // 10))
    wanted = len(train) - tenth if n_train is None else n_train
    if not 2 <= wanted <= len(train) - tenth:
        raise PolytaskError(
            f"n_train must be 2 to {len(train) - tenth} ({len(train)} training pictures less {tenth} for validation), "
            f"got {n_train}"
        )
    half = len(train) if n_train is None else max(1, n_train // 2)
    drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    return {
        "train": (train, drawn[tenth : tenth + wanted]),
        "validation": (train, drawn[: min(tenth, half)]),
        "test": (test, torch.arange(min(len(test), half))),
    }
