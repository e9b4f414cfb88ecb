"""NYU Depth V2: what things are, how far away they are, which way they face."""

from pathlib import Path

import torch
from torch import Tensor

from polytask.data import Augmentation, DepthMap, LabelMap, NormalMap, RandomFlip, RandomScaleCrop, TensorData
from polytask.data.images import Size
from polytask.errors import PolytaskError
from polytask.problems._nyuv2_files import Files, find
from polytask.problems.multi_mnist import bytes_to_floats
from polytask.problems.problem import Problem
from polytask.sharing import SegNet, SmallCNN
from polytask.tasks import Depth, Normals, Segmentation, Task

FULL = (288, 384)
SMALL_CNN = SmallCNN(3, widths=(32, 64, 128, 256))
REDUCED = {"epochs": 30, "batch_size": 16, "learning_rate": 1e-3}
VALIDATION = 0.1


def nyuv2(
    data_root: Path,
    size: Size = FULL,
    n_train: int | None = None,
    n_validation: int | None = None,
    n_test: int | None = None,
    classes: int = 13,
    augment: bool = True,
    seed: int = 0,
) -> Problem:
    """Indoor photographs: a class, a distance and a direction for every pixel.

    * Input: 3 x 288 x 384 pixels in RGB, held as bytes and given to the network as 0..1.
    * Tasks: `segmentation` into 13 (or 40) classes, mIoU and pixel accuracy; `depth` in metres, absolute and relative
      error; `normals` of the surfaces, angles in degrees. Pixels without a class, with a depth of 0 or a normal shorter
      than one half have no label; normals are normalised.
    * Size: 715 training, 80 validation, 654 test pictures.
    * Split: the published 795 / 654. Validation is a tenth of the 795, drawn by `seed` in runs of neighbouring
      pictures: those of one room follow each other, so that (almost) no room is in both.
    * Source: Silberman, Hoiem, Kohli, Fergus 2012, Indoor Segmentation and Support Inference from RGBD Images; the
      tasks and the size are those of Liu, Johns, Davison 2019, End-to-End Multi-Task Learning with Attention. Licence:
      none stated with the files; NYU gives the data out for research.

    Read from `data_root` is what is found there:

    - `nyuv2/train.npz` and `nyuv2/test.npz`, archives of encoded pictures: there the normals were *derived* from the
      depth (not those of the published tables), depth has 8 bits and is in-painted;
    - or `nyuv2/train/` and `nyuv2/val/` (or `train/` and `val/`) with image, label, depth and normal that hold 0.npy,
      1.npy, ...: the public pre-processed arrays that the code of MTAN and of LibMTL reads, 13 classes.

    Training pictures are augmented: `RandomScaleCrop` (1.0, 1.2 or 1.5) and `RandomFlip`. MTAN and its baselines were
    trained without, says the note in LibMTL's loader, which offers it.

    The default trunk is the `SegNet` of that protocol for the full size, for others `SmallCNN` of four stages, which
    trains on a CPU at 96 x 128; name another with `backbone`. The protocol takes 200 epochs of batches of 2 by Adam at
    1e-4, halved after 100.

    Args:
        data_root: the folder that holds the files.
        size: height and width that everything is brought to: pictures, depths and normals as means over areas, labels
            as the nearest.
        n_train, n_test: how many pictures, evenly spaced over the official order, which goes by room; by default all.
        n_validation: how many, by default a tenth of the official training part; of whole rooms, so that they may be
            some fewer.
        classes: 13 or 40.
        augment: whether training pictures are.
        seed: draws the validation part.

    Raises:
        PolytaskError: the files are not there, broken, or of different sizes; more pictures are asked for than there
            are.

    Cost: memory of 1.33 MB a picture at 288 x 384, 1.9 GB for all, 0.15 MB at 96 x 128 (depth and normals in 16 bits);
    more than twice that while it is loaded and the tasks look at the labels. Time of 10 to 20 ms a picture.

    A network of the default trunk at 48 x 64, trained for 12 epochs (under a minute on one CPU core), scores mIoU 0.13,
    absolute depth error 0.79 m and mean angle 37 degrees on the test pictures; the best constants 0.02, 0.97 m, 46.
    """
    size, files = (int(size[0]), int(size[1])), find(Path(data_root))
    if min(size) < 1:
        raise PolytaskError(f"size is the height and the width in pixels, at least 1 each, got {size}")
    rows = _rows(files, n_train, n_validation, n_test, seed)
    made = _augmentation() if augment else None
    splits = {
        "train": _data(files, "train", rows["train"], classes, size, made),
        "validation": _data(files, "train", rows["validation"], classes, size),
        "test": _data(files, "test", rows["test"], classes, size),
    }
    tasks: tuple[Task, ...] = (
        Segmentation("segmentation", files.names(classes)),
        Depth("depth", scored=("absolute", "relative")),
        Normals("normals"),
    )
    asked = {"n_train": n_train, "n_validation": n_validation, "n_test": n_test, "classes": classes}
    return Problem(
        name="nyuv2",
        tasks=tuple(task.fitted(splits["train"].targets[task.name]) for task in tasks),
        splits=splits,
        backbone=SegNet() if size == FULL else SMALL_CNN,
        summary=f"Indoor photographs of {size[0]} x {size[1]} pixels: class, depth and surface normal of every pixel",
        source="NYU Depth V2 (Silberman, Hoiem, Kohli, Fergus 2012)",
        licence="none stated with the files; given out for research",
        suggested={"epochs": 200, "batch_size": 8, "learning_rate": 1e-4} if size == FULL else REDUCED,
        spec={
            "name": "nyuv2",
            "args": {"data_root": str(data_root), "size": list(size), **asked, "augment": augment, "seed": seed},
        },
        notes=(
            "the validation part is taken from the published training part: networks learn from a tenth less",
            "scores are pooled over all pixels of a split, not averaged over batches as in most published tables",
            *files.notes,
        ),
    )


