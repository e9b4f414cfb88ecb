"""A table of your own as a problem."""

from collections.abc import Sequence
from pathlib import Path

from polytask.data.tables import Overrides, PreparedTable, prepare, read_table
from polytask.problems._tables import table_problem
from polytask.problems.problem import Problem


def table(path: Path, targets: Sequence[str] = (), schema: Path | None = None, seed: int = 0) -> Problem:
    """Your own table: predict some columns of a CSV or Parquet file from the others.

    * Input: all columns but the targets, the group and the split column. What every column is taken for is
      guessed (see `polytask.data.tables.infer`; `read` returns it for printing) unless the YAML file says it.
    * Tasks: one per target, written `column:kind` with kind binary, multiclass or regression, or
      `name=column+column:multilabel`. Without a kind it is guessed, and a note tells.
    * Split: 70 / 15 / 15 % by `seed`; rows with the same inputs, or with the same group, stay in one split;
      or as a split column says. Medians, means and vocabularies are learned from training rows alone.
    * Source and licence: yours.

    Args:
        path: the file, `.csv` (also compressed) or `.parquet`.
        targets: what to predict; those of the YAML file when empty.
        schema: a YAML file that says what columns are, see `polytask.data.tables.Overrides`.
        seed: chooses the split.

    Raises:
        PolytaskError: the table, the targets or the YAML file cannot be used; says why and what to do.

    Cost: about 4 s and 250 MiB for 200,000 rows x 40 columns.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "people.csv"
    >>> rows = [f"{k % 50 + 20},{'cook' if k % 3 else 'nurse'},{k % 7 * 1.5}" for k in range(600)]
    >>> _ = path.write_text("\\n".join(["age,job,hours", *rows]))
    >>> problem = table(path, ["job:binary", "hours:regression"])
    >>> [type(task).__name__ for task in problem.tasks]
    ['Binary', 'Regression']
    """
    prepared = read(path, targets, schema, seed)
    return table_problem(
        prepared,
        name=Path(path).name.split(".")[0],
        summary=f"{', '.join(task.name for task in prepared.tasks)} from other columns of {Path(path).name}",
        source=str(path),
        licence="yours to know",
        spec={
            "name": "table",
            "args": {
                "path": str(Path(path).resolve()),
                "targets": list(targets),
                "schema": None if schema is None else str(Path(schema).resolve()),
                "seed": seed,
            },
        },
    )


def read(path: Path, targets: Sequence[str] = (), schema: Path | None = None, seed: int = 0) -> PreparedTable:
    """What `table` makes its problem from; its `schema`, printed, shows what each column was taken for."""
    overrides = Overrides() if schema is None else Overrides.read(schema)
    frame = read_table(path, overrides.missing, text=overrides.as_written)
    return prepare(frame, targets, overrides, seed)
