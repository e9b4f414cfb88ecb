"""A tiny problem of maps: which quarter of a small image is bright, and how bright it is."""

import torch
from torch import Tensor

from polytask.data import TensorData
from polytask.problems import Problem
from polytask.sharing import SmallCNN
from polytask.tasks import MISSING_CLASS, Depth, Segmentation

CLASSES = ("dark", "bright")


def floats(images: Tensor) -> Tensor:
    return images.float() / 255


def images(rows: int, seed: int) -> TensorData:
    generator = torch.Generator().manual_seed(seed)
    bright = torch.rand(rows, 2, 2, generator=generator) > 0.5
    whole = bright.repeat_interleave(8, 1).repeat_interleave(8, 2)
    x = torch.where(whole, 200, 40)[:, None] + torch.randint(30, (rows, 3, 16, 16), generator=generator)
    return TensorData(x.to(torch.uint8), {"where": whole.to(torch.int8), "how": x.float().mean(1) / 100}, floats)


def problem(rows: int = 12, unlabelled: tuple[int, ...] = ()) -> Problem:
    """`unlabelled`: test samples without any label of "where"."""
    splits = {"train": images(rows, 0), "validation": images(4, 1), "test": images(9, 2)}
    if unlabelled:
        targets = dict(splits["test"].targets)
        targets["where"] = targets["where"].index_fill(0, torch.tensor(unlabelled), MISSING_CLASS)
        splits["test"] = TensorData(splits["test"].inputs, targets, floats)
    tasks = [Segmentation("where", CLASSES), Depth("how", unit="m")]
    return Problem(
        name="quarters",
        tasks=tuple(task.fitted(splits["train"].targets[task.name]) for task in tasks),
        splits=splits,
        backbone=SmallCNN(3, widths=(4, 6)),
        suggested={"epochs": 1, "batch_size": 6},
    )
