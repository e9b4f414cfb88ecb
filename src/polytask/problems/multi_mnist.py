"""MultiMNIST: two MNIST digits in one picture."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polytask.data import TensorData
from polytask.data.arrays import Inputs
from polytask.errors import PolytaskError
from polytask.problems._files import data_file
from polytask.problems._overlay import draw_pairs, overlay
from polytask.problems.problem import Problem
from polytask.sharing import SmallCNN
from polytask.tasks import MultiClass

FILE = "mnist/mnist.npz"
CANVAS = (36, 36)
LEFT, RIGHT = ((0, 9), (0, 4)), ((0, 9), (5, 9))
VALIDATION_SOURCES = 10_000


def multi_mnist(data_root: Path, n_train: int = 50_000, seed: int = 0) -> Problem:
    """Two MNIST digits overlap in one picture: name the left one and the right one.

    * Input: 1 x 36 x 36 pixels, held as bytes and given to the network as 0..1. Two 28 x 28 digits are laid
      at random places (left one 0 to 3 columns in, right one 5 to 8, both 0 to 8 rows down); the lighter
      pixel wins.
    * Tasks: `left` and `right`, 10 classes each.
    * Size: `n_train` training pictures, 10,000 for validation, 10,000 for test (less when `n_train` is
      small: at most half as many as training pictures).
    * Split: test pictures are made of the 10,000 official test digits alone, validation pictures of 10,000
      of the official training digits, training pictures of the other 50,000.
    * Source: MNIST (LeCun, Cortes, Burges 1998), `mnist/mnist.npz` with x_train, y_train, x_test, y_test.
      Licence: none stated with the file.

    After Sabour, Frosst, Hinton (NeurIPS 2017, section 6.1) and Sener, Koltun (NeurIPS 2018, section 5.1);
    places and pairs are drawn from `seed`, so the pictures are not those of any published table.

    Args:
        data_root: the folder that holds `mnist/mnist.npz`.
        n_train: number of training pictures.
        seed: draws the validation sources, the pairs and the places.

    Raises:
        PolytaskError: the file is not there.

    Cost: 65 MB of memory per 50,000 pictures, about 1 s.
    """
    if n_train < 40:
        raise PolytaskError(f"multi_mnist needs at least 40 training pictures, got n_train={n_train}")
    with np.load(data_file(data_root, FILE)) as file:
        pictures = np.concatenate([file["x_train"], file["x_test"]])
        labels = np.concatenate([file["y_train"], file["y_test"]])
        official_train = len(file["y_train"])
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(official_train)
    sources = {
        "train": shuffled[VALIDATION_SOURCES:],
        "validation": shuffled[:VALIDATION_SOURCES],
        "test": np.arange(official_train, len(labels)),
    }
    others = min(10_000, n_train // 2)
    splits = {}
    for (name, own), size in zip(sources.items(), (n_train, others, others), strict=True):
        pairs = draw_pairs(own, size, rng)
        found = torch.from_numpy(labels[pairs]).long()
        composed = torch.from_numpy(overlay(pictures, pairs, CANVAS, LEFT, RIGHT, rng))
        splits[name] = TensorData(composed, {"left": found[:, 0], "right": found[:, 1]}, transform=bytes_to_floats)
    return Problem(
        name="multi_mnist",
        tasks=tuple(MultiClass(name, classes=10).fitted(splits["train"].targets[name]) for name in ("left", "right")),
        splits=splits,
        backbone=SmallCNN(channels=1, widths=(16, 32, 64)),
        summary="Two overlapping MNIST digits in one 36 x 36 picture: name the left and the right one",
        source="MNIST (LeCun, Cortes, Burges 1998), overlaid after Sabour, Frosst, Hinton 2017",
        licence="none stated with the file",
        suggested={"epochs": 10, "batch_size": 256, "learning_rate": 2e-3},
        spec={"name": "multi_mnist", "args": {"data_root": str(data_root), "n_train": n_train, "seed": seed}},
        notes=(
            "official MNIST test digits are in test pictures alone; validation digits are taken from the training file",
            "pictures are drawn from the seed: scores are not those of published MultiMNIST tables",
        ),
    )


def bytes_to_floats(inputs: Inputs) -> Inputs:
    """Pixels 0..255 as 0..1."""
    assert isinstance(inputs, Tensor)
    return inputs.float() / 255
