"""Random loss weighting (Lin, Ye, Zhang, Tsang 2022)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from polytask.balancing.balancer import LossBalancer, Randomised, Step


@dataclass(eq=False, repr=False)
class RandomWeights(Randomised, LossBalancer):
    """New weights in every step: w = t softmax(z), z_i drawn from N(0, 1) independently.

    Lin, Ye, Zhang, Tsang 2022, "Reasonable Effectiveness of Random Weighting" (RLW, normal distribution). There the
    weights sum to 1; here to t, so that the learning rate means the same as for the sum of the losses. Cost: one
    backward pass.

    Args:
        seed: of the generator, which is saved with the state.

    >>> import torch
    >>> RandomWeights(seed=0).total(torch.tensor([1.0, 1.0]), ["a", "b"])
    tensor(2.)
    """

    linear: ClassVar[bool] = True
    seed: int = 0

    def total(self, losses: Tensor, tasks: Sequence[str] = ()) -> Tensor:
        drawn = torch.randn(len(losses), generator=self._generator.clone_state()).to(losses)
        return (losses * len(losses) * torch.softmax(drawn, 0)).sum()

    def observe(self, step: Step) -> None:
        """The step is over: the next one draws new weights."""
        torch.randn(len(step.tasks), generator=self._generator)
