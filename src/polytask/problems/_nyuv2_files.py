"""The two forms in which NYU Depth V2 is read: archives of encoded pictures, and folders of arrays."""

from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from polytask.data.images import Blob, Size, stacked
from polytask.errors import PolytaskError
from polytask.problems._files import data_file, read_archive
from polytask.problems._scene_maps import Maps, positive, unit
from polytask.tasks import MISSING_CLASS

Array = np.ndarray[Any, np.dtype[Any]]

AT_ONCE = 16
NEIGHBOURS = 8
NAMES_13 = (
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table", "tv", "wall",
    "window",
)  # fmt: skip


class Files(ABC):
    """Where the pictures of the official training and test parts lie."""

    notes: ClassVar[tuple[str, ...]]
    """What a reader of results must know."""

    @abstractmethod
    def count(self, part: str) -> int:
        """How many pictures a part has."""

    @abstractmethod
    def neighbours(self, part: str) -> Tensor:
        """[n] a number for each picture, the same for those that were probably taken in one room."""

    @abstractmethod
    def names(self, classes: int) -> tuple[str, ...]:
        """The names of that many classes.

        Raises:
            PolytaskError: there are no such labels.
        """

    @abstractmethod
    def maps(self, part: str, rows: list[int], classes: int) -> Maps:
        """Some pictures of a part."""

    def read(self, part: str, rows: list[int], classes: int, size: Size) -> Maps:
        """Some pictures of a part in some size, a few at a time."""
        whole: list[Tensor] = []
        for first in range(0, len(rows), AT_ONCE):
            piece = self.maps(part, rows[first : first + AT_ONCE], classes).resized(size).packed()
            whole = whole or [each.new_empty(len(rows), *each.shape[1:]) for each in piece]
            for into, each in zip(whole, piece, strict=True):
                into[first : first + len(each)] = each
        return Maps(*whole)


