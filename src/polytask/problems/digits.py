"""Two real handwritten digits in one picture."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from polytask.data import TensorData
from polytask.errors import PolytaskError
from polytask.problems._overlay import draw_pairs, overlay
from polytask.problems.problem import Problem
from polytask.sharing import SmallCNN
from polytask.tasks import MultiClass, Regression, Task

CANVAS = (12, 14)
LEFT, RIGHT = ((0, 5), (0, 3)), ((0, 5), (4, 7))


def digits(n_train: int = 4000, seed: int = 0, auxiliary: bool = False) -> Problem:
    """Two handwritten digits overlap in one small picture: name the left one and the right one.

    * Input: 1 x 12 x 14 pixels in 0..1. Two 8 x 8 digits are laid at random places (the right one 2 to 6
      columns further right, both 0 to 4 rows down), so that they overlap; the lighter pixel wins.
    * Tasks: `left` and `right`, 10 classes each; with `auxiliary`, also `sum` of the two digits, a
      regression that is trained for the sake of the others.
    * Size: `n_train` training pictures, a quarter as many for validation, half as many for test.
    * Split: the 1797 source digits are split 70 / 15 / 15 % by class *before* they are laid together, so no
      source digit is in two splits. (Within a split they are drawn again and again.)
    * Source: "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, UCI 1998), the 1797 test
      digits that ship with scikit-learn. Licence: CC BY 4.0.

    The construction follows MultiMNIST (Sabour, Frosst, Hinton, NeurIPS 2017, section 6.1). On the test
    split a logistic regression on the pixels names 35 % of the digits right, the default network with hard
    sharing about 86 % after the suggested 16 epochs (some seconds on one CPU core); chance is 10 %.

    Args:
        n_train: number of training pictures.
        seed: draws the split, the pairs and the places.
        auxiliary: add the task `sum`.

    Cost: about 50 ms.

    >>> problem = digits(n_train=100)
    >>> [task.name for task in problem.tasks], len(problem.splits["test"])
    (['left', 'right'], 50)
    """
    if n_train < 40:
        raise PolytaskError(f"digits needs at least 40 training pictures, got n_train={n_train}")
    bunch = load_digits()
    pictures, labels = (bunch.images / 16).astype(np.float32), bunch.target
    sources = digit_sources(labels, seed)
    rng = np.random.default_rng(seed)
    splits = {}
    for (name, own), size in zip(sources.items(), (n_train, n_train // 4, n_train // 2), strict=True):
        pairs = draw_pairs(own, size, rng)
        found = torch.from_numpy(labels[pairs]).long()
        targets = {"left": found[:, 0], "right": found[:, 1]}
        if auxiliary:
            targets["sum"] = found.sum(1).float()
        splits[name] = TensorData(torch.from_numpy(overlay(pictures, pairs, CANVAS, LEFT, RIGHT, rng)), targets)
    tasks: list[Task] = [MultiClass("left", classes=10), MultiClass("right", classes=10)]
    tasks += [Regression("sum", auxiliary=True)] if auxiliary else []
    return Problem(
        name="digits",
        tasks=tuple(task.fitted(splits["train"].targets[task.name]) for task in tasks),
        splits=splits,
        backbone=SmallCNN(channels=1, widths=(16, 32, 64)),
        summary="Two overlapping handwritten digits in one 12 x 14 picture: name the left and the right one",
        source="Handwritten Digits (Alpaydin, Kaynak 1998; UCI), as shipped with scikit-learn",
        licence="CC BY 4.0",
        suggested={"epochs": 16, "batch_size": 64, "learning_rate": 3e-3},
        spec={"name": "digits", "args": {"n_train": n_train, "seed": seed, "auxiliary": auxiliary}},
        notes=(
            "the 1797 source digits are split before composing: no source digit is in two splits",
            f"the {n_train // 2} test pictures are made of {len(sources['test'])} source digits: they are "
            f"not independent",
        ),
    )


def digit_sources(labels: "np.ndarray", seed: int) -> dict[str, "np.ndarray"]:
    """Source digits of each split: 70, 15 and 15 % of every class."""
    rest, test = train_test_split(np.arange(len(labels)), test_size=0.15, stratify=labels, random_state=seed)
    train, validation = train_test_split(rest, test_size=0.15 / 0.85, stratify=labels[rest], random_state=seed)
    return {"train": train, "validation": validation, "test": test}
