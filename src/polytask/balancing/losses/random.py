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

    def __post_init__(self) -> None:
        super().__post_init__()
        self._drawn: Tensor | None = None  # for the step under way

    def total(self, losses: Tensor, tasks: Sequence[str] = ()) -> Tensor:
        if self._drawn is None or len(self._drawn) != len(losses):
            self._drawn = torch.randn(len(losses), generator=self._generator)
        return (losses * len(losses) * torch.softmax(self._drawn.to(losses), 0)).sum()

    def observe(self, step: Step) -> None:
        self._drawn = None
