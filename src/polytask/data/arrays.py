"""Samples in memory: columns of tensors, gathered a whole batch at a time."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from polytask._plain import plain
from polytask.data._random import uniform
from polytask.data.batch import Augment, Batch, Inputs, columns_of, gathered, on_each, refuse_not_finite, rows_of
from polytask.errors import PolytaskError
from polytask.tasks import present


class TensorData:
    """Inputs and targets of n samples, as tensors whose first axis is the sample.

    Missing labels are NaN in floating-point targets and -100 in integer ones. Gathering a batch is one indexing
    operation per column; nothing is done per sample.

    Args:
        inputs: a tensor [n, ...], or several by name.
        targets: one tensor [n], [n, outputs] or of maps [n, h, w] or [n, c, h, w] per task.
        transform: what to do with the inputs of a gathered batch (say, bytes to floats); a pure function.
        augment: changes gathered inputs and targets at random (`Augmentation`), after `transform`, in those batches
            for which a draw is given; `gather`, validation and test never see it.

    Raises:
        PolytaskError: when columns differ in length, an input holds NaN or infinity, or the augmentation can't work on
            the first sample.

    >>> import torch
    >>> data = TensorData(torch.arange(3.0)[:, None], {"odd": torch.tensor([0, 1, -100])})
    >>> inputs, targets = data.gather(torch.tensor([2, 1]))
    >>> inputs.tolist(), targets["odd"].tolist()
    ([[2.0], [1.0]], [-100, 1])
    >>> data.counts()
    {'odd': 2}
    """

    def __init__(
        self,
        inputs: Inputs,
        targets: Mapping[str, Tensor],
        transform: Callable[[Inputs], Inputs] | None = None,
        augment: Augment | None = None,
    ) -> None:
        self.inputs = inputs
        self.targets = dict(targets)
        self.transform, self.augment = transform, augment
        if not columns_of(inputs):
            raise PolytaskError("the inputs are an empty dict; give at least one tensor")
        lengths = {f"input {name}".strip(): len(column) for name, column in columns_of(inputs).items()}
        lengths |= {f"target {name}": len(target) for name, target in self.targets.items()}
        if len(set(lengths.values())) > 1:
            raise PolytaskError(f"inputs and targets must have one row per sample each, got {lengths} rows")
        for name, column in columns_of(inputs).items():
            if column.is_floating_point() and not bool(torch.isfinite(column.sum(dtype=torch.float64))):
                refuse_not_finite(name, column)
        # Labels per row of every task, or None where no label is missing.
        self._labels: dict[str, Tensor | None] = {}
        for name, target in self.targets.items():
            there = present(target)
            self._labels[name] = None if bool(there.all()) else there.reshape(len(target), -1).sum(1)
        self._complete = frozenset(name for name, labels in self._labels.items() if labels is None)
        self._kept = frozenset(name for name in self._complete if augment is None or augment.keeps(name))
        self._counted: tuple[int, Tensor, dict[str, float]] | None = None
        if augment is not None and len(self):
            self.piece(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), draw=0)

    def __len__(self) -> int:
        return rows_of(self.inputs)

    def gather(self, index: Tensor) -> Batch:
        """The samples at `index`, in that order, as one batch."""
        return self.piece(index, index)

    def piece(self, index: Tensor, whole: Tensor, draw: int | None = None, device: torch.device | None = None) -> Batch:
        """The samples at `index`, as a part of the batch `whole`.

        Which tasks are absent, and how many labels the others have, is counted over the whole batch, as it is after
        the augmentation.

        Args:
            index, whole: sample numbers.
            draw: augment with the random numbers of this draw; each sample's depend on (draw, its number) alone, so
                that the pieces of a batch, on however many processes, are those of the whole. None: as the data are.
            device: where to; the samples are gathered here, made floats and augmented there.

        Cost: of a piece, where a task has missing labels: its targets are augmented for the whole batch as well, to
        count them (once for the pieces of a batch that are asked for one after the other).
        """
        counts = {name: float(count) for name in self.targets if (count := self._count(name, whole))}
        inputs = on_each(self.inputs, lambda column: gathered(column, index, device))
        inputs = inputs if self.transform is None else self.transform(inputs)
        targets = {name: gathered(self.targets[name], index, device) for name in counts}
        if self.augment is None or draw is None:
            return Batch(inputs, targets, counts, self._complete)
        inputs, targets = self.augment(inputs, targets, uniform(draw, index, self.augment.numbers))
        if counts.keys() - self._kept:
            counts = counts | self._recounted(targets if len(index) == len(whole) else None, whole, draw, device)
        counts = {name: count for name, count in counts.items() if count}
        return Batch(inputs, {name: targets[name] for name in counts}, counts, self._kept)

    def select(self, rows: Tensor) -> "TensorData":
        """A data set of these rows only."""
        return TensorData(
            on_each(self.inputs, lambda column: column[rows]),
            {name: target[rows] for name, target in self.targets.items()},
            self.transform,
            self.augment,
        )

    def only(self, *names: str) -> "TensorData":
        """The targets of these tasks, and the rows with a label for at least one of them."""
        targets = {name: self.targets[name] for name in names}
        these = TensorData(self.inputs, targets, self.transform, self.augment)
        labels = [each for name in names if (each := self._labels[name]) is not None]
        if len(labels) < len(names):
            return these
        labelled = torch.stack(labels).any(0)
        return these if bool(labelled.all()) else these.select(labelled.nonzero()[:, 0])

    def counts(self) -> dict[str, int]:
        """How many labels each task has."""
        return {name: self._count(name, None) for name in self.targets}

    def fingerprint(self) -> str:
        """A checksum of everything in the data set: equal data have equal fingerprints."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(getattr(self.transform, "__qualname__", "").encode())
        if self.augment is not None:
            digest.update(json.dumps(plain(self.augment), sort_keys=True).encode())
        for kind, columns in (("input", columns_of(self.inputs)), ("target", self.targets)):
            for name, column in columns.items():
                digest.update(f"{kind} {name!r} {column.dtype} {list(column.shape)}".encode())
                digest.update(column.contiguous().numpy().data)
        return digest.hexdigest()

    def _count(self, name: str, index: Tensor | None) -> int:
        """How many labels a task has in the rows `index`, or in all."""
        labels, rows = self._labels[name], len(self) if index is None else len(index)
        if labels is None:
            return rows * math.prod(self.targets[name].shape[1:])
        return int((labels if index is None else labels[index]).sum())

    def _recounted(
        self, augmented: dict[str, Tensor] | None, whole: Tensor, draw: int, device: torch.device | None
    ) -> dict[str, float]:
        """How many labels an augmented batch has, of the tasks where that is not known.

        Args:
            augmented: the targets of the whole batch, where they are there already.
        """
        known = self._counted
        if known is not None and known[0] == draw and torch.equal(known[1], whole):
            return known[2]
        if augmented is None:
            assert self.augment is not None
            asked = [name for name in self.targets if name not in self._kept]
            targets = {name: gathered(self.targets[name], whole, device) for name in asked}
            augmented = self.augment({}, targets, uniform(draw, whole, self.augment.numbers))[1]
        names = [name for name in augmented if name not in self._kept]
        found = torch.stack([present(augmented[name]).sum() for name in names]).tolist()
        self._counted = draw, whole, dict(zip(names, map(float, found), strict=True))
        return self._counted[2]
