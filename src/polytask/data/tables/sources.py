"""What a path stands for: a file, several files, a folder of files, a saved data set; opened as one table."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import polars as pl

from polytask._text import listed, nearest
from polytask.data.tables.agreement import stacked
from polytask.data.tables.formats import ENDINGS, Part, ending, format_of, open_part, reading
from polytask.data.tables.joining import Join, join
from polytask.data.tables.missing import MISSING
from polytask.data.tables.saved_datasets import files_of_dataset, is_saved_dataset, saved_dataset
from polytask.data.tables.splitting import SPLIT_WORDS
from polytask.errors import PolytaskError

SPLIT = "split"
"""The column that says which split a row's file is named after."""
NEIGHBOURS = 5
"""Names of files that an error lists."""


@dataclass(frozen=True, eq=False)
class RawTable:
    """A table that nothing was read of yet but the names and types of its columns.

    Args:
        name: for errors.
        frame: its rows.
        parts: the files that they come from.
        by_column: one column can be read without reading the others.
        split: the column that names the split of every row, where the files do.
        notes: what a reader of results must know.
    """

    name: str
    frame: pl.LazyFrame
    parts: tuple[Part, ...]
    by_column: bool
    split: str | None = None
    notes: tuple[str, ...] = ()

    def read(self) -> pl.DataFrame:
        """The whole table in memory.

        Raises:
            PolytaskError: cells that can't be read, or no rows.
        """
        with self.told():
            frame = self.frame.collect()
        if not frame.height:
            raise PolytaskError(f"{self.name} holds no rows, only the columns {', '.join(frame.columns)}")
        return frame

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors of reading as errors that name the file."""
        try:
            yield
        except (pl.exceptions.PolarsError, OSError) as error:
            for part in self.parts:
                with reading(part.path, format_of(part.path).expected):
                    part.frame.collect()
            raise PolytaskError(f"cannot read {self.name}: {str(error).splitlines()[0]}") from error


def open_table(
    path: str | Path,
    missing: Sequence[str] = MISSING,
    text: Collection[str] = (),
    joins: Sequence[Join] = (),
) -> RawTable:
    """The table at a path, with the columns of other tables joined to it.

    A path is a file (CSV, Parquet, Arrow, JSON lines; see `formats`), a pattern such as `data/*.parquet`, a folder of
    files of one format, or a folder that Hugging Face `datasets` saved. Several files are read in the order of their
    names. Where all of them are named after splits (train.csv, validation-00000.csv, test.csv; a saved DatasetDict),
    the column "split" says so.

    Args:
        path: where.
        missing: cells that mean "no value".
        text: columns to be read as they are written.
        joins: other tables, matched to this one by a key.

    Raises:
        PolytaskError: nothing there, files that do not fit together, tables that disagree about a row.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "train.csv").write_text("x\\n1\\n2\\n"), (folder / "test.jsonl").write_text('{"x": 3.5}\\n')
    >>> open_table(folder / "t*").read().rows()
    [(3.5, 'test'), (1.0, 'train'), (2.0, 'train')]
    """
    path = Path(path)
    if path.is_dir() and is_saved_dataset(path):
        parts = saved_dataset(path)
    else:
        parts = _by_split([open_part(file, missing, text) for file in _files(path)])
    table = _table(path, parts, text)
    for each in joins:
        other = open_table(each.table, missing, text)
        frame, notes = join(table.name, table.frame, each, other.frame, missing)
        table = replace(table, frame=frame, parts=table.parts + other.parts, by_column=False, notes=table.notes + notes)
    return table


def files_of(path: str | Path, joins: Sequence[Join] = ()) -> tuple[Path, ...]:
    """Every file that `open_table` reads, found without reading any."""
    path = Path(path)
    own = files_of_dataset(path) if path.is_dir() and is_saved_dataset(path) else _files(path)
    return (*own, *(file for each in joins for file in files_of(each.table)))


def is_table(path: Path) -> bool:
    """Whether a path, which may be a pattern, is taken for a table rather than for a name."""
    if path.is_dir():
        return is_saved_dataset(path) or any(ending(each) in ENDINGS for each in path.iterdir())
    return ending(path) in ENDINGS


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        return _of_one_format(
            path, sorted(each for each in path.iterdir() if each.is_file() and ending(each) in ENDINGS)
        )
    if any(mark in path.name for mark in "*?["):
        found = sorted(each for each in path.parent.glob(path.name) if each.is_file())
        if found:
            return found
        raise PolytaskError(f"no file fits {path}{_neighbours(path)}")
    raise PolytaskError(f"no table at {path}{_neighbours(path)}")


def _of_one_format(folder: Path, files: list[Path]) -> list[Path]:
    kinds = sorted({ending(each) for each in files})
    if not files:
        raise PolytaskError(f"folder {folder} holds no table: expected files that end in {', '.join(ENDINGS)}")
    if len(kinds) > 1:
        raise PolytaskError(
            f"folder {folder} holds {' and '.join(kinds)} files; name those that are one table, as in "
            f"{folder}/*{kinds[0]}"
        )
    return files


def _neighbours(path: Path) -> str:
    """What there is in the place of a path where nothing is."""
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    there = sorted(each.name for each in path.parent.iterdir() if not each.name.startswith("."))
    near = nearest(path.name, there)
    hint = f"; did you mean '{near}'?" if near else ";"
    return f"{hint} {path.parent.resolve()} holds {listed(there, NEIGHBOURS) or 'nothing'}"


def _by_split(parts: Sequence[Part]) -> dict[str, list[Part]]:
    """The files by the split that they are named after; by "" where not all are."""
    words = [re.split(r"[-_.]", part.path.name.lower())[0] for part in parts]
    splits = {SPLIT_WORDS.get(word, "") for word in words}
    if len(splits) < 2 or "" in splits:
        return {"": list(parts)}
    found: dict[str, list[Part]] = {}
    for word, part in zip(words, parts, strict=True):
        found.setdefault(word, []).append(part)
    return found


def _table(path: Path, parts: Mapping[str, list[Part]], text: Collection[str]) -> RawTable:
    flat: list[Part] = list(chain.from_iterable(parts.values()))
    frame = stacked(flat, text)
    split = None
    if set(parts) != {""}:
        names = frame.collect_schema().names()
        split = SPLIT if SPLIT not in names else f"{SPLIT} of the files"
        marked = [
            replace(part, frame=part.frame.with_columns(pl.lit(word).alias(split)))
            for word, these in parts.items()
            for part in these
        ]
        frame = stacked(marked, text)
    return RawTable(str(path), frame, tuple(flat), all(part.by_column for part in flat), split)
