"""Metres to what every pixel shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, Metric

from polytask.tasks.dense import Dense
from polytask.tasks.task import present


@dataclass(frozen=True)
class Depth(Dense):
    """Metres: targets [b, h, w] floating point, NaN where there is none; loss L1, the mean over valid pixels."""

    @property
    def outputs(self) -> int:
        return 1

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        error = self.fitting(prediction, target)[:, 0] - target
        return (error if complete else torch.where(present(target), error, 0)).abs().sum()

    def metrics(self) -> dict[str, Metric]:
        return {"absolute": MeanAbsoluteError()}

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        there = present(target)
        for metric in metrics.values():
            metric.update(self.fitting(prediction, target)[:, 0][there], target[there].float())

    def fitted(self, target: Tensor) -> Self:
        return self

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction[:, 0].float()

    def columns(self, prediction: Tensor) -> dict[str, Any]:
        raise NotImplementedError

    def constant(self, target: Tensor) -> Tensor:
        return target[present(target)].float().median()[None]
