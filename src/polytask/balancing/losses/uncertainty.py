"""Homoscedastic uncertainty weighting (Kendall, Gal, Cipolla 2018)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from polytask._text import did_you_mean
from polytask.balancing.balancer import LossBalancer, Remembering
from polytask.errors import PolytaskError
from polytask.tasks import Task


def uncertainty_total(losses: Tensor, log_variances: Tensor, scales: Tensor) -> Tensor:
    r"""sum_i c_i exp(-s_i) L_i + s_i / 2 with s = log sigma^2 and c = 1 (classification) or 1/2 (regression).

    >>> import torch
    >>> uncertainty_total(torch.tensor([2.0, 2.0]), torch.zeros(2), torch.tensor([1.0, 0.5]))
    tensor(3.)
    """
    return (scales * torch.exp(-log_variances) * losses + log_variances / 2).sum()


@dataclass(eq=False, repr=False)
class Uncertainty(Remembering, LossBalancer):
    r"""Every task's noise sigma_i is learned, and its loss weighed by how certain it is.

    total = sum_i exp(-s_i) L_i + s_i / 2 for classification, exp(-s_i) L_i / 2 + s_i / 2 for regression,
    s_i = log sigma_i^2, learned from s_i = 0 (Kendall, Gal, Cipolla 2018, "Multi-Task Learning Using Uncertainty
    to Weigh Losses", eq. 7 and 10). At a fixed loss the best s has exp(s) = 2 L for classification and L for
    regression.

    The total may be negative: once sigma is small, s_i / 2 is. That is right, and s is never clamped. Cost: one
    backward pass, one learned number per task.

    Args:
        tasks: names of the tasks; `training.fit` fills them in.
        regression: which of them are regression with squared error; filled in likewise.
        learning_rate: of the s_i, which have their own parameter group without weight decay. The paper trains them
            with the network's optimizer and does not say their rate; 0.01 lets s follow within some hundred steps of
            Adam.

    >>> import torch
    >>> Uncertainty(["depth", "classes"], regression=["depth"]).total(torch.tensor([2.0, 2.0]), ["depth", "classes"])
    tensor(3., grad_fn=<SumBackward0>)
    """

    linear: ClassVar[bool] = True
    tasks: Collection[str] = ()
    regression: Collection[str] = ()
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.regression:
            if name not in self.tasks:
                raise PolytaskError(
                    f"regression task '{name}' is not one of the tasks; {did_you_mean(name, self.tasks)}"
                )
        self._learn({name: 0.5 if name in self.regression else 1.0 for name in self.tasks})

    def _learn(self, scales: Mapping[str, float]) -> None:
        self.names = tuple(scales)
        self.scales = dict(scales)
        self.log_variances = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in scales)

    def bind(self, tasks: Sequence[Task]) -> None:
        if not self.names:
            self._learn({task.name: task.likelihood_scale for task in tasks})
        missing = [task.name for task in tasks if task.name not in self.names]
        if missing:
            raise PolytaskError(f"this Uncertainty was made for the tasks {list(self.names)}, not for {missing}")

    def total(self, losses: Tensor, tasks: Sequence[str] = ()) -> Tensor:
        unknown = [name for name in tasks if name not in self.scales]
        if unknown or len(tasks) != len(losses):
            raise PolytaskError(
                f"Uncertainty learns a number per task and needs their names: it was made for {list(self.names)}, "
                f"got losses of {list(tasks)}; make it with Uncertainty(['name', ...]) and give its parameters to the "
                "optimizer (balancing.parameter_groups)"
            )
        learned = torch.stack([self.log_variances[self.names.index(name)] for name in tasks])
        scales = losses.new_tensor([self.scales[name] for name in tasks])
        return uncertainty_total(losses, learned.to(losses), scales)

    def get_extra_state(self) -> dict[str, Any]:
        return {"names": list(self.names)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if tuple(state["names"]) != self.names:
            raise PolytaskError(f"the saved Uncertainty is of tasks {state['names']}, this one of {list(self.names)}")
