"""Numbers with a unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric

from polytask.errors import PolytaskError
from polytask.tasks.task import Task, present


@dataclass(frozen=True)
class Regression(Task):
    r"""A number: loss ((prediction - (y - mean) / deviation)^2), the mean over the labels present.

    The network predicts in standard units, so that tasks of different scale start equal; metrics and decoded
    predictions are in the target's own unit. Targets are [b] (missing: NaN), network outputs [b, 1].
    Metrics: mean absolute error and root mean squared error, in `unit`.

    Args:
        mean, deviation: of the training labels; `fitted` learns them.

    >>> import torch
    >>> hours = Regression("hours", unit="h").fitted(torch.tensor([30.0, 50.0, float("nan")]))
    >>> hours.mean, hours.deviation
    (40.0, 10.0)
    >>> hours.loss(torch.zeros(2, 1), torch.tensor([60.0, float("nan")]))
    tensor(4.)
    >>> hours.decode(torch.tensor([[0.5]]))
    tensor([45.])
    """

    mean: float = field(default=0.0, kw_only=True)
    deviation: float = field(default=1.0, kw_only=True)

    @property
    def outputs(self) -> int:
        return 1

    @property
    def likelihood_scale(self) -> float:
        return 0.5

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        error = prediction[:, 0] - (target - self.mean) / self.deviation
        return (error if complete else torch.where(present(target), error, 0)).square().sum()

    def credit_sum(self, prediction: Tensor, target: Tensor) -> Tensor:
        """1 - squared error / variance of the training labels, summed over the labels."""
        return present(target).sum() - self.loss_sum(prediction, target)

    def metrics(self) -> dict[str, Metric]:
        return {"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)}

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        there = present(target)
        shown, known = self.decode(prediction[there]), target[there].float()
        for metric in metrics.values():
            metric.update(shown, known)

    def check(self, target: Tensor) -> None:
        if not target.is_floating_point():
            raise PolytaskError(
                f"task '{self.name}' expects floating-point targets (missing: NaN), got {target.dtype}; "
                "convert with .float()"
            )
        if bool(torch.isinf(target).any()):
            raise PolytaskError(f"task '{self.name}' has infinite labels; mark them missing (NaN) or mend them")

    def fitted(self, target: Tensor) -> Self:
        self.check(target)
        labels = self._labels(target).double()
        mean, deviation = labels.mean().item(), labels.std(correction=0).item()
        if deviation <= 1e-12 * max(abs(mean), 1e-300):
            raise PolytaskError(
                f"task '{self.name}' has one value only ({mean:g}) in all {len(labels)} training labels: "
                "there is nothing to learn; drop the task or look at the column"
            )
        return replace(self, mean=mean, deviation=deviation)

    def decode(self, prediction: Tensor) -> Tensor:
        """The number in the target's own unit, [n]."""
        return prediction[:, 0].float() * self.deviation + self.mean

    def columns(self, prediction: Tensor) -> dict[str, Any]:
        unit = f" [{self.unit}]" if self.unit else ""
        return {f"{self.name}{unit}": self.decode(prediction).tolist()}

    def constant(self, target: Tensor) -> Tensor:
        return ((self._labels(target).double().mean() - self.mean) / self.deviation).float()[None]
