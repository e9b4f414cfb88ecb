"""MTFL: photographs of faces with five landmarks, pose, smile, glasses and a gender that was given to them."""

from pathlib import Path

import torch
from torch import Tensor

from polytask.data import Augmentation, TensorData
from polytask.errors import PolytaskError
from polytask.problems._files import pictures
from polytask.problems._mtfl_files import SOURCES, FaceArchive
from polytask.problems.faces.problem import AUGMENTATION, COMMON
from polytask.problems.multi_mnist import bytes_to_floats
from polytask.problems.problem import Problem
from polytask.sharing import SmallCNN
from polytask.tasks import Binary

SMALLEST = 32


def mtfl(
    data_root: Path,
    n_train: int | None = None,
    size: int = 40,
    colour: bool = False,
    augment: bool = True,
    seed: int = 0,
) -> Problem:
    """Photographs of faces: where eyes, nose and mouth are; how the head is turned; smile, glasses, gender.

    * Input: 1 x 40 x 40 grey pixels, as in the paper (or another size, or 3 x 40 x 40 in colour), held as bytes and
      given to the network as 0..1.
    * Tasks: `landmarks`, the main one: left eye, right eye, nose, left and right corner of the mouth, as fractions of
      the picture, with the normalised mean error (NME) over the distance of the eyes and the share of faces above 0.1.
      Auxiliary: `pose`, one of left profile, left, frontal, right, right profile (where the nose points in the
      picture); `smile`; `glasses`; `gender`. Left is left in the picture.
    * Size: 9,000 training, 1,000 validation, 2,995 test pictures.
    * Split: the official test pictures. Validation is a tenth of the official training pictures, drawn by `seed` from
      each of their two sources (LFW 4,151, the net 5,849) alike. The test pictures come from a third one, AFLW: scores
      there are those of another domain, and validation, on which models are chosen, is not of it.
    * Source: Zhang, Luo, Loy, Tang 2014, Facial Landmark Detection by Deep Multi-task Learning. Licence: none stated
      with the files; the pictures of AFLW are for non-commercial research, and not to be given away.

    These are faces of real people, who were not asked. `gender` is the data set's own label, male or female, as its
    makers saw it in the picture; it says nothing about how a person sees themself, and a network that predicts it is
    good for comparing methods only.

    Read are `mtfl/train.npz` and `mtfl/test.npz` below `data_root`: encoded pictures of faces cut out with a fixed
    square (by LFW's and AFLW's own frames, not by landmarks), landmarks as fractions of it (missing points: NaN twice;
    three training pictures have a point outside), labels, `source`. The files name no persons: whether two pictures
    show the same one can't be told, and one may be in training and in validation. Four pictures are there twice or
    three times; they stay in training. (Their points were placed anew each time, and differ by up to 0.01.)

    Training pictures are augmented: mirrored, half of them, with left and right points and poses changing places; and
    windows of 1 / 1.1 of their size or all of it. The paper's own augmentation, if any, is not known to us.

    Hard sharing with the default trunk and the suggested budget scores on the test split (one seed; in parentheses the
    best constant): NME 0.122 (0.239), above 0.1 are 0.53 of the faces (0.97); accuracy of pose 0.74 (0.61), smile 0.77
    (0.55), glasses 0.93 (0.92), gender 0.80 (0.39), in 45 seconds of one core. On validation pictures NME is 0.078. On
    test pictures it is 0.141 without augmentation, and 0.130 with the paper's own trunk, `sharing.TCDCN`, at a learning
    rate of 1e-3, in two minutes.

    Args:
        data_root: the folder that holds the files.
        n_train: number of training pictures, by default all; of validation and test pictures there are at most half as
            many.
        size: height and width in pixels; the files have 96.
        colour: red, green and blue instead of grey.
        augment: whether training pictures are.
        seed: draws the validation pictures, and which are trained on.

    Raises:
        PolytaskError: the files are not there, or broken; a size that is too small; more pictures than there are.

    Cost: 0.4 ms a picture to read; 1.6 kB of memory each.
    """
    if not isinstance(size, int) or size < SMALLEST:
        raise PolytaskError(f"size must be a whole number of at least {SMALLEST} pixels, got {size!r}")
    train, test = (FaceArchive(Path(data_root), f"mtfl/{part}.npz") for part in ("train", "test"))
    rows = _rows(train, len(test), n_train, seed)
    splits = {
        "train": _data(train, rows["train"], size, colour, AUGMENTATION if augment else None),
        "validation": _data(train, rows["validation"], size, colour),
        "test": _data(test, rows["test"], size, colour),
    }
    tasks = (*COMMON, Binary("gender", ("male", "female"), auxiliary=True))
    asked = {"n_train": n_train, "size": size, "colour": colour, "augment": augment, "seed": seed}
    return Problem(
        name="mtfl",
        tasks=tuple(task.fitted(splits["train"].targets[task.name]) for task in tasks),
        splits=splits,
        backbone=SmallCNN(3 if colour else 1, widths=(16, 32, 64, 128)),
        summary=f"Photographs of faces, {size} x {size} pixels: five landmarks; pose, smile, glasses, gender help",
        source="MTFL (Zhang, Luo, Loy, Tang 2014)",
        licence="none stated with the files; those of AFLW for non-commercial research",
        suggested={"epochs": 20, "batch_size": 64, "learning_rate": 3e-3},
        spec={"name": "mtfl", "args": {"data_root": str(data_root), **asked}},
        notes=(
            "faces of real people; gender is the data set's own label, as its makers saw it",
            f"pictures come from {SOURCES[0]} and {SOURCES[1]}, test pictures from {SOURCES[2]}: another domain",
            "the files name no persons: one may be in training and in validation",
            "the squares are not those of the paper's face detector: errors can't be compared with its own",
        ),
    )


def _rows(faces: FaceArchive, tests: int, n_train: int | None, seed: int) -> dict[str, Tensor]:
    """Which pictures each split is made of: a tenth of every source for validation, the rest shuffled."""
    source = faces.source
    drawn = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    held_out = torch.zeros(len(source), dtype=torch.bool)
    for each in source.unique():
        own = drawn[(source == each)[drawn] & ~faces.repeated[drawn]]
        held_out[own[: max(1, round(int((source == each).sum()) / 10))]] = True
    rest, held = drawn[~held_out[drawn]], drawn[held_out[drawn]]
    wanted = len(rest) if n_train is None else n_train
    if not 2 <= wanted <= len(rest):
        raise PolytaskError(
            f"n_train must be 2 to {len(rest)} ({len(source)} training pictures less {len(held)} for validation), got "
            f"{n_train}"
        )
    half = len(source) if n_train is None else max(1, wanted // 2)
    return {"train": rest[:wanted], "validation": held[:half], "test": torch.arange(min(tests, half))}


def _data(faces: FaceArchive, rows: Tensor, size: int, colour: bool, augment: Augmentation | None = None) -> TensorData:
    return TensorData(pictures(faces.blob, rows, size, colour), faces.targets(rows), bytes_to_floats, augment)
