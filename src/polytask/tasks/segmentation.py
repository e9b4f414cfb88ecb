"""A class for every pixel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from polytask.errors import PolytaskError
from polytask.tasks.dense import Dense
from polytask.tasks.task import MISSING_CLASS, present


@dataclass(frozen=True)
class Segmentation(Dense):
    """One of several classes for every pixel: targets [b, h, w] of any integer type, -100 where there is no label."""

    classes: tuple[str, ...] | int = 2

    @property
    def labels(self) -> tuple[str, ...]:
        return self.classes if isinstance(self.classes, tuple) else tuple(map(str, range(self.classes)))

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        logits = self.fitting(prediction, target)
        return F.cross_entropy(logits, target.long(), reduction="sum", ignore_index=MISSING_CLASS)

    def metrics(self) -> dict[str, Metric]:
        return {
            "miou": MulticlassJaccardIndex(self.outputs, ignore_index=MISSING_CLASS, validate_args=False),
            "pixel accuracy": MulticlassAccuracy(
                self.outputs, average="micro", ignore_index=MISSING_CLASS, validate_args=False
            ),
        }

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        shown = self.fitting(prediction, target).argmax(1)
        for metric in metrics.values():
            metric.update(shown, target.long())

    def fitted(self, target: Tensor) -> Self:
        if target.is_floating_point():
            raise PolytaskError(f"task '{self.name}' expects whole class numbers, got {target.dtype}")
        return self

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.float().softmax(1)

    def columns(self, prediction: Tensor) -> dict[str, Any]:
        raise NotImplementedError

    def constant(self, target: Tensor) -> Tensor:
        labels = target[present(target)].long()
        return torch.bincount(labels, minlength=self.outputs).double().add(1e-6).log().float()
