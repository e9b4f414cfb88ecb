"""The order in which samples are seen: a pure function of seed and epoch, so that it resumes exactly."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from polytask.data._random import draw_number
from polytask.data.arrays import TensorData
from polytask.data.batch import Batch
from polytask.errors import PolytaskError


@dataclass(frozen=True)
class Batches:
    """An epoch over a data set in batches; iterating it gives `(inputs, targets)` batches.

    The order of epoch e is a permutation drawn from (seed, e) alone: nothing has to be remembered to go on in
    the middle of an epoch (`start`), and every process can work out the batches of all the others.

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

    def __len__(self) -> int:
        return self._whole_epoch() - self.start

    def __iter__(self) -> Iterator[Batch]:
        first = self.epoch * self._whole_epoch() + self.start
        for number, whole in enumerate(self.indices(), first):
            draw = draw_number(self.seed, number) if self.augmented else None
            yield self.data.piece(whole[self.rank :: self.world], whole, draw)

    def indices(self) -> Iterator[Tensor]:
        """The sample numbers of every batch, over all processes."""
        order = self.order()
        for number in range(self.start, self.start + len(self)):
            yield order[number * self.batch_size : (number + 1) * self.batch_size]

    def order(self) -> Tensor:
        """The sample numbers in the order of this epoch."""
        rows, wanted = len(self.data), self.samples or len(self.data)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        rounds = [
            torch.randperm(rows, generator=generator) if self.shuffle else torch.arange(rows)
            for _ in range(-(-wanted // rows))
        ]
        return torch.cat(rounds)[:wanted]

    def at(self, epoch: int, start: int = 0) -> "Batches":
        """The batches of another epoch, from batch `start` on."""
        return replace(self, epoch=epoch, start=start)

    def _whole_epoch(self) -> int:
        full, rest = divmod(self.samples or len(self.data), self.batch_size)
        return full + (rest > 0 and (not self.drop_last or full == 0))
