"""From a table to tasks and splits: the whole way, in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from torch import Tensor

from polytask._text import listed
from polytask.data.arrays import TensorData
from polytask.data.splits import DEFAULT_FRACTIONS
from polytask.data.tables.columns import ColumnsOnDisk, Table, taken
from polytask.data.tables.encoded import write_encoded
from polytask.data.tables.images import SHOWN, UnreadableImages
from polytask.data.tables.leaks import recodings
from polytask.data.tables.overrides import Overrides
from polytask.data.tables.preprocessing import TablePreprocessing
from polytask.data.tables.schema import TableSchema, require_inputs
from polytask.data.tables.split_rule import divide
from polytask.data.tables.splitting import check_splits, rows_alike
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
    frame: pl.DataFrame | ColumnsOnDisk,
    targets: Sequence[str] = (),
    overrides: Overrides | None = None,
    seed: int = 0,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    folder: str | Path = "",
    into: Path | None = None,
) -> PreparedTable:
    """Take the columns of a table for inputs, targets, groups; split the rows; learn the preprocessing.

    Rows with the same inputs go to the same split (with a group column: rows of the same group), so that
    nothing learned by heart is met again in the test. Medians, means and vocabularies come from training
    rows alone. Target columns are never inputs.

    Args:
        frame: the table, missing values null (as `read_table` gives it), or one that is not held in memory.
        targets: `column:kind`, see `Target.parse`; those of `overrides` when empty.
        overrides: what is said rather than guessed about columns.
        seed: chooses the split.
        fractions: shares of the splits.
        folder: what names of files (pictures) in the table are relative to.
        into: a folder for the encoded columns, which then are mapped from files rather than held in memory.

    Raises:
        PolytaskError: see `infer`, `Target` and `check_splits`; a full disk.

    Cost: of a table on disk, about 250 bytes per row in memory, however many columns there are: one of them, the
    labels, the splits, numbers that say which rows are alike. Every column is read five times.

    >>> frame = pl.DataFrame({"x": range(400), "job": ["cook", "nurse"] * 200, "tall": [0, 1, 1, 0] * 100})
    >>> prepared = prepare(frame.with_columns(pl.col("x") * 1.5), ["tall:binary"])
    >>> [(name, len(data)) for name, data in prepared.splits.items()]
    [('train', 280), ('validation', 60), ('test', 60)]
    """
    overrides = overrides or Overrides()
    overrides.check(frame.columns)
    wanted = overrides.wanted(targets, frame.columns)
    overrides.check_targets(target.name for target in wanted)
    uses = _uses(wanted, overrides, frame)
    table, schema = taken(frame, overrides.columns, uses)
    require_inputs(schema.columns)
    made = {
        target.name: target.make(table.select(target.columns), overrides.classes.get(target.name, ()))
        for target in wanted
    }
    labels = {name: tensor for name, (_, tensor, _) in made.items()}

    inputs = [column.name for column in schema.inputs]
    division = divide(overrides.rule, table, _alike(table, inputs), labels, overrides.group, seed, fractions)
    rows = division.rows
    notes = division.notes + check_splits(rows, [task for task, _, _ in made.values()], labels)
    tasks = tuple(overrides.marked(task.fitted(labels[task.name][rows["train"]])) for task, _, _ in made.values())

    preprocessing = TablePreprocessing.fit(table, schema.inputs, rows["train"], overrides.missing, str(folder))
    unread = preprocessing.unread(table)
    try:
        data = (
            _encoded(preprocessing, table, rows, labels)
            if into is None
            else write_encoded(preprocessing, table, rows, labels, into)
        )
    except UnreadableImages as error:
        raise preprocessing.all_unreadable(table, error) from None
    aside = [column for target in wanted for column in target.columns]
    notes = [told for _, _, told in made.values() if told] + _leaks(table, inputs, aside) + notes
    notes += [f"column '{name}' is left out: it {why}" for name, why in preprocessing.left_out]
    notes += [
        f"column '{name}': {len(these):,} of {table.height:,} pictures can't be read and count as missing: "
        f"{listed(list(these.values()), SHOWN, '; ')}"
        for name, these in unread.items()
    ]
    return PreparedTable(tasks, data, preprocessing, schema, tuple(notes))


def _uses(wanted: Sequence[Target], overrides: Overrides, frame: Table) -> dict[str, str]:
    """What the columns that are not inputs are for."""
    if not wanted:
        raise PolytaskError("no target is named: say which columns to predict, for instance income:binary")
    names = [target.name for target in wanted]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise PolytaskError(f"target '{twice[0]}' is named twice; a task needs a name of its own")
    kinds = [
        target.taken_for(frame.select(target.columns), overrides.classes.get(target.name, ()))[0] for target in wanted
    ]
    uses = {
        column: f"target {kind.word}" for target, kind in zip(wanted, kinds, strict=True) for column in target.columns
    }
    for name, use in (({overrides.group: "group"} if overrides.group else {}) | overrides.rule.uses()).items():
        if name in uses:
            raise PolytaskError(f"column '{name}' cannot be a target and the {use} column at once")
        if name != overrides.rule.time or name not in overrides.columns:  # the time may be an input, if said
            uses[name] = use
    return uses


def _encoded(
    preprocessing: TablePreprocessing, table: Table, rows: Mapping[str, Tensor], labels: Mapping[str, Tensor]
) -> dict[str, TensorData]:
    """The splits in memory."""
    return {
        name: TensorData(preprocessing.encode(table, these), {task: each[these] for task, each in labels.items()})
        for name, these in rows.items()
    }


def _alike(table: Table, names: Sequence[str]) -> Tensor:
    """A number per row, equal where all these columns are equal; one column at a time is looked at."""
    mixed = pl.Series("rows", [0], pl.UInt64).new_from_index(0, table.height)
    for name in names:
        mixed = pl.DataFrame([mixed, table[name].rename("")]).hash_rows(seed=0).rename("rows")
    return rows_alike(mixed.to_frame(), ["rows"])


def _leaks(table: Table, inputs: Sequence[str], targets: Sequence[str]) -> list[str]:
    aside = table.select(targets)
    found = [pair for name in inputs for pair in recodings(aside.with_columns(table[name]), [name], targets)]
    return [
        f"WARNING: input column '{name}' tells target '{target}' exactly: if it would not be known when "
        f"predicting, "
        f"drop it (columns: {{{name}: drop}} in the table's YAML file)"
        for name, target in found
    ]
