"""Dynamic weight average (Liu, Johns, Davison 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from polytask.balancing.balancer import LossBalancer, Remembering, Step
from polytask.errors import PolytaskError


def dwa_weights(last: Tensor, before: Tensor, temperature: float = 2.0) -> Tensor:
    """t softmax(r / T), r_i = L_i(last epoch) / L_i(the epoch before); r_i = 1 where that one was 0.

    >>> import torch
    >>> dwa_weights(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0]))  # the first falls more slowly: weighs more
    tensor([1.1244, 0.8756])
    """
    ratios = torch.where(before == 0, 1.0, last / before)
    return len(last) * torch.softmax(ratios / temperature, 0)


@dataclass(eq=False, repr=False)
class DWA(Remembering, LossBalancer):
    """Tasks whose loss falls more slowly than the others' weigh more: w = t softmax(r / T), sum w = t.

    r_i(e) = L_i(e-1) / L_i(e-2) of the *epoch means* of the training losses; w = 1 in the first two epochs (Liu,
    Johns, Davison 2019, "End-to-End Multi-Task Learning with Attention", eq. 7). A task that an epoch did not see
    keeps its last two means. In a loop of your own call `end_epoch()` after every epoch: without it the weights
    stay 1. Cost: one backward pass.

    Args:
        temperature: T; large values make the weights equal. The paper takes 2.

    >>> import torch
    >>> DWA().total(torch.tensor([1.0, 2.0]), ["a", "b"])  # no epoch is over yet
    tensor(3.)
    """

    linear: ClassVar[bool] = True
    temperature: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise PolytaskError(f"the temperature of DWA must be positive, got {self.temperature}")
        self._memory = {"sums": {}, "steps": {}, "means": {}}

    def total(self, losses: Tensor, tasks: Sequence[str] = ()) -> Tensor:
        return (losses * self._weights(tasks).to(losses)).sum() if self._ready(tasks) else losses.sum()

    def observe(self, step: Step) -> None:
        for name, loss in zip(step.tasks, step.losses.double(), strict=True):
            self._memory["sums"][name] = self._memory["sums"].get(name, 0.0) + loss
            self._memory["steps"][name] = self._memory["steps"].get(name, 0) + 1

    def end_epoch(self) -> None:
        means = self._memory["means"]
        for name, total in self._memory["sums"].items():
            mean = float(total) / self._memory["steps"][name]
            means[name] = [*means.get(name, []), mean][-2:]
        self._memory |= {"sums": {}, "steps": {}}

    def _ready(self, tasks: Sequence[str]) -> bool:
        return len(tasks) > 0 and all(len(self._memory["means"].get(name, ())) == 2 for name in tasks)

    def _weights(self, tasks: Sequence[str]) -> Tensor:
        means = torch.tensor([self._memory["means"][name] for name in tasks], dtype=torch.float64)
        return dwa_weights(last=means[:, 1], before=means[:, 0], temperature=self.temperature)
