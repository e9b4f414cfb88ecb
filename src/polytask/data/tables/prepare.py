"""From a table to tasks and splits: the whole way, in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from polytask.data.arrays import TensorData
from polytask.data.splits import DEFAULT_FRACTIONS
from polytask.data.tables.leaks import recodings
from polytask.data.tables.overrides import Overrides
from polytask.data.tables.preprocessing import TablePreprocessing
from polytask.data.tables.reading import column_of
from polytask.data.tables.schema import TableSchema, infer, require_inputs
from polytask.data.tables.splitting import check_splits, given_split, random_split, rows_alike, shared_groups
from polytask.data.tables.targets import Target
from polytask.errors import PolytaskError
from polytask.tasks import Task


@dataclass(frozen=True)
class PreparedTable:
    """A table made ready for training.

    Args:
        tasks: fitted on the training labels.
        splits: "train", "validation" and "test".
        preprocessing: learned from the training rows; makes inputs of new tables.
        schema: what every column was taken for.
        notes: what a reader of results must know.
    """

    tasks: tuple[Task, ...]
    splits: dict[str, TensorData]
    preprocessing: TablePreprocessing
    schema: TableSchema
    notes: tuple[str, ...]


def prepare(
    frame: pl.DataFrame,
    targets: Sequence[str] = (),
    overrides: Overrides | None = None,
    seed: int = 0,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
) -> PreparedTable:
    """Take the columns of a table for inputs, targets, groups; split the rows; learn the preprocessing.

    Rows with the same inputs go to the same split (with a group column: rows of the same group), so that
    nothing learned by heart is met again in the test. Medians, means and vocabularies come from training
    rows alone. Target columns are never inputs.

    Args:
        frame: the table, missing values null (as `read_table` gives it).
        targets: `column:kind`, see `Target.parse`; those of `overrides` when empty.
        overrides: what is said rather than guessed about columns.
        seed: chooses the split.
        fractions: shares of the splits.

    Raises:
        PolytaskError: see `infer`, `Target` and `check_splits`.

    >>> frame = pl.DataFrame({"x": range(400), "job": ["cook", "nurse"] * 200, "tall": [0, 1, 1, 0] * 100})
    >>> prepared = prepare(frame.with_columns(pl.col("x") * 1.5), ["tall:binary"])
    >>> [(name, len(data)) for name, data in prepared.splits.items()]
    [('train', 280), ('validation', 60), ('test', 60)]
    """
    overrides = overrides or Overrides()
    overrides.check(frame.columns)
    wanted = [Target.parse(text, frame.columns) for text in targets or overrides.targets]
    overrides.check_targets(target.name for target in wanted)
    uses = _uses(wanted, overrides)
    frame, schema = infer(frame, overrides.columns, uses)
    require_inputs(schema.columns)
    made = {target.name: target.make(frame) for target in wanted}
    labels = {name: tensor for name, (_, tensor, _) in made.items()}

    inputs = [column.name for column in schema.inputs]
    alike = rows_alike(frame, [overrides.group] if overrides.group else inputs)
    rows = (
        given_split(column_of(frame, overrides.split, "split column"), alike, seed)
        if overrides.split
        else random_split(alike, seed, fractions)
    )
    crossing = shared_groups(rows, alike) if overrides.split else {}
    if crossing and overrides.group:
        raise PolytaskError(
            f"the split column '{overrides.split}' divides groups of '{overrides.group}': "
            f"{', '.join(f'{count} are in {pair}' for pair, count in crossing.items())}; put every group in one split"
        )
    notes = check_splits(rows, [task for task, _, _ in made.values()], labels)
    tasks = tuple(overrides.marked(task.fitted(labels[task.name][rows["train"]])) for task, _, _ in made.values())

    preprocessing = TablePreprocessing.fit(frame, schema.inputs, rows["train"], overrides.missing)
    data = {
        name: TensorData(preprocessing.encode(frame, these), {task: each[these] for task, each in labels.items()})
        for name, these in rows.items()
    }
    aside = [column for target in wanted for column in target.columns]
    notes = [told for _, _, told in made.values() if told] + _leaks(frame, inputs, aside) + notes
    notes += [f"{count:,} different inputs are both in {pair}" for pair, count in crossing.items()]
    notes += _twins(alike) if not overrides.group and not overrides.split else []
    notes += [f"column '{name}' is left out: it {why}" for name, why in preprocessing.left_out]
    return PreparedTable(tasks, data, preprocessing, schema, tuple(notes))


def _uses(wanted: Sequence[Target], overrides: Overrides) -> dict[str, str]:
    """What the columns that are not inputs are for."""
    if not wanted:
        raise PolytaskError("no target is named: say which columns to predict, for instance income:binary")
    names = [target.name for target in wanted]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise PolytaskError(f"target '{twice[0]}' is named twice; a task needs a name of its own")
    uses = {column: f"target {target.kind or ''}".strip() for target in wanted for column in target.columns}
    for name, use in ((overrides.group, "group"), (overrides.split, "split")):
        if name in uses:
            raise PolytaskError(f"column '{name}' cannot be a target and the {use} column at once")
        uses |= {name: use} if name else {}
    return uses


def _leaks(frame: pl.DataFrame, inputs: Sequence[str], targets: Sequence[str]) -> list[str]:
    return [
        f"WARNING: input column '{name}' tells target '{target}' exactly: if it would not be known when "
        f"predicting, "
        f"drop it (columns: {{{name}: drop}} in the table's YAML file)"
        for name, target in recodings(frame, inputs, targets)
    ]


def _twins(alike: Tensor) -> list[str]:
    """Say how many rows repeat another row's inputs."""
    repeated = len(alike) - len(torch.unique(alike))
    if not repeated:
        return []
    return [f"{repeated:,} rows repeat the inputs of another row; rows with the same inputs share a split"]
