"""File formats of tables: what their files end in, and how each is opened without being read."""

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl
from polars.io.plugins import register_io_source

from polytask.errors import PolytaskError

SEPARATORS = ",;\t|"
COMPRESSED = (".gz", ".zst")


@dataclass(frozen=True, eq=False)
class Part:
    """One file of a table, opened.

    Args:
        path: the file.
        frame: its rows, not read yet.
        by_column: one column can be read without reading the others.
    """

    path: Path
    frame: pl.LazyFrame
    by_column: bool


class Format(ABC):
    """A file format.

    Attributes:
        endings: of its files' names.
        expected: what a file must hold, for errors.
    """

    endings: ClassVar[tuple[str, ...]]
    expected: ClassVar[str]

    @abstractmethod
    def open(self, path: Path, missing: Sequence[str], text: Collection[str]) -> Part:
        """The file, not read yet.

        Args:
            path: the file.
            missing: cells that mean "no value", where the format has only text for cells.
            text: columns to be taken as they are written.
        """


class Csv(Format):
    """Text in UTF-8 with a header line; separated by what the header line holds most often of , ; tab and |."""

    endings = (".csv", ".tsv", ".txt")
    expected = "CSV with one header line and as many cells in every line as there are column names"

    def open(self, path: Path, missing: Sequence[str], text: Collection[str]) -> Part:
        head = pl.read_csv(path, has_header=False, n_rows=1, infer_schema=False, separator="\x01", quote_char=None)
        line = str(head.row(0)[0])
        outside = re.sub(r'"[^"]*"', "", line)  # what stands in quotes separates nothing
        separator = max(SEPARATORS, key=outside.count)
        names = [name.strip() for name in next(csv.reader([line], delimiter=separator))]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise PolytaskError(f"{path} has two columns named '{min(twice)}'; give each column a name of its own")
        frame = pl.scan_csv(
            path,
            separator=separator,
            null_values=list(missing),
            infer_schema_length=None,
            encoding="utf8-lossy",
            schema_overrides={name: pl.String for name in names if name in set(text)},
            with_column_names=lambda found: [name.strip() for name in found],
            glob=False,
        )
        return Part(path, frame, by_column=False)


class Parquet(Format):
    """Apache Parquet."""

    endings = (".parquet", ".pq")
    expected = "Parquet"

    def open(self, path: Path, missing: Sequence[str], text: Collection[str]) -> Part:
        return Part(path, pl.scan_parquet(path, glob=False), by_column=True)


class Arrow(Format):
    """Apache Arrow: files (also called Feather, version 2) and streams."""

    endings = (".arrow", ".feather", ".ipc", ".arrows")
    expected = "an Arrow file or stream (Feather of version 1 is not one; write version 2)"

    def open(self, path: Path, missing: Sequence[str], text: Collection[str]) -> Part:
        with path.open("rb") as file:
            is_file = file.read(len(FILE_MARK)) == FILE_MARK
        if is_file:
            return Part(path, pl.scan_ipc(path, glob=False), by_column=True)
        return Part(path, _stream(path), by_column=False)


FILE_MARK = b"ARROW1"
"""How an Arrow file begins, and a stream does not."""


def _stream(path: Path) -> pl.LazyFrame:
    """A stream has no table of contents: the columns asked for are read of the whole of it."""

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        frame = pl.read_ipc_stream(path, columns=columns, n_rows=rows)
        yield frame if predicate is None else frame.filter(predicate)

    return register_io_source(read, schema=pl.read_ipc_stream(path, n_rows=0).schema)


class JsonLines(Format):
    """One JSON object per line, in UTF-8; a key that an object lacks is a missing value."""

    endings = (".jsonl", ".ndjson")
    expected = "one JSON object per line"

    def open(self, path: Path, missing: Sequence[str], text: Collection[str]) -> Part:
        return Part(path, pl.scan_ndjson(path, infer_schema_length=None), by_column=False)


CSV = Csv()
FORMATS: tuple[Format, ...] = (CSV, Parquet(), Arrow(), JsonLines())
ENDINGS: tuple[str, ...] = tuple(ending for each in FORMATS for ending in each.endings)
"""What the names of tables end in; CSV and JSON lines may be compressed (.csv.gz, .jsonl.zst)."""


def ending(path: Path) -> str:
    """What a file's name ends in, without that of its compression.

    >>> ending(Path("a/people.csv.gz"))
    '.csv'
    """
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() if last in COMPRESSED else last


def format_of(path: Path) -> Format:
    """The format of a file by its name; CSV where the name does not tell."""
    return next((each for each in FORMATS if ending(path) in each.endings), CSV)


@contextmanager
def reading(what: str | Path, expected: str) -> Iterator[None]:
    """Errors of reading as errors that say what was expected."""
    try:
        yield
    except pl.exceptions.NoDataError:
        raise PolytaskError(f"{what} is empty: expected {expected}") from None
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        first = str(error).strip().split("\n")[0]
        raise PolytaskError(f"cannot read {what}: {first}; expected {expected}") from error


def open_part(path: Path, missing: Sequence[str], text: Collection[str]) -> Part:
    """The file of a table, opened as its name says.

    Raises:
        PolytaskError: it is empty, or not of that format.
    """
    kind = format_of(path)
    with reading(path, kind.expected):
        part = kind.open(path, missing, text)
        part.frame.collect_schema()
    return part
