"""PACS: seven things as photographs, paintings, cartoons and sketches; a data set and a task for each style."""

from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from polytask.data import Augmentation, RandomFlip, TensorData, mixture
from polytask.data.images import Blob
from polytask.errors import PolytaskError
from polytask.problems._files import data_file, pictures, read_archive
from polytask.problems.multi_mnist import bytes_to_floats
from polytask.problems.problem import Problem
from polytask.sharing import SmallCNN
from polytask.tasks import MultiClass

FILE = "pacs/pacs.npz"
MIRRORED = Augmentation((RandomFlip(),))
SMALLEST = 16
VALIDATION = 0.125
"""Of the pictures that are not for test: a tenth of all."""


def pacs(data_root: Path, size: int = 48, augment: bool = True, seed: int = 0) -> Problem:
    """Dog, elephant, giraffe, guitar, horse, house or person, as photograph, painting, cartoon or sketch.

    * Input: 3 x 48 x 48 pixels (or another size; the file has 96), held as bytes and given to the network as 0..1.
    * Tasks: `photo`, `art_painting`, `cartoon`, `sketch`, one per style, of 7 classes each. A picture has a label for
      the task of its style only; samplers draw from the styles (`TensorData.sources`).
    * Size: 1,670 photographs, 2,048 paintings, 2,344 cartoons, 3,929 sketches.
    * Split: test is every fifth picture of each class in each style, as the file says (the official lists are for
      training on three styles and testing on the fourth, which is another question); a tenth of all, drawn by `seed`
      from each class in each style alike, validates.
    * Source: Li, Yang, Song, Hospedales 2017, Deeper, Broader and Artier Domain Generalization. Licence: none stated.

    Read is `pacs/pacs.npz` below `data_root`: encoded pictures laid end to end (`image_data`, `image_offset`),
    `domain`, `label`, `is_test`, `domain_names`, `class_names`. Training pictures are mirrored, half of them.

    Args:
        data_root: the folder that holds it.
        size: height and width in pixels.
        augment: whether training pictures are mirrored.
        seed: draws the validation pictures.

    Raises:
        PolytaskError: the file is not there, or broken; a size that is too small; a seed below 0.

    Cost: 0.5 ms a picture to read; 7 kB of memory each.
    """
    if not isinstance(size, int) or size < SMALLEST:
        raise PolytaskError(f"size must be a whole number of at least {SMALLEST} pixels, got {size!r}")
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise PolytaskError(f"seed must be a whole number from 0 to 2^32 - 1, got {seed!r}")
    path = data_file(data_root, FILE)
    found = read_archive(
        path, "image_data", "image_offset", "domain", "label", "is_test", "domain_names", "class_names"
    )
    blob = Blob(found["image_data"], found["image_offset"], str(path))
    style, label = (torch.from_numpy(found[each].astype(np.int64)) for each in ("domain", "label"))
    if not len(style) == len(label) == len(found["is_test"]) == len(blob):
        raise PolytaskError(f"{path} has {len(blob)} pictures and another number of labels; copy it again")
    names, classes = (tuple(map(str, found[each])) for each in ("domain_names", "class_names"))
    rows = _rows(style * len(classes) + label, torch.from_numpy(found["is_test"].astype(bool)), seed)
    images = pictures(blob, torch.arange(len(blob)), size)
    splits = {
        split: mixture({
            name: TensorData(
                images[own], {name: label[own]}, bytes_to_floats, MIRRORED if augment and split == "train" else None
            )
            for number, name in enumerate(names)
            for own in [which[style[which] == number]]
        })
        for split, which in rows.items()
    }  # fmt: skip
    return Problem(
        name="pacs",
        tasks=tuple(MultiClass(name, classes).fitted(splits["train"].targets[name]) for name in names),
        splits=splits,
        backbone=SmallCNN(3, widths=(32, 64, 128, 128)),
        summary=f"Seven things in four styles, {size} x {size} pixels, a data set for each style: name the thing",
        source="PACS (Li, Yang, Song, Hospedales 2017)",
        licence="none stated",
        suggested={"epochs": 15, "batch_size": 32, "learning_rate": 2e-3},
        spec={
            "name": "pacs",
            "args": {"data_root": str(data_root), "size": size, "augment": augment, "seed": seed},
        },
        notes=("the split is the file's own, within every style: scores are not those of published tables",),
    )


def _rows(kind: Tensor, is_test: Tensor, seed: int) -> dict[str, Tensor]:
    """Which pictures each split is made of; validation has a share of every kind."""
    rest = (~is_test).nonzero()[:, 0].numpy()
    try:
        train, validation = train_test_split(rest, test_size=VALIDATION, stratify=kind[rest].numpy(), random_state=seed)
    except ValueError as error:
        raise PolytaskError(
            f"{FILE} has too few pictures to draw validation pictures of every kind: {error}"
        ) from error
    splits = {"train": np.sort(train), "validation": np.sort(validation)}
    return {name: torch.from_numpy(each) for name, each in splits.items()} | {"test": is_test.nonzero()[:, 0]}
