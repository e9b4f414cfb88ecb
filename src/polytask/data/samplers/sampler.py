"""What every sampler is, and the rows that it draws."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from polytask._text import did_you_mean
from polytask.data.arrays import TensorData
from polytask.data.sources import grouped
from polytask.errors import PolytaskError

PER = ("row", "batch")
LABELS = ("drawn", "all")


@dataclass(frozen=True)
class Sampler(ABC):
    r"""Draws the rows of an epoch from pools: the data sets of a `mixture` or, where there is one, the tasks' rows.

    Pool k gets the share p_k of the draws of an epoch, whatever its size n_k. Within a pool rows are drawn in a random
    order, none a second time before all were drawn once. (A new epoch begins with a new order.)

    How often each pool is drawn is chosen by systematic sampling: of N draws, pool k gets floor(c_k N + u) -
    floor(c_{k-1} N + u), with c the cumulative shares and u uniform in [0, 1), one for the epoch. The expected number
    is p_k N exactly, and the number itself is less than 1 from it. The draws then come in random order.

    Everything is a pure function of seed, epoch and what `shares` is given: a training goes on in the middle of an
    epoch with the same rows, and every process knows those of all the others.

    Args:
        per: "row": a batch holds rows of all pools, each drawn for itself. "batch": all rows of a batch are of one
            pool; where gradients are balanced, a step is made of several such batches (see `training.fit`).
        labels: where pools are tasks (one data set): "drawn": a row drawn for a task teaches that task only. "all": it
            teaches all that it has labels for, so that drawing for one task draws for others as well.
    """

    per: Literal["row", "batch"] = field(default="row", kw_only=True)
    labels: Literal["drawn", "all"] = field(default="drawn", kw_only=True)

    needs_errors: ClassVar[bool] = False
    """Whether `shares` looks at the errors of the pools."""
    moves: ClassVar[bool] = False
    """Whether the shares of the pools change during the training."""
    every_pool: ClassVar[bool] = False
    """Whether every batch holds rows of all pools, so that it needs as many rows at least."""

    def __post_init__(self) -> None:
        for name, allowed in {"per": PER, "labels": LABELS}.items():
            if (value := getattr(self, name)) not in allowed:
                raise PolytaskError(f"{name} can't be {value!r}; {did_you_mean(str(value), allowed)}")

    @abstractmethod
    def shares(self, sizes: Tensor, progress: float = 0.0, errors: Tensor | None = None) -> Tensor:
        """How often each pool is drawn.

        Args:
            sizes: [k] rows of each pool, float64, at least 1.
            progress: of the training, from 0 (its first epoch) to 1 (its last).
            errors: [k] float64, what is left to learn in each pool: validation loss divided by that of a reference;
                None before the first epoch is over, and for samplers that do not need them.

        Returns:
            [k] numbers that are not negative; they are divided by their sum.
        """

    def of(self, data: TensorData) -> TensorData:
        """The data whose rows are drawn: the data themselves, or with a row for every label (`labels`)."""
        apart = self.labels == LABELS[0] and (data.sources is None or len(data.sources.rows()) < 2)
        return data.one_task_per_row() if apart else data

    def turns(self, shares: Tensor, draws: int, first: int, generator: torch.Generator) -> Tensor:
        """The pool of every draw of an epoch, [draws].

        Args:
            shares: [k], with sum 1.
            draws: how many.
            first: how many there were in the epochs before.
            generator: all the randomness there is.
        """
        edges = torch.cat([torch.zeros(1, dtype=torch.float64), shares.double().cumsum(0)]) * draws
        edges[-1] = draws
        edges = (edges + torch.rand(1, generator=generator, dtype=torch.float64)).floor().long()
        order = torch.arange(len(shares)).repeat_interleave(edges.diff())
        return order[torch.randperm(draws, generator=generator)]


def drawn_rows(
    sampler: Sampler,
    pools: Sequence[Tensor],
    lengths: Tensor,
    seed: int,
    epoch: int,
    progress: float = 0.0,
    errors: Tensor | None = None,
) -> Tensor:
    """The row numbers of an epoch in their order.

    Args:
        sampler: draws them.
        pools: row numbers of each.
        lengths: [draws] how many rows each draw is: 1, or those of a batch.
        seed, epoch: they choose the order.
        progress, errors: for `Sampler.shares`.

    Raises:
        PolytaskError: the sampler gives no shares that can be drawn by.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    shares = shares_of(sampler, pools, progress, errors)
    turns = sampler.turns(shares, len(lengths), epoch * len(lengths), generator)
    places = grouped(turns.repeat_interleave(lengths), len(pools))
    order = torch.empty(int(lengths.sum()), dtype=torch.long)
    for pool, these in zip(pools, places, strict=True):
        order[these] = _drawn(pool, len(these), generator)
    return order


def shares_of(sampler: Sampler, pools: Sequence[Tensor], progress: float = 0.0, errors: Tensor | None = None) -> Tensor:
    """The shares that a sampler gives, checked, with sum 1, float64.

    Raises:
        PolytaskError: they are not one number for every pool, or negative, or all 0.
    """
    sizes = torch.tensor([float(len(pool)) for pool in pools], dtype=torch.float64)
    found = sampler.shares(sizes, progress, errors).double()
    if found.shape != sizes.shape or not bool((found >= 0).all()) or not 0 < float(found.sum()) < float("inf"):
        raise PolytaskError(
            f"{type(sampler).__name__}.shares must give {len(pools)} numbers, one for every pool, none negative and "
            f"not all 0; got {found.tolist()}"
        )
    return found / found.sum()


def _drawn(pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Rows of a pool in random order, all of them before one comes again."""
    rounds = [torch.randperm(len(pool), generator=generator) for _ in range(-(-count // len(pool)))]
    return pool[torch.cat(rounds)[:count]] if rounds else pool[:0]
