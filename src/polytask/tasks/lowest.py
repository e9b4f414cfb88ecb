"""The lowest point of a function of one number, where there is no formula for it."""

from collections.abc import Callable

import torch
from torch import Tensor


def lowest(height: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, rounds: int = 8, steps: int = 9) -> Tensor:
    """Where each of k functions is lowest between `low` and `high` ([k]), searched on ever finer grids.

    Args:
        height: a place for each function [k] -> heights [k].
        rounds: each one looks between the neighbours of the lowest point so far.
        steps: points of the grid of a round. The defaults narrow the range 65,000 times.

    >>> import torch
    >>> lowest(lambda x: (x - 0.3).abs(), torch.tensor([0.0]), torch.tensor([1.0]))
    tensor([0.3000])
    """
    for _ in range(rounds):
        share = torch.linspace(0, 1, steps, dtype=low.dtype)
        places = low + share[:, None] * (high - low)
        best = torch.stack([height(each) for each in places]).argmin(0)
        step = (high - low) / (steps - 1)
        found = places.gather(0, best[None])[0]
        low, high = torch.maximum(found - step, low), torch.minimum(found + step, high)
    return (low + high) / 2
