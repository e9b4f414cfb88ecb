"""Shares by what is left to learn."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from polytask.data.samplers.sampler import Sampler
from polytask.errors import PolytaskError


@dataclass(frozen=True)
class ByError(Sampler):
    r"""More rows of those pools that are further from being learned, looked at anew after every epoch.

    $$p_k = (1 - f) \frac{e_k^a}{\sum_j e_j^a} + \frac{f}{K}$$

    e_k is the remaining error: the mean, over the tasks of the pool, of the validation loss divided by that of the
    reference. `training.fit` makes it; its reference is the best constant prediction (1: nothing is learned yet, 0: all
    is) or the scores that it is given, in a comparison those of the single-task networks (1: as good as those). Before
    the first epoch is over all shares are equal.

    Args:
        power: a; 0 is uniform, a large one draws the worst pool alone. 1 is our default.
        floor: f, the part of the rows that is shared out equally, so that no pool is forgotten. 0.1 is our default.
        per, labels: see `Sampler`.

    Raises:
        PolytaskError: a power that is negative or not finite, a floor outside [0, 1].

    Source: the idea is that of Gottumukkala, Dua, Singh, Gardner 2020, Dynamic Sampling Strategies for Multi-Task
    Reading Comprehension, who sample by the present performance relative to that of single-task training. Only the
    abstract was read: the formula, `power` and `floor` are ours. A pool whose labels are mostly noise keeps a high
    error for ever under a constant reference; a single-task reference is free of that.

    Cost: none where pools are tasks; else the validation rows are evaluated once more, source by source.

    >>> ByError(floor=0).shares(torch.tensor([50.0, 50.0]), errors=torch.tensor([0.9, 0.3]))
    tensor([0.7500, 0.2500])
    """

    power: float = 1.0
    floor: float = 0.1

    needs_errors: ClassVar[bool] = True
    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.power < float("inf"):
            raise PolytaskError(f"power must be at least 0, got {self.power}")
        if not 0 <= self.floor <= 1:
            raise PolytaskError(f"floor is a share of the rows, from 0 to 1, got {self.floor}")

    def shares(self, sizes: Tensor, progress: float = 0.0, errors: Tensor | None = None) -> Tensor:
        equal = torch.full_like(sizes, 1 / len(sizes))
        if errors is None:
            return equal
        highest = errors[errors.isfinite()].amax() if bool(errors.isfinite().any()) else torch.ones(())
        left = torch.where(errors.isfinite(), errors, highest).clamp_min(
            0.0
        )  # (a loss that is infinite is not learned)
        if not bool(left.max() > 0):
            return equal
        powers = (left / left.max()) ** self.power
        return (1 - self.floor) * powers / powers.sum() + self.floor * equal
