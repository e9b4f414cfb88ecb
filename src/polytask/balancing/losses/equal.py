"""Fixed weights: the baselines to beat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from polytask.balancing._by_name import by_name, check_names
from polytask.balancing.balancer import LossBalancer
from polytask.errors import PolytaskError
from polytask.tasks import Task


@dataclass(frozen=True)
class Equal(LossBalancer):
    """The sum of the losses, every task with weight 1.

    Every loss is a mean over the labels its task has in the batch, so a task with few labels weighs as much as
    one with many. Cost: one backward pass.

    >>> import torch
    >>> Equal().total(torch.tensor([1.0, 2.0]))
    tensor(3.)
    """

    linear: ClassVar[bool] = True

    def total(self, losses: Tensor, tasks: Sequence[str] = ()) -> Tensor:
        return losses.sum()


@dataclass(frozen=True)
class Static(LossBalancer):
    """sum_i w_i L_i with weights by task name; tasks that are not named have weight 1.

    Cost: one backward pass.

    Args:
        weights: a number of at least 0 for every task to be weighed.

    Raises:
        PolytaskError: for negative weights, and for weights of tasks that do not exist.

    >>> import torch
    >>> Static({"depth": 0.5}).total(torch.tensor([1.0, 2.0]), ["classes", "depth"])
    tensor(2.)
    """

    linear: ClassVar[bool] = True
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bad = {name: weight for name, weight in self.weights.items() if not 0 <= weight < float("inf")}
        if bad:
            raise PolytaskError(f"static weights must be numbers of at least 0, got {bad}")

    def bind(self, tasks: Sequence[Task]) -> None:
        check_names("static weight", self.weights, [task.name for task in tasks])

    def total(self, losses: Tensor, tasks: Sequence[str] = ()) -> Tensor:
        return (losses * by_name(self.weights, 1.0, losses, tasks)).sum()
