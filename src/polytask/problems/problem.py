"""What a problem is: tasks, data in three splits, a default trunk, and where it all comes from."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from polytask._text import did_you_mean
from polytask.data import Batches, TensorData
from polytask.data.bookkeeping import Bookkeeping
from polytask.data.leakage import duplicates
from polytask.errors import PolytaskError
from polytask.problems._members import silent_members
from polytask.sharing import Backbone
from polytask.tasks import Task, losses

SPLITS = ("train", "validation", "test")
THEN, ONLY = "then", "only"
"""Under which a `spec` lists what was done to the problem after it was made, and that it was cut down to some tasks."""


@dataclass(frozen=True)
class Problem:
    """Tasks, data, and what a reader must know about them.

    Args:
        name: short, for folders and titles.
        tasks: what to predict, fitted on the training labels.
        splits: "train", "validation" and "test" data; models are chosen on validation, test is read once.
        backbone: makes the default trunk, freshly initialised at every call.
        summary: one sentence: what goes in, what comes out.
        source, licence: where the data come from and what their origin states.
        suggested: a training budget that suits the problem (arguments of `training.Budget`).
        spec: how to make the problem again: {"name": ..., "args": {...}}, plain data; under "then" what was done to it
            after that.
        notes: what a reader of the results must know (choices made, known flaws).
        preprocessing: turns a new table into inputs, where the problem came from one.
        schema: what every column of that table was taken for.

    Raises:
        PolytaskError: when a split is missing or empty, or a task has no labels in one, or labels that it can't be
            scored on (`Task.check`).
    """

    name: str
    tasks: tuple[Task, ...]
    splits: Mapping[str, TensorData]
    backbone: Callable[[], Backbone]
    summary: str = ""
    source: str = ""
    licence: str = ""
    suggested: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    preprocessing: Any = None
    schema: Any = None

    def __post_init__(self) -> None:
        missing = [name for name in SPLITS if name not in self.splits]
        if missing:
            raise PolytaskError(
                f"problem '{self.name}' lacks the {', '.join(missing)} split; it needs {', '.join(SPLITS)}"
            )
        names = [task.name for task in self.tasks]
        if not names or len(set(names)) < len(names):
            raise PolytaskError(f"problem '{self.name}' needs tasks with different names, got {names}")
        if all(task.auxiliary for task in self.tasks):
            raise PolytaskError(f"problem '{self.name}' has auxiliary tasks only; at least one task must count")
        self._check_targets()
        self.labels.check()
        for split in SPLITS:
            self._check_labels(split)

    def _check_targets(self) -> None:
        """Every split has targets of every task."""
        for split in SPLITS:
            there = self.splits[split].targets
            for task in self.tasks:
                if task.name not in there:
                    raise PolytaskError(
                        f"the {split} split has no targets for task '{task.name}'; {did_you_mean(task.name, there)}"
                    )

    def _check_labels(self, split: str) -> None:
        """The labels of a split are such as every task can be scored on."""
        for task in self.tasks:
            try:
                task.check(self.splits[split].targets[task.name])
            except PolytaskError as error:
                raise PolytaskError(f"in the {split} split, {error}") from error

    @cached_property
    def labels(self) -> Bookkeeping:
        """Which rows have labels of which task: counts, overlap, class balance, scales."""
        return Bookkeeping(self.tasks, {split: self.splits[split] for split in SPLITS})

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What could make results look better than they are: rows of a split whose inputs are in an earlier one.

        A table is looked at before it is encoded, when it is split: its `notes` say what was found there.

        Cost: reads every input once, about a second per GB or per million rows; the second time nothing.
        """
        if self.schema is not None:
            return ()
        return tuple(each.same_inputs() for each in duplicates({split: self.splits[split] for split in SPLITS}))

    @property
    def all_notes(self) -> tuple[str, ...]:
        """What a reader of the results must know: `warnings`, members without labels (`tasks.Many`), then `notes`."""
        silent = (silent_members(self.task(name), counts) for name, counts in self.labels.members.items())
        return (*self.warnings, *(each for told in silent for each in told), *self.notes)

    def task(self, name: str) -> Task:
        """The task of this name."""
        for each in self.tasks:
            if each.name == name:
                return each
        raise PolytaskError(
            f"no task '{name}' in problem '{self.name}'; {did_you_mean(name, [t.name for t in self.tasks])}"
        )

    def only(self, *names: str) -> "Problem":
        """The same problem with these tasks alone, and only the rows with a label for one of them."""
        kept = tuple(self.task(name) for name in names)
        if all(task.auxiliary for task in kept):  # what is trained alone counts
            kept = tuple(replace(task, auxiliary=False) for task in kept)
        splits = {split: data.only(*names) for split, data in self.splits.items()}
        return replace(self, tasks=kept, splits=splits, spec=self.spec_then(ONLY, list(names)))

    def spec_then(self, step: str, told: Any) -> Mapping[str, Any]:
        """The `spec` after something was done to the problem; none stays none.

        Args:
            step: what was done, a word.
            told: how, as plain data.
        """
        return {**self.spec, THEN: [*self.spec.get(THEN, ()), {step: told}]} if self.spec else {}

    def loader(self, split: str, batch_size: int = 256, shuffle: bool = False, seed: int = 0) -> Batches:
        """Batches of a split."""
        if split not in self.splits:
            raise PolytaskError(f"no split '{split}'; {did_you_mean(split, self.splits)}")
        return Batches(self.splits[split], batch_size, shuffle=shuffle, seed=seed)

    def losses(self, predictions: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss of every task that has labels in the batch."""
        return losses(self.tasks, predictions, targets)

    def fingerprint(self) -> dict[str, str]:
        """Checksums of the splits, by name."""
        return {split: self.splits[split].fingerprint() for split in SPLITS}

    def describe(self) -> dict[str, Any]:
        """The problem as plain data, without its samples."""
        plain = {
            "name": self.name,
            "summary": self.summary,
            "source": self.source,
            "licence": self.licence,
            "notes": list(self.notes),
            "spec": dict(self.spec),
            "tasks": [task.describe() for task in self.tasks],
            "rows": {split: len(data) for split, data in self.splits.items()},
            "labels": {split: data.counts() for split, data in self.splits.items()},
        }
        return json.loads(json.dumps(plain))
