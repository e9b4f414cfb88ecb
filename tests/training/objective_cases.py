"""A model with a penalty, and one with intermediate predictions, small enough to do their sums by hand."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from training_cases import BY_WORLD, data, model, tasks

from polytask import balancing
from polytask.data import Uniform
from polytask.problems import many_sines
from polytask.sharing import MLP, HardSharing


class Penalised(HardSharing):
    """Hard sharing with a penalty on weights, on activations and on a module that no task has."""

    strength = 0.5

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__(MLP(4, widths=(8, 8)), tasks(data()))
        self.judge = nn.Linear(8, 1)
        self.seen: Tensor | None = None

    def forward_with_features(self, inputs: Any, tasks: Iterable[str] | None = None) -> Any:
        predictions, features = super().forward_with_features(inputs, tasks)
        self.seen = features if self.training else None
        return predictions, features

    def penalty(self, losses: Mapping[str, Tensor]) -> Tensor:
        assert self.seen is not None
        of_weights = sum(each.square().sum() for each in self.shared.parameters())
        return self.strength * (of_weights + self.judge(self.seen).square().mean())

    def inside(self) -> dict[str, dict[str, float]]:
        return {"judge": {"bias": self.judge.bias.item(), "weight": self.judge.weight.mean().item()}}


class Deep(HardSharing):
    """Hard sharing that predicts "number" and "kind" once more, from what the first stage gave."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__(MLP(4, widths=(8, 8)), tasks(data()))
        self.early = nn.ModuleDict({"number": nn.Linear(4, 1), "kind": nn.Linear(4, 3)})
        self.further: dict[str, list[Tensor]] = {}

    def forward_with_features(self, inputs: Any, tasks: Iterable[str] | None = None) -> Any:
        asked = [name for name in self.asked(tasks) if name in self.early and self.training]
        self.further = {name: [self.early[name](inputs)] for name in asked}
        return super().forward_with_features(inputs, tasks)

    def intermediate(self) -> dict[str, list[Tensor]]:
        return self.further


def members(columns: bool, **options: Any) -> tuple[Any, Any, dict[str, Any]]:
    """A world of many tasks as one: how to make the balancer and the network, and options."""
    posed = many_sines(members=6, rows=20, columns=columns)

    def net(seed: int = 0) -> HardSharing:
        torch.manual_seed(seed)
        return HardSharing(MLP(posed.backbone.inputs, widths=(8,)), posed.tasks)

    splits = {"train": posed.splits["train"], "validation": posed.splits["validation"]}
    return balancing.Equal, net, {"tasks": list(posed.tasks), **splits, **options}


WORLDS = {name: (make, lambda seed=0: model(dropout=0.0, seed=seed), more) for name, (make, more) in BY_WORLD.items()}
WORLDS |= {
    "a penalty": (balancing.Equal, Penalised, {}),
    "a penalty in pieces": (balancing.Equal, Penalised, {"budget": {"accumulate": 2}}),
    "a penalty with PCGrad": (balancing.PCGrad, Penalised, {}),
    "a penalty with MGDA at features": (balancing.MGDA, Penalised, {"at_features": True}),
    "intermediate predictions": (balancing.MGDA, Deep, {}),
    "many tasks as one, drawn alike": members(columns=False, sampler=Uniform()),
    "many tasks as one, in columns and pieces": members(columns=True, budget={"accumulate": 2}),
}
"""What is trained on one process and on two: how to make the balancer and the network (from a seed), and options."""
