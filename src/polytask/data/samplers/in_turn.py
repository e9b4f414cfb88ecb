"""One pool after the other."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from polytask.data.samplers.sampler import Sampler


@dataclass(frozen=True)
class _InTurn(Sampler):
    """Pools in a fixed order; an epoch goes on where the one before it ended."""

    def shares(self, sizes: Tensor, progress: float = 0.0, errors: Tensor | None = None) -> Tensor:
        return torch.full_like(sizes, 1 / len(sizes))

    def turns(self, shares: Tensor, draws: int, first: int, generator: torch.Generator) -> Tensor:
        return (first + torch.arange(draws)) % len(shares)


@dataclass(frozen=True)
class RoundRobin(_InTurn):
    """One batch of every pool after the other: draw i is pool i mod K.

    Args:
        labels: see `Sampler`. A batch is of one pool always.

    >>> RoundRobin().turns(torch.ones(3) / 3, draws=5, first=5, generator=torch.Generator())
    tensor([2, 0, 1, 2, 0])
    """

    per: Literal["row", "batch"] = field(default="batch", init=False)


@dataclass(frozen=True)
class AllTasks(_InTurn):
    """All pools in every step, each with as many rows: row i of the training is of pool i mod K.

    In a batch of b rows every pool has floor(b / K) or ceil(b / K) of them.

    Args:
        labels: see `Sampler`. A batch holds rows of all pools always; it needs at least as many rows.

    >>> AllTasks().turns(torch.ones(2) / 2, draws=4, first=0, generator=torch.Generator())
    tensor([0, 1, 0, 1])
    """

    per: Literal["row", "batch"] = field(default="row", init=False)
    every_pool: ClassVar[bool] = True
