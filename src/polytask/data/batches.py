"""The order in which samples are seen: a pure function of seed and epoch, so that it resumes exactly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from polytask.data._random import draw_number
from polytask.data.arrays import TensorData
from polytask.data.batch import Batch
from polytask.data.samplers.sampler import Sampler, drawn_rows, shares_of
from polytask.errors import PolytaskError


@dataclass(frozen=True)
class Batches:
    """An epoch over a data set in batches; iterating it gives `(inputs, targets)` batches.

    The order of epoch e is drawn from (seed, e) alone: nothing has to be remembered to go on in the middle of an epoch
    (`start`), and every process can work out the batches of all the others. It is a permutation of the rows, or what a
    sampler draws; then too an epoch is as many rows as the data have.

    Args:
        data: the samples.
        batch_size: samples in a batch, over all processes together.
        shuffle: a new order every epoch; else the order of the data.
        seed, epoch: they choose the order.
        drop_last: leave out a last batch that isn't full (never the only one).
        start: skip this many batches.
        samples: how many make an epoch, by default all of them once; more go on with further permutations.
        rank, world: this process and how many there are: process r gets samples r, r + world, ... of every batch.
        augmented: augment the batches, where the data say how, by draws made of seed, epoch and number of the batch.
        sampler: draws the rows from the data sets or tasks (`TensorData.pools`), always in random order; None: each row
            as often as any other.
        epochs: of the training, for a sampler whose shares change with its progress.
        errors: what is left to learn in each pool, for a sampler that needs it (`Sampler.shares`).
        groups: of a sampler per batch: how many of its draws make one batch, each a run of neighbouring rows of it; 0
            is 1.

    Raises:
        PolytaskError: sizes that don't go together, or data without a sample.

    >>> import torch
    >>> data = TensorData(torch.arange(5.0), {})
    >>> [batch.inputs.tolist() for batch in Batches(data, 2)]
    [[0.0, 1.0], [2.0, 3.0], [4.0]]
    >>> len(Batches(data, 2, drop_last=True))
    2
    """

    data: TensorData
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    epoch: int = 0
    drop_last: bool = False
    start: int = 0
    samples: int | None = None
    rank: int = 0
    world: int = 1
    augmented: bool = False
    sampler: Sampler | None = None
    epochs: int = 1
    errors: tuple[float, ...] | None = None
    groups: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise PolytaskError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.batch_size < self.world:
            raise PolytaskError(
                f"batch_size is counted over all processes: {self.batch_size} samples can't be shared by "
                f"{self.world} processes; give at least {self.world}"
            )
        if not len(self.data):
            raise PolytaskError("there are no samples to make batches of: the data set is empty")
        if self.sampler is not None:
            self._check(self.sampler)

    def _check(self, sampler: Sampler) -> None:
        pools = self.drawn.pools()
        if not pools:
            raise PolytaskError("there is nothing to draw from: no row has a label, nor a source (`mixture`)")
        if sampler.every_pool and self.batch_size < len(pools):
            raise PolytaskError(
                f"{type(sampler).__name__} has rows of all {len(pools)} pools in every batch, and a batch has "
                f"{self.batch_size}; give a larger batch_size"
            )
        if self.errors is not None and len(self.errors) != len(pools):
            raise PolytaskError(f"expected one error for each of {len(pools)} pools ({', '.join(pools)}), got "
                                f"{len(self.errors)}")  # fmt: skip

    def __len__(self) -> int:
        return self._whole_epoch() - self.start

    def __iter__(self) -> Iterator[Batch]:
        first = self.epoch * self._whole_epoch() + self.start
        for number, whole in enumerate(self.indices(), first):
            draw = draw_number(self.seed, number) if self.augmented else None
            yield self.drawn.piece(whole[self.rank :: self.world], whole, draw)

    def indices(self) -> Iterator[Tensor]:
        """The sample numbers of every batch, over all processes."""
        order = self.order()
        for number in range(self.start, self.start + len(self)):
            yield order[number * self.batch_size : (number + 1) * self.batch_size]

    @property
    def drawn(self) -> TensorData:
        """The data that the sample numbers are of: with a row for every label where a sampler draws tasks."""
        return self.data if self.sampler is None else self.sampler.of(self.data)

    @property
    def progress(self) -> float:
        """Of the training: 0 in its first epoch, 1 in its last."""
        return min(1.0, self.epoch / (self.epochs - 1)) if self.epochs > 1 else 0.0

    def order(self) -> Tensor:
        """The sample numbers in the order of this epoch."""
        if self.sampler is not None:
            return self._sampled(self.sampler)
        rows, wanted = len(self.data), self.samples or len(self.data)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        rounds = [
            torch.randperm(rows, generator=generator) if self.shuffle else torch.arange(rows)
            for _ in range(-(-wanted // rows))
        ]
        return torch.cat(rounds)[:wanted]

    def shares(self) -> dict[str, float]:
        """The share of the draws of this epoch that each pool of a sampler has."""
        if self.sampler is None:
            return {}
        pools = self.drawn.pools()
        found = shares_of(self.sampler, list(pools.values()), self.progress, self._errors())
        return dict(zip(pools, found.tolist(), strict=True))

    def at(self, epoch: int, start: int = 0, errors: Sequence[float] | None = None) -> "Batches":
        """The batches of another epoch, from batch `start` on; `errors` as they were when it began."""
        told = self.errors if errors is None else tuple(errors)
        return replace(self, epoch=epoch, start=start, errors=told)

    def in_groups(self, groups: int) -> "Batches":
        """The batches with another number of draws in each, of a sampler per batch."""
        return replace(self, groups=groups)

    def _sampled(self, sampler: Sampler) -> Tensor:
        wanted, count = self.samples or len(self.data), self._whole_epoch()
        sizes = torch.tensor([min(self.batch_size, wanted - k * self.batch_size) for k in range(count)])
        if sampler.per == "row":
            lengths = torch.ones(int(sizes.sum()), dtype=torch.long)
        else:  # as `tensor_split` cuts a batch
            groups = max(1, self.groups)
            more = torch.arange(groups) < sizes[:, None] % groups
            lengths = (sizes[:, None] // groups + more).reshape(-1)
        pools = list(self.drawn.pools().values())
        return drawn_rows(sampler, pools, lengths, self.seed, self.epoch, self.progress, self._errors())

    def _errors(self) -> Tensor | None:
        return None if self.errors is None else torch.tensor(self.errors, dtype=torch.float64)

    def _whole_epoch(self) -> int:
        full, rest = divmod(self.samples or len(self.data), self.batch_size)
        return full + (rest > 0 and (not self.drop_last or full == 0))
