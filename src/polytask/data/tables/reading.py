"""Tables from CSV and Parquet files, with one idea of what a missing value is."""

import csv
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import polars as pl

from polytask._text import did_you_mean
from polytask.errors import PolytaskError

MISSING: tuple[str, ...] = ("", "?", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "NaN", "nan")
"""Cells that mean "no value here", unless told otherwise. NaN and infinite numbers are missing as well."""

SEPARATORS = ",;\t|"


def read_table(path: str | Path, missing: Sequence[str] = MISSING, text: Collection[str] = ()) -> pl.DataFrame:
    """Read a CSV or Parquet file whole and mark its missing values.

    The ending says which: `.parquet` and `.pq`, everything else is read as CSV in UTF-8 with a header line
    (also compressed: `.csv.gz`, `.csv.zst`). The separator (comma, semicolon, tab or bar) is the one that
    the header line holds most often.

    Args:
        path: the file.
        missing: cells that mean "no value".
        text: columns of a CSV file to be read as they are written, so that the code 007 keeps its zeros.

    Returns:
        The table; missing values are null.

    Raises:
        PolytaskError: no such file, an empty one, a column name that is there twice, lines of unequal length.

    Cost: one pass to find the types, one to read; about the size of the table in memory.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "small.csv"
    >>> _ = path.write_text("age;job\\n31;nurse\\n?;NA\\n")
    >>> read_table(path).rows()
    [(31, 'nurse'), (None, None)]
    """
    path = Path(path)
    if not path.is_file():
        there = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = f"; {did_you_mean(path.name, there)}" if 0 < len(there) <= 20 else ""
        raise PolytaskError(f"no table at {path}{hint}")
    try:
        frame = _parquet(path) if path.suffix in {".parquet", ".pq"} else _csv(path, missing, text)
    except pl.exceptions.NoDataError:
        raise PolytaskError(f"{path} is empty: expected a header line and at least one row") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).strip().split("\n")[0]
        raise PolytaskError(f"cannot read {path}: {first}; expected {_EXPECTED}") from error
    if not frame.height:
        raise PolytaskError(f"{path} holds no rows, only the columns {', '.join(frame.columns)}")
    return mark_missing(frame, missing)


_EXPECTED = "Parquet, or CSV with one header line and as many cells in every line as there are column names"


def _parquet(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path)


def _csv(path: Path, missing: Sequence[str], text: Collection[str]) -> pl.DataFrame:
    head = pl.read_csv(path, has_header=False, n_rows=1, infer_schema=False, separator="\x01", quote_char=None)
    line = str(head.row(0)[0])
    outside = re.sub(r'"[^"]*"', "", line)  # what stands in quotes separates nothing
    separator = max(SEPARATORS, key=outside.count)
    names = [name.strip() for name in next(csv.reader([line], delimiter=separator))]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise PolytaskError(f"{path} has two columns named '{min(twice)}'; give each column a name of its own")
    return pl.read_csv(
        path,
        separator=separator,
        null_values=list(missing),
        infer_schema_length=None,
        encoding="utf8-lossy",
        schema_overrides={name: pl.String for name in names if name in set(text)},
        with_column_names=lambda found: [name.strip() for name in found],
    )


def mark_missing(frame: pl.DataFrame, missing: Iterable[str] = MISSING) -> pl.DataFrame:
    """The same table with null for every missing value: markers (with blanks or without), NaN, infinity."""
    markers = list(missing)
    codes = [number for marker in markers if (number := _finite(marker)) is not None]
    return frame.with_columns(_marked(column, markers, codes) for column in frame.iter_columns())


def _marked(column: pl.Series, markers: list[str], codes: list[float]) -> pl.Series:
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    if isinstance(column.dtype, pl.String):
        column = column.str.strip_chars()
        return column.set(column.is_in(markers), None) if column.is_in(markers).any() else column
    if column.dtype.is_float() and not column.is_finite().all():
        column = column.set(~column.is_finite(), None)
    if column.dtype.is_numeric() and codes:
        column = column.set(column.cast(pl.Float64).is_in(codes), None)
    return column


def _finite(marker: str) -> float | None:
    try:
        number = float(marker)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def column_of(frame: pl.DataFrame, name: str, role: str = "column") -> pl.Series:
    """The column of that name, or an error that says which there are."""
    if name not in frame.columns:
        raise PolytaskError(f"the table has no {role} '{name}': {did_you_mean(name, frame.columns)}")
    return frame[name]