def _augmentation() -> Augmentation:
    follow = {"segmentation": LabelMap(), "depth": DepthMap(), "normals": NormalMap()}
    return Augmentation((RandomScaleCrop(), RandomFlip()), follow)


def _rows(
    files: Files, n_train: int | None, n_validation: int | None, n_test: int | None, seed: int
) -> dict[str, list[int]]:
    """The pictures of each split, by their place in the official part that they belong to."""
    held_out = _held_out(files.neighbours("train"), n_validation, seed)
    return {
        "train": _spaced((~held_out).nonzero()[:, 0], n_train, "n_train"),
        "validation": held_out.nonzero()[:, 0].tolist(),
        "test": _spaced(torch.arange(files.count("test")), n_test, "n_test"),
    }


def _held_out(groups: Tensor, wanted: int | None, seed: int) -> Tensor:
    """[n] which rows are held out: whole groups in an order drawn by `seed`, those that still fit; at least one."""
    wanted = max(1, round(VALIDATION * len(groups))) if wanted is None else wanted
    if not 1 <= wanted < len(groups):
        raise PolytaskError(
            f"n_validation must be 1 or more and leave pictures for training, of which there are {len(groups)}; "
            f"got {wanted}"
        )
    sizes = torch.bincount(groups)
    chosen, left = torch.zeros(len(sizes), dtype=torch.bool), wanted
    for group in torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed)).tolist():
        if sizes[group] <= left:
            chosen[group] = True
            left -= int(sizes[group])
    if not bool(chosen.any()):
        chosen[sizes.argmin()] = True
    return chosen[groups]


def _spaced(rows: Tensor, wanted: int | None, name: str) -> list[int]:
    """So many of some rows, evenly spaced."""
    if wanted is None:
        return [int(row) for row in rows]
    if not 1 <= wanted <= len(rows):
        raise PolytaskError(f"{name} must be 1 to {len(rows)}, the pictures that there are, got {wanted}")
    places = torch.linspace(0, len(rows) - 1, wanted, dtype=torch.float64).round().long()
    return [int(row) for row in rows[places]]


def _data(
    files: Files, part: str, rows: list[int], classes: int, size: Size, augment: Augmentation | None = None
) -> TensorData:
    maps = files.read(part, rows, classes, size)
    targets = {"segmentation": maps.classes, "depth": maps.depth, "normals": maps.normals}
    return TensorData(maps.images, targets, bytes_to_floats, augment)
