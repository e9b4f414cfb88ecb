"""Tables in memory, read from whatever their path stands for."""

from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from polytask._text import did_you_mean
from polytask.data.tables.joining import Join
from polytask.data.tables.missing import MISSING, mark_missing
from polytask.data.tables.sources import open_table
from polytask.errors import PolytaskError

__all__ = ["MISSING", "column_of", "mark_missing", "read_table"]


def read_table(
    path: str | Path,
    missing: Sequence[str] = MISSING,
    text: Collection[str] = (),
    joins: Sequence[Join] = (),
) -> pl.DataFrame:
    """Read a table whole and mark its missing values.

    The ending says what a file holds: `.parquet` and `.pq`; `.arrow`, `.feather` and `.ipc` (Arrow, file or stream);
    `.jsonl` and `.ndjson` (one JSON object per line); everything else is read as CSV in UTF-8 with a header line, its
    separator (comma, semicolon, tab or bar) the one that the header line holds most often. CSV and JSON lines may be
    compressed (`.csv.gz`, `.csv.zst`). A pattern, a folder of files or a saved data set is one table as well, see
    `open_table`.

    Args:
        path: the file, pattern or folder.
        missing: cells that mean "no value".
        text: columns of a CSV file to be read as they are written, so that the code 007 keeps its zeros.
        joins: further tables, matched by a key.

    Returns:
        The table; missing values are null.

    Raises:
        PolytaskError: no such file, an empty one, a column name that is there twice, lines of unequal length, files or
            tables that contradict each other.

    Cost: one pass to find the types of CSV and JSON lines, one to read; about the size of the table in memory.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "small.csv"
    >>> _ = path.write_text("age;job\\n31;nurse\\n?;NA\\n")
    >>> read_table(path).rows()
    [(31, 'nurse'), (None, None)]
    """
    return mark_missing(open_table(path, missing, text, joins).read(), missing)


def column_of(frame: pl.DataFrame, name: str, role: str = "column") -> pl.Series:
    """The column of that name, or an error that says which there are."""
    if name not in frame.columns:
        raise PolytaskError(f"the table has no {role} '{name}': {did_you_mean(name, frame.columns)}")
    return frame[name]
