"""Samples in memory or in a memory-mapped file: columns of tensors, gathered a whole batch at a time."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from polytask._plain import plain
from polytask.data._columns import add_column, own, taken
from polytask.data._labels import Labels
from polytask.data._random import uniform
from polytask.data.batch import (
    Augment,
    Batch,
    Inputs,
    columns_of,
    on_each,
    refuse_not_finite,
    rows_of,
)
from polytask.data.mapped import Mapped
from polytask.data.sources import Sources
from polytask.errors import PolytaskError
from polytask.tasks import present


class TensorData:
    """Inputs and targets of n samples, as tensors whose first axis is the sample.

    Missing labels are NaN in floating-point targets and -100 in integer ones. Gathering a batch is one indexing
    operation per column; nothing is done per sample. `select`, `only` and `one_task_per_row` give views: row numbers
    and the same columns, of which nothing is copied, so that columns mapped from a file stay there.

    Args:
        inputs: a tensor [n, ...], or several by name.
        targets: one tensor [n], [n, outputs] or of maps [n, h, w] or [n, c, h, w] per task.
        transform: what to do with the inputs of a gathered batch (say, bytes to floats); a pure function.
        augment: changes gathered inputs and targets at random (`Augmentation`), after `transform`, in those batches
            for which a draw is given; `gather`, validation and test never see it.
        sources: which data set every row came from (`mixture`), where there were several.

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
        sources: Sources | None = None,
    ) -> None:
        self.transform, self.augment = transform, augment
        self._inputs = inputs
        self._rows: Tensor | None = None  # of a view: the numbers of its rows in the columns
        if not columns_of(inputs):
            raise PolytaskError("the inputs are an empty dict; give at least one tensor")
        lengths = {f"input {name}".strip(): len(column) for name, column in columns_of(inputs).items()}
        lengths |= {f"target {name}": len(target) for name, target in targets.items()}
        lengths |= {} if sources is None else {"sources": len(sources)}
        if len(set(lengths.values())) > 1:
            raise PolytaskError(f"inputs and targets must have one row per sample each, got {lengths} rows")
        for name, column in columns_of(inputs).items():
            seen = getattr(column, "known_finite", False) or not column.is_floating_point()
            if not seen and not bool(
                torch.isfinite(column.sum())
            ):  # a sum can overflow: then every number is looked at
                refuse_not_finite(name, column)
        self._labels = Labels.of(targets, sources)
        self._look()
        if augment is not None and len(self):
            self.piece(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), draw=0)

    def _look(self) -> None:
        """What is known of these rows, and what will be asked for again."""
        complete, augment = self._labels.complete, self.augment
        self._kept = frozenset(name for name in complete if augment is None or augment.keeps(name))
        self._counted: tuple[int, Tensor, dict[str, float]] | None = None
        self._pools: dict[str, Tensor] | None = None
        self._apart: TensorData | None = None

    def __len__(self) -> int:
        return rows_of(self._inputs) if self._rows is None else len(self._rows)

    @property
    def inputs(self) -> Inputs:
        """All of them; of a view, a copy of its rows."""
        return on_each(self._inputs, lambda column: taken(column, self._rows))

    @property
    def targets(self) -> Mapping[str, Tensor]:
        """By task; of a view, a copy of its rows, made when a task is asked for."""
        return self._labels

    @property
    def sources(self) -> Sources | None:
        """Which data set every row came from, where there were several."""
        return self._labels.sources

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
        counts = {name: float(count) for name in self._labels if (count := self._labels.count(name, whole))}
        inputs = on_each(self._inputs, lambda column: taken(column, self._rows, index, device))
        inputs = inputs if self.transform is None else self.transform(inputs)
        targets = {name: self._labels.take(name, index, device) for name in counts}
        if self.augment is None or draw is None:
            return Batch(inputs, targets, counts, self._labels.complete)
        inputs, targets = self.augment(inputs, targets, uniform(draw, index, self.augment.numbers))
        if counts.keys() - self._kept:
            counts = counts | self._recounted(targets if len(index) == len(whole) else None, whole, draw, device)
        counts = {name: count for name, count in counts.items() if count}
        return Batch(inputs, {name: targets[name] for name in counts}, counts, self._kept)

    def select(self, rows: Tensor) -> "TensorData":
        """A view of these rows only, in this order."""
        chosen = torch.arange(len(self))[rows]
        sources = None if self.sources is None else self.sources.select(chosen)
        return self._view(chosen if self._rows is None else self._rows[chosen], self._labels, sources)

    def only(self, *names: str) -> "TensorData":
        """A view of the targets of these tasks, and of the rows with a label for at least one of them."""
        labelled = torch.stack([self.labelled(name) for name in names]).any(0)
        these = self._view(self._rows, names, self.sources)
        return these if bool(labelled.all()) else these.select(labelled.nonzero()[:, 0])

    def one_task_per_row(self) -> "TensorData":
        """A view with a row for every label: each row as often as it has tasks, showing one task's label at a time.

        The rows of a task are a source of that name, so that a sampler draws tasks, and draws exactly them.

        >>> import torch
        >>> both = TensorData(torch.zeros(2, 1), {"a": torch.tensor([1, 2]), "b": torch.tensor([-100, 3])})
        >>> apart = both.one_task_per_row()
        >>> {task: labels.tolist() for task, labels in apart.targets.items()}
        {'a': [1, 2, -100], 'b': [-100, -100, 3]}
        """
        if self._apart is None:
            pools = self._by_task()
            rows = torch.cat([*pools.values(), torch.zeros(0, dtype=torch.long)])
            of_row = torch.arange(len(pools)).repeat_interleave(torch.tensor([*map(len, pools.values())]).long())
            sources = Sources(tuple(pools), of_row, one_task=True) if pools else None
            self._apart = self._view(rows if self._rows is None else self._rows[rows], pools, sources)
        return self._apart

    def pools(self) -> dict[str, Tensor]:
        """The row numbers that a sampler draws from: of every source or, where there is only one, of every task.

        The rows of a task are those with a label for it; sources and tasks without rows are left out.

        >>> import torch
        >>> data = TensorData(torch.zeros(3, 1), {"a": torch.tensor([1, 2, -100]), "b": torch.tensor([-100, 3, 4])})
        >>> {task: rows.tolist() for task, rows in data.pools().items()}
        {'a': [0, 1], 'b': [1, 2]}
        """
        if self._pools is None:
            found = {} if self.sources is None else self.sources.rows()
            self._pools = found if len(found) > 1 else self._by_task()
        return self._pools

    def _by_task(self) -> dict[str, Tensor]:
        """The rows of every task that has labels."""
        return {name: rows for name in self._labels if len(rows := self.labelled(name).nonzero()[:, 0])}

    def labelled(self, name: str) -> Tensor:
        """[n] which rows show a label of a task."""
        return self._labels.labelled(name)

    def counts(self) -> dict[str, int]:
        """How many labels each task has."""
        return {name: self._labels.count(name) for name in self._labels}

    def fingerprint(self) -> str:
        """A checksum of everything in the data set: equal data have equal fingerprints."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(getattr(self.transform, "__qualname__", "").encode())
        if self.augment is not None:
            digest.update(json.dumps(plain(self.augment), sort_keys=True).encode())
        for name, column in columns_of(self._inputs).items():
            add_column(digest, f"input {name!r}", column, len(self), partial(taken, column, self._rows))
        for name, column in self._labels.columns.items():
            add_column(digest, f"target {name!r}", column, len(self), partial(self._labels.take, name))
        if self.sources is not None:
            digest.update(f"sources {self.sources.names} {self.sources.one_task}".encode())
            digest.update(self.sources.of_row.long().contiguous().numpy().data)
        return digest.hexdigest()

    def _view(self, rows: Tensor | None, tasks: Iterable[str], sources: Sources | None) -> "TensorData":
        """The same columns, seen at other rows; neighbouring rows are a slice of them."""
        made = object.__new__(TensorData)
        made.__dict__.update(vars(self))
        made._rows, made._labels = rows, self._labels.at(rows, tasks, sources)
        if rows is not None and len(rows) and bool((rows.diff() == 1).all()):
            first, count = int(rows[0]), len(rows)
            made._rows, made._labels = None, made._labels.narrowed(first, count)
            made._inputs = on_each(self._inputs, lambda column: column.narrow(0, first, count))
        made._look()
        return made

    def __getstate__(self) -> dict[str, Any]:
        """A view is sent to another process, or copied, with its own rows alone; with all, where they stay in files."""
        if self._rows is not None and any(isinstance(each, Mapped) for each in columns_of(self._inputs).values()):
            return vars(self) | dict.fromkeys(("_counted", "_pools", "_apart"))
        inputs = on_each(self._inputs, lambda column: own(taken(column, self._rows)))
        forgotten = dict.fromkeys(("_rows", "_counted", "_pools", "_apart"))
        return vars(self) | forgotten | {"_inputs": inputs, "_labels": self._labels.alone()}

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
            asked = [name for name in self._labels if name not in self._kept]
            targets = {name: self._labels.take(name, whole, device) for name in asked}
            augmented = self.augment({}, targets, uniform(draw, whole, self.augment.numbers))[1]
        names = [name for name in augmented if name not in self._kept]
        found = torch.stack([present(augmented[name]).sum() for name in names]).tolist()
        self._counted = draw, whole, dict(zip(names, map(float, found), strict=True))
        return self._counted[2]
