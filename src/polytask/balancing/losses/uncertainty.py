"""Homoscedastic uncertainty weighting (Kendall, Gal, Cipolla 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from polytask.balancing._by_name import LearnedPerTask, check_names
from polytask.balancing.balancer import LossBalancer
from polytask.tasks import Task


def uncertainty_total(losses: Tensor, log_variances: Tensor, scales: Tensor) -> Tensor:
    r"""sum_i c_i exp(-s_i) L_i + s_i / 2 with s = log sigma^2 and c = 1 (classification) or 1/2 (regression).

    >>> import torch
    >>> uncertainty_total(torch.tensor([2.0, 2.0]), torch.zeros(2), torch.tensor([1.0, 0.5]))
    tensor(3.)
    """
    return (scales * torch.exp(-log_variances) * losses + log_variances / 2).sum()


@dataclass(eq=False, repr=False)
class Uncertainty(LearnedPerTask, LossBalancer):
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
    tasks: Sequence[str] = ()
    regression: Sequence[str] = ()
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tasks:
            check_names("regression", self.regression, self.tasks)
        self.scales = {name: 0.5 if name in self.regression else 1.0 for name in self.tasks}

    def bind(self, tasks: Sequence[Task]) -> None:
        if not self.names:
            check_names("regression", self.regression, [task.name for task in tasks])
            self.scales = {task.name: 0.5 if task.name in self.regression else task.likelihood_scale for task in tasks}
        super().bind(tasks)

    def total(self, losses: Tensor, tasks: Sequence[str] = ()) -> Tensor:
        log_variances = self.learned(losses, tasks)
        return uncertainty_total(losses, log_variances, losses.new_tensor([self.scales[name] for name in tasks]))