class Archives(Files):
    """`train.npz` and `test.npz`: encoded pictures laid end to end (`Blob`), K_data and K_offset for each kind K of
    image, depth (8 bits, times `depth_scale` metres), seg (0: none, 1 to 40) and normal (n = v / 127.5 - 1); `index`
    (official numbers), `map40to13`, `names13`, `names40`."""

    notes = (
        "the normals were derived from the depth: their scores can't be compared with published ones",
        "depth was in-painted where the sensor saw none, and is rounded to 8 bits (2 cm)",
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.part = cache(self._part)
        """Everything in a file, read once."""

    def _part(self, name: str) -> dict[str, Array]:
        blobs = [f"{kind}_{what}" for kind in ("image", "depth", "seg", "normal") for what in ("data", "offset")]
        return read_archive(data_file(self.folder, f"{name}.npz"), *blobs, "index", "depth_scale")

    def count(self, part: str) -> int:
        return len(self.part(part)["index"])

    def neighbours(self, part: str) -> Tensor:
        # The official parts never share a room, and numbers go by room: a gap in the numbers lies between two rooms.
        number = torch.from_numpy(self.part(part)["index"].astype(np.int64))
        return torch.cat([torch.zeros(1, dtype=torch.long), (number.diff() != 1).cumsum(0)])

    def names(self, classes: int) -> tuple[str, ...]:
        key = f"names{classes}"
        if key not in self.part("train"):
            raise PolytaskError(f"NYUv2 has 13 or 40 classes in {self.folder}, not {classes}")
        return tuple(map(str, self.part("train")[key][1:]))

    def maps(self, part: str, rows: list[int], classes: int) -> Maps:
        table = self.part(part).get(f"map40to{classes}", np.arange(41)).astype(np.int64)
        numbers = torch.from_numpy(np.where(table > 0, table - 1, MISSING_CLASS).astype(np.int8))
        image, seg, depth, normal = (self._stacked(part, kind, rows) for kind in ("image", "seg", "depth", "normal"))
        return Maps(
            image.permute(0, 3, 1, 2).contiguous(),
            numbers[seg.long()],
            positive(depth * float(self.part(part)["depth_scale"][0])),
            unit(normal.permute(0, 3, 1, 2).float() / 127.5 - 1),
        )

    def _stacked(self, part: str, kind: str, rows: list[int]) -> Tensor:
        file = self.part(part)
        blob = Blob(file[f"{kind}_data"], file[f"{kind}_offset"], f"{kind} in {self.folder / part}.npz")
        return blob.stacked(rows)


class Folders(Files):
    """`train/` and `val/` with image, label, depth and normal, each holding 0.npy, 1.npy, ...: [h, w, 3] in 0..1,
    [h, w] with -1 for none and 0 to 12, [h, w, 1] metres with 0 for none, [h, w, 3] with (0, 0, 0) for none."""

    PARTS: ClassVar[dict[str, str]] = {"train": "train", "test": "val"}
    notes = (
        "the files do not say which pictures show one room: validation is made of runs of 8 pictures",
        "a pixel has no normal where its length is 0; the public code drops those whose numbers add up to 0",
    )

    def __init__(self, root: Path) -> None:
        self.root = root

    def count(self, part: str) -> int:
        folder = self.root / self.PARTS[part] / "image"
        found = len(list(folder.glob("*.npy")))
        if not found:
            raise PolytaskError(f"expected pictures 0.npy, 1.npy, ... in {folder}, and there are none; put them there")
        return found

    def neighbours(self, part: str) -> Tensor:
        count = self.count(part)
        return torch.arange(count) // min(NEIGHBOURS, max(1, count // 20))

    def names(self, classes: int) -> tuple[str, ...]:
        if classes != len(NAMES_13):
            raise PolytaskError(f"the pre-processed arrays in {self.root} have 13 classes, not {classes}")
        return NAMES_13

    def maps(self, part: str, rows: list[int], classes: int) -> Maps:
        image, label, depth, normal = (
            self._stacked(part, kind, rows) for kind in ("image", "label", "depth", "normal")
        )
        depth = depth.reshape(depth.shape[:3])
        return Maps(
            _bytes(image.permute(0, 3, 1, 2)).contiguous(),
            torch.where(label >= 0, label, MISSING_CLASS).to(torch.int8),
            positive(depth.float()),
            unit(normal.permute(0, 3, 1, 2).float().nan_to_num(0.0)),
        )

    def _stacked(self, part: str, kind: str, rows: list[int]) -> Tensor:
        paths = [self.root / self.PARTS[part] / kind / f"{row}.npy" for row in rows]
        return stacked([_loaded(path) for path in paths], list(map(str, paths)))


def _bytes(image: Tensor) -> Tensor:
    return image if image.dtype == torch.uint8 else (image * 255).round().clamp(0, 255).to(torch.uint8)


def _loaded(path: Path) -> Array:
    try:
        found: Array = np.load(path)
    except FileNotFoundError as error:
        raise PolytaskError(
            f"expected the file {path} and it is not there; every image has a label, a depth and a normal of its number"
        ) from error
    except (OSError, ValueError, EOFError) as error:
        raise PolytaskError(f"{path} is no whole .npy file ({error}); copy it again") from error
    return found


def find(data_root: Path) -> Files:
    """The files below a folder.

    Raises:
        PolytaskError: neither form is there.
    """
    if (data_root / "nyuv2" / "train.npz").is_file():
        return Archives(data_root / "nyuv2")
    for root in (data_root / "nyuv2", data_root):
        if (root / "train" / "image").is_dir():
            return Folders(root)
    what = f"no folder {data_root}" if not data_root.is_dir() else f"no NYUv2 in {data_root}"
    raise PolytaskError(
        f"{what}: expected the file {data_root}/nyuv2/train.npz (and test.npz), archives of encoded pictures; or the "
        f"folders {data_root}/nyuv2/train and val, each with image, label, depth and normal that hold 0.npy, 1.npy, "
        "..., the public pre-processed arrays; put one of them there, or give another --data-root"
    )
