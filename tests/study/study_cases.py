"""A tiny study: two tasks and a helper on a handful of rows."""

from functools import partial

import torch

from polytask.data import TensorData, split
from polytask.problems import Problem
from polytask.sharing import MLP, HardSharing
from polytask.study import Arm
from polytask.tasks import MultiClass, Regression

BUDGET = {"epochs": 2, "batch_size": 16, "learning_rate": 0.02}


def problem(rows: int = 90, auxiliary: bool = False) -> Problem:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 4, generator=generator)
    targets = {
        "size": x[:, 0] * 2 + 5 + 0.1 * torch.randn(rows, generator=generator),
        "side": (x[:, 1] > 0).long(),
        "helper": x[:, 2] + 7,
    }
    whole = TensorData(x, targets)
    splits = {
        name: whole.select(index)
        for name, index in split(rows, {"train": 0.5, "validation": 0.25, "test": 0.25}).items()
    }
    raw = [
        Regression("size", unit="m"),
        MultiClass("side", 2),
        *([Regression("helper", auxiliary=True)] if auxiliary else []),
    ]
    tasks = tuple(task.fitted(splits["train"].targets[task.name]) for task in raw)
    return Problem(
        name="tiny",
        tasks=tasks,
        splits=splits,
        backbone=MLP(4, widths=(8,)),
        summary="numbers in, numbers out",
        source="made here",
        licence="none",
        suggested=BUDGET,
        spec={"name": "tiny", "args": {"rows": rows}},
    )


class Broken(HardSharing):
    """A user's own architecture that can't be trained."""

    def forward_with_features(self, inputs, tasks=None):
        if self.training:
            raise RuntimeError("a fault of the user's own")
        return super().forward_with_features(inputs, tasks)


BROKEN = Arm(partial(Broken))
