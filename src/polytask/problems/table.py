"""A table of your own as a problem."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from polytask._plain import plain
from polytask.data.tables import Overrides, PreparedTable, Store, files_of, mark_missing, on_disk, open_table, prepare
from polytask.data.tables.images import folder_of
from polytask.data.tables.room import check_room
from polytask.errors import PolytaskError
from polytask.problems._tables import table_problem
from polytask.problems.problem import Problem


def table(
    path: Path,
    targets: Sequence[str] = (),
    schema: Path | None = None,
    seed: int = 0,
    store: Path | None = None,
) -> Problem:
    """Your own table: predict some columns from the others.

    * Source: a file of CSV, Parquet, Arrow or JSON lines; a pattern such as `"data/*.parquet"` or a folder, whose files
      are one table; a folder that Hugging Face `datasets` saved. The YAML file may join further tables by a key.
    * Input: all columns but the targets, the group and the split column. What every column is taken for is
      guessed (see `polytask.data.tables.infer`; `read` returns it for printing) unless the YAML file says it.
    * Tasks: one per target, written `column:kind` with kind binary, multiclass or regression, or
      `name=column+column:multilabel`. Without a kind it is guessed, and a note tells.
    * Split: 70 / 15 / 15 % by `seed`; rows with the same inputs, or with the same group, stay in one split;
      or as a split column says, or the names of the files (train.csv, test.csv). Medians, means and vocabularies are
      learned from training rows alone.
    * Size: in memory, or, with `store`, larger than that: one column at a time is read and encoded into files, from
      which batches are taken.
    * Source and licence: yours.

    Args:
        path: the file, pattern or folder; or a YAML file that names it (`table: people.csv`) and says what it is.
        targets: what to predict; those of the YAML file when empty.
        schema: a YAML file that says what columns are, see `polytask.data.tables.Overrides`.
        seed: chooses the split.
        store: a folder where the encoded table is kept, for tables larger than memory and for starting at once the next
            time; see `polytask.data.tables.Store`. The results are the same with it and without.

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
    path, schema = described(path, schema)
    prepared = read(path, targets, schema, seed, store)
    said = Overrides() if schema is None else Overrides.read(schema)
    return table_problem(
        prepared,
        trunk=said.trunk,
        trunk_at=said.lines.get("trunk", ""),
        name=_name(path),
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
                **({} if store is None else {"store": str(Path(store).resolve())}),
            },
        },
    )


def read(
    path: Path,
    targets: Sequence[str] = (),
    schema: Path | None = None,
    seed: int = 0,
    store: Path | None = None,
) -> PreparedTable:
    """What `table` makes its problem from; its `schema`, printed, shows what each column was taken for."""
    path, schema = described(path, schema)
    overrides = Overrides() if schema is None else Overrides.read(schema)
    if store is None:
        return _prepared(path, targets, overrides, seed, None)
    said = plain(replace(overrides, lines={}))
    asked = {"path": str(Path(path).resolve()), "targets": list(targets), "said": said, "seed": seed}
    kept = Store(Path(store), _name(path), asked, files_of(path, overrides.join))
    return kept.prepared(lambda folder: _prepared(path, targets, overrides, seed, folder))


def described(path: Path, schema: Path | None) -> tuple[Path, Path | None]:
    """The table and what is said of it, where the path is that of a YAML file which names the table.

    Raises:
        PolytaskError: it names none, or another YAML file is given besides.
    """
    if Path(path).suffix.lower() not in (".yaml", ".yml"):
        return path, schema
    if schema is not None:
        raise PolytaskError(
            f"{path} says what the table is, and so does {schema}; give one of them, or the table itself"
        )
    found = Overrides.read(path).table
    if found is None:
        raise PolytaskError(f"{path} names no table; write `table: people.csv` into it, or give the table and --schema")
    return found, Path(path)


def _prepared(path: Path, targets: Sequence[str], overrides: Overrides, seed: int, into: Path | None) -> PreparedTable:
    """The table in memory, or in the files of a folder."""
    left = {name for name, kind in overrides.columns.items() if kind.encoder is None}
    raw = open_table(path, overrides.missing, overrides.as_written | left, overrides.join)
    if raw.split and not overrides.split:
        overrides = replace(overrides, split=raw.split)
    if raw.split and raw.split not in overrides.rule.uses():
        raw = replace(raw, frame=raw.frame.drop(raw.split))
    if into is None:
        check_room(raw)
        frame = mark_missing(raw.read(), overrides.missing)
        made = prepare(frame, targets, overrides, seed, folder=folder_of(path))
    else:
        into.mkdir(parents=True, exist_ok=True)
        scratch = into.with_name(f"{into.name}.arrow")
        columns = on_disk(raw, overrides.missing, scratch)
        made = prepare(columns, targets, overrides, seed, folder=folder_of(path), into=into)
        scratch.unlink(missing_ok=True)
    return replace(made, notes=raw.notes + made.notes)


def _name(path: Path) -> str:
    """What the problem is called: the beginning of the file's name, or that of its folder where it is a pattern."""
    path = Path(path)
    return (path.parent.resolve() if set(path.name) & set("*?[") else path.resolve()).name.split(".")[0]
