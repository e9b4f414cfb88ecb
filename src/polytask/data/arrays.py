"""Samples in memory: columns of tensors, gathered a whole batch at a time."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from polytask.errors import PolytaskError
from polytask.tasks import present

Inputs = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Inputs, targets by task, and how many labels each task has; unpacks as `inputs, targets = batch`.

    A task without one label in the batch has no key in `targets` and none in `counts`: absent is absent. `complete`
    names the tasks of which no label is missing anywhere in the data.
    """

    inputs: Inputs
    targets: dict[str, Tensor]
    counts: dict[str, float]
    complete: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Inputs | dict[str, Tensor]]:
        return iter((self.inputs, self.targets))

    def __len__(self) -> int:
        return _rows(self.inputs)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return Batch(
            _each(self.inputs, lambda x: x.to(device, non_blocking=True)),
            {name: target.to(device, non_blocking=True) for name, target in self.targets.items()},
            self.counts,
            self.complete,
        )


class TensorData:
    """Inputs and targets of n samples, as tensors whose first axis is the sample.

    Missing labels are NaN in floating-point targets and -100 in integer ones. Gathering a batch is one indexing
    operation per column; nothing is done per sample.

    Args:
        inputs: a tensor [n, ...], or several by name.
        targets: one tensor [n] or [n, outputs] per task.
        transform: what to do with the inputs of a gathered batch (say, bytes to floats); a pure function.

    Raises:
        PolytaskError: when columns differ in length, or an input holds NaN or infinity.

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
    ) -> None:
        self.inputs = inputs
        self.targets = dict(targets)
        self.transform = transform
        if not _columns(inputs):
            raise PolytaskError("the inputs are an empty dict; give at least one tensor")
        lengths = {f"input {name}".strip(): len(column) for name, column in _columns(inputs).items()}
        lengths |= {f"target {name}": len(target) for name, target in self.targets.items()}
        if len(set(lengths.values())) > 1:
            raise PolytaskError(f"inputs and targets must have one row per sample each, got {lengths} rows")
        for name, column in _columns(inputs).items():
            if column.is_floating_point() and not bool(torch.isfinite(column.sum(dtype=torch.float64))):
                _refuse_not_finite(name, column)
        # Labels per row of every task, or None where no label is missing.
        self._labels: dict[str, Tensor | None] = {}
        for name, target in self.targets.items():
            there = present(target)
            self._labels[name] = None if bool(there.all()) else there.reshape(len(target), -1).sum(1)
        self._complete = frozenset(name for name, labels in self._labels.items() if labels is None)

    def __len__(self) -> int:
        return _rows(self.inputs)

    def gather(self, index: Tensor) -> Batch:
        """The samples at `index`, in that order, as one batch."""
        return self.piece(index, index)

    def piece(self, index: Tensor, whole: Tensor) -> Batch:
        """The samples at `index`, as a part of the batch `whole`: which tasks are absent, and how many labels
        the others have, is counted over the whole batch."""
        counts = {name: float(count) for name in self.targets if (count := self._count(name, whole))}
        inputs = _each(self.inputs, lambda column: column.index_select(0, index))
        return Batch(
            inputs if self.transform is None else self.transform(inputs),
            {name: self.targets[name].index_select(0, index) for name in counts},
            counts,
            self._complete,
        )

    def select(self, rows: Tensor) -> "TensorData":
        """A data set of these rows only."""
        return TensorData(
            _each(self.inputs, lambda column: column[rows]),
            {name: target[rows] for name, target in self.targets.items()},
            self.transform,
        )

    def only(self, *names: str) -> "TensorData":
        """The targets of these tasks, and the rows with a label for at least one of them."""
        targets = {name: self.targets[name] for name in names}
        these = TensorData(self.inputs, targets, self.transform)
        labels = [each for name in names if (each := self._labels[name]) is not None]
        if len(labels) < len(names):
            return these
        return these.select(torch.stack(labels).any(0).nonzero()[:, 0])

    def counts(self) -> dict[str, int]:
        """How many labels each task has."""
        return {name: self._count(name, None) for name in self.targets}

    def fingerprint(self) -> str:
        """A checksum of everything in the data set: equal data have equal fingerprints."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(getattr(self.transform, "__qualname__", "").encode())
        for kind, columns in (("input", _columns(self.inputs)), ("target", self.targets)):
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


def _columns(inputs: Inputs) -> dict[str, Tensor]:
    return inputs if isinstance(inputs, dict) else {"": inputs}


def _each(inputs: Inputs, do: Callable[[Tensor], Tensor]) -> Inputs:
    return {name: do(column) for name, column in inputs.items()} if isinstance(inputs, dict) else do(inputs)


def _rows(inputs: Inputs) -> int:
    return len(next(iter(_columns(inputs).values())))


def _refuse_not_finite(name: str, column: Tensor) -> None:
    rows = (~torch.isfinite(column)).reshape(len(column), -1).any(1).nonzero()[:, 0]
    if len(rows):
        raise PolytaskError(
            f"input{f' {name!r}' if name else ''} holds NaN or infinity in {len(rows)} of {len(column)} rows "
            f"(first: row {rows[0].item()}); fill or drop them before training (tables read by polytask are filled)"
        )
