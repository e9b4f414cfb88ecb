"""A small training that every test of `fit` varies; importable without pytest for worker processes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "balancing"))

import torch
from balancing_cases import AT_FEATURES, OF_HALVES, Case
from balancing_cases import CASES as ON_WHOLE_BATCHES
from torch import Tensor

from polytask import balancing
from polytask.balancing import Balancer
from polytask.data import AllTasks, ByError, RoundRobin, TensorData, Uniform, mixture
from polytask.sharing import MLP, HardSharing
from polytask.tasks import Binary, MultiClass, Regression, Task
from polytask.training import Budget, Fitted, fit

NAMES = ["number", "kind", "yes"]
CASES = [*ON_WHOLE_BATCHES, *OF_HALVES, *AT_FEATURES]
"""Every balancer: `fit` gives each the pieces and the features that it needs."""


def data(rows: int = 48, seed: int = 0, missing: float = 0.2) -> TensorData:
    """Inputs [n, 4], three kinds of targets with missing labels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 4, generator=generator)
    number = 3 * x[:, 0] - x[:, 1] + 5
    kind = (x[:, 1] > 0).long() + (x[:, 2] > 0).long()
    yes = (x[:, 0] + x[:, 3] > 0).long()
    gone = torch.rand(3, rows, generator=generator) < missing
    return TensorData(
        x,
        {
            "number": number.masked_fill(gone[0], torch.nan),
            "kind": kind.masked_fill(gone[1], -100),
            "yes": yes.masked_fill(gone[2], -100),
        },
    )


def parts(rows: int = 48, seed: int = 0) -> TensorData:
    """A data set per task, of different sizes."""
    whole = data(rows, seed)
    sizes = {"number": rows // 2, "kind": rows // 3, "yes": rows // 6}
    return mixture({name: whole.only(name).select(torch.arange(size // 2)) for name, size in sizes.items()})


def tasks(train: TensorData) -> list[Task]:
    raw = [Regression("number", unit="h"), MultiClass("kind", 3), Binary("yes")]
    return [task.fitted(train.targets[task.name]) for task in raw]


def model(
    dropout: float = 0.3, seed: int = 0, which: list[Task] | None = None, widths: tuple[int, ...] = (8, 8)
) -> HardSharing:
    torch.manual_seed(seed)
    return HardSharing(MLP(4, widths=widths, dropout=dropout), which or tasks(data()))


def balancer(case: Case) -> Balancer:
    """Fresh; Uncertainty as `fit` makes it, from the tasks."""
    return balancing.Uncertainty() if case.name == "Uncertainty" else case.make(NAMES)


def train(
    method: Balancer | None = None,
    folder: Path | None = None,
    net: HardSharing | None = None,
    seed: int = 0,
    **options: object,
) -> tuple[HardSharing, Fitted]:
    """Two epochs of three steps each, unless told otherwise."""
    budget = Budget(**({"epochs": 2, "batch_size": 16, "learning_rate": 0.01} | dict(options.pop("budget", {}))))
    learns, checks = options.pop("train", None) or data(), options.pop("validation", None) or data(30, seed=1)
    net = net or model()
    fitted = fit(
        net,
        options.pop("tasks", None) or tasks(data()),
        learns,
        checks,
        method,
        budget,
        seed=seed,
        folder=folder,
        trackers=(),
        **options,
    )
    return net, fitted


def flat(net: HardSharing) -> Tensor:
    return torch.cat([each.detach().reshape(-1).float() for each in net.state_dict().values()])


BY_WORLD = {
    "Equal": (balancing.Equal, {}),
    "Uncertainty": (balancing.Uncertainty, {}),
    "PCGrad": (balancing.PCGrad, {}),
    "GradDrop": (balancing.GradDrop, {}),
    "odd batches": (balancing.MGDA, {"budget": {"batch_size": 15, "clip": 1.0}}),
    "pieces": (balancing.Equal, {"budget": {"accumulate": 2}}),
    "FAMO": (lambda: balancing.FAMO(beta=2.0), {}),
    "FAMO in pieces": (lambda: balancing.FAMO(beta=2.0), {"budget": {"accumulate": 2}}),
    "DTP": (lambda: balancing.DTP(alpha=0.5), {}),
    "DTP in pieces": (lambda: balancing.DTP(alpha=0.5), {"budget": {"accumulate": 2}}),
    "GradNorm": (lambda: balancing.GradNorm(rate=0.1), {}),
    "ExcessMTL": (lambda: balancing.ExcessMTL(eta=0.1), {}),
    "MoDo": (lambda: balancing.MoDo(rate=0.03), {}),
    "GREAT": (lambda: balancing.GREAT(0.01, 0.02, hidden=8, seed=3), {}),
    "MGDA at features": (balancing.MGDA, {"at_features": True}),
    "MGDA by the last layers": (balancing.MGDA, {"estimate": balancing.LastLayers(0.5)}),
    "MGDA batched": (balancing.MGDA, {"way": "batched"}),
    "tasks drawn": (balancing.Equal, {"sampler": Uniform()}),
    "all tasks drawn, PCGrad": (balancing.PCGrad, {"sampler": AllTasks()}),
    "batches of one task, MGDA": (balancing.MGDA, {"sampler": RoundRobin()}),
    "batches of one task, MoDo in pieces": (
        lambda: balancing.MoDo(rate=0.03),
        {"sampler": RoundRobin(), "budget": {"accumulate": 3}},
    ),
    "data sets by error": (
        balancing.CAGrad,
        {"sampler": ByError(per="batch"), "train": parts(), "validation": parts(96, 1), "budget": {"batch_size": 8}},
    ),
}
"""What is trained on one process and on two, and must come out the same: how to make the balancer, and options."""

__all__ = [
    "AT_FEATURES",
    "BY_WORLD",
    "CASES",
    "NAMES",
    "OF_HALVES",
    "ON_WHOLE_BATCHES",
    "balancer",
    "data",
    "flat",
    "model",
    "parts",
    "tasks",
    "train",
]
