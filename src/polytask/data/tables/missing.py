"""One idea of what a missing value is."""

from collections.abc import Iterable

import polars as pl

MISSING: tuple[str, ...] = ("", "?", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "NaN", "nan")
"""Cells that mean "no value here", unless told otherwise. NaN and infinite numbers are missing as well."""


def mark_missing(frame: pl.DataFrame, missing: Iterable[str] = MISSING) -> pl.DataFrame:
    """The same table with null for every missing value: markers (with blanks or without), NaN, infinity."""
    mark = Marker(missing)
    return frame.with_columns(mark(column) for column in frame.iter_columns())


class Marker:
    """Gives a column with null for every missing value.

    Args:
        missing: cells that mean "no value".
    """

    def __init__(self, missing: Iterable[str] = MISSING) -> None:
        self.markers = list(missing)
        self.codes = [number for marker in self.markers if (number := _finite(marker)) is not None]

    def __call__(self, column: pl.Series) -> pl.Series:
        if isinstance(column.dtype, pl.Categorical | pl.Enum):
            column = column.cast(pl.String)
        if isinstance(column.dtype, pl.String):
            column = column.str.strip_chars()
            gone = column.is_in(self.markers)
            return column.set(gone, None) if gone.any() else column
        if column.dtype.is_float() and not column.is_finite().all():
            column = column.set(~column.is_finite(), None)
        if column.dtype.is_numeric() and self.codes:
            column = column.set(column.cast(pl.Float64).is_in(self.codes), None)
        return column

    def later(self, name: str, dtype: pl.DataType) -> pl.Expr:
        """The same of a column that is not read yet."""
        to = pl.String() if isinstance(dtype, pl.Categorical | pl.Enum) else dtype
        return pl.col(name).map_batches(self, return_dtype=to, is_elementwise=True)


def _finite(marker: str) -> float | None:
    try:
        number = float(marker)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None
