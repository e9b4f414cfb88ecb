"""From cells to numbers, days and words; an error names the column, the row and the value."""

import polars as pl

from polytask.errors import PolytaskError


class UnfitCells(PolytaskError):
    """Cells that are not what their column was to hold.

    Args:
        fact: which, and what was expected.
        advice: what to do about it in a table that is described by a YAML file.
    """

    def __init__(self, fact: str, advice: str) -> None:
        self.fact = fact
        super().__init__(f"{fact}; {advice}")


EPOCH_DAYS = 86_400_000_000  # microseconds in a day


def to_numbers(column: pl.Series) -> pl.Series:
    """The column as numbers; null stays null.

    >>> to_numbers(pl.Series("age", ["31", None, "4.5"])).to_list()
    [31.0, None, 4.5]
    """
    if column.dtype.is_numeric():
        return column.cast(pl.Float64) if column.dtype.is_decimal() else column
    if isinstance(column.dtype, pl.Boolean | pl.Null):
        return column.cast(pl.Float64)
    if isinstance(column.dtype, pl.Duration):
        return column.dt.total_microseconds() / 1e6
    if isinstance(column.dtype, pl.String):
        return _all_of(column, column.cast(pl.Float64, strict=False), "numbers")
    raise UnfitCells(
        f"column '{column.name}' was to hold numbers and holds {column.dtype} values",
        "declare it as date, category or drop in the table's YAML file",
    )


def to_days(column: pl.Series) -> pl.Series:
    """The column as days since 1 January 1970, fractions for the time of day; null stays null.

    Text may be 2024-03-31, 31.03.2024, 31/03/2024 or a date with a time after it: all cells in one form.

    >>> to_days(pl.Series("day", ["1970-01-03", None])).to_list()
    [2.0, None]
    """
    if isinstance(column.dtype, pl.String):
        column = _all_of(column, parse_dates(column), "dates such as 2024-03-31")
    if isinstance(column.dtype, pl.Null):
        return column.cast(pl.Float64)
    if isinstance(column.dtype, pl.Time):
        return column.cast(pl.Int64) / (EPOCH_DAYS * 1000)
    if not isinstance(column.dtype, pl.Date | pl.Datetime):
        raise PolytaskError(
            f"column '{column.name}' was to hold dates and holds {column.dtype} values; "
            "write dates as 2024-03-31, or declare the column as number"
        )
    return column.dt.timestamp("us") / EPOCH_DAYS


def to_words(column: pl.Series) -> pl.Series:
    """The column as text; whole numbers without a point, so that 3 and 3.0 are one category.

    >>> to_words(pl.Series("grade", [3.0, None])).to_list()
    ['3', None]
    """
    if column.dtype.is_float() and bool((column == column.round()).all()):
        column = column.cast(pl.Int64, strict=False)
    return column.cast(pl.String)


def to_text(column: pl.Series) -> pl.Series:
    """The column as text, blanks at the ends cut; null stays null.

    >>> to_text(pl.Series("review", [" good ", None])).to_list()
    ['good', None]
    """
    if column.dtype.is_nested() or isinstance(column.dtype, pl.Binary | pl.Object):
        raise PolytaskError(f"column '{column.name}' was to hold text and holds {column.dtype} values")
    return column.cast(pl.String).str.strip_chars()


def to_pictures(column: pl.Series) -> pl.Series:
    """The column as names of picture files, or as their contents (bytes); null stays null.

    A record of bytes and path, as data sets of pictures have it, becomes its bytes, else its path.

    >>> to_pictures(pl.Series("photo", ["a.png", None])).to_list()
    ['a.png', None]
    """
    if isinstance(column.dtype, pl.Struct):
        names = [each.name for each in column.dtype.fields]
        if "bytes" in names and column.struct.field("bytes").is_not_null().any():
            return column.struct.field("bytes").alias(column.name)
        if "path" in names:
            return column.struct.field("path").alias(column.name)
    if isinstance(column.dtype, pl.Null):
        return column.cast(pl.String)
    if not isinstance(column.dtype, pl.String | pl.Binary):
        raise PolytaskError(
            f"column '{column.name}' was to hold names of picture files, or pictures as bytes, and holds {column.dtype}"
        )
    return column


def to_vectors(column: pl.Series) -> pl.Series:
    """The column as lists of numbers, all of one length; null stays null.

    Text may be [0.5, 2], or numbers with blanks, commas or semicolons between them.

    >>> to_vectors(pl.Series("place", ["[1, 2.5]", None])).to_list()
    [[1.0, 2.5], None]
    """
    if isinstance(column.dtype, pl.String):
        column = _split_up(column)
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if isinstance(column.dtype, pl.Null):
        return column.cast(pl.List(pl.Float64))
    inner = column.dtype.inner if isinstance(column.dtype, pl.List) else pl.Null()
    if not (inner.is_numeric() or inner == pl.Boolean):
        raise PolytaskError(
            f"column '{column.name}' was to hold vectors (lists of numbers) and holds {column.dtype} values"
        )
    lengths = column.list.len()
    first = lengths.drop_nulls().head(1).to_list()
    other = (lengths != first[0]).fill_null(value=False).arg_true() if first else []
    if len(other):
        row = int(other[0])
        raise PolytaskError(
            f"column '{column.name}' was to hold vectors of one length: the first has {first[0]} numbers, row "
            f"{row + 1} (the header not counted) has {lengths[row]} ({len(other)} of {len(column)} rows have another "
            "length)"
        )
    return column.cast(pl.List(pl.Float64))


def _split_up(column: pl.Series) -> pl.Series:
    """Text as lists of numbers."""
    bare = column.str.strip_chars().str.strip_chars("[]() ").str.replace_all(r"[,;\s]+", " ").str.strip_chars()
    pieces = bare.str.split(" ")
    numbers = pieces.list.eval(pl.element().cast(pl.Float64, strict=False))
    bad = (column.is_not_null() & (numbers.list.eval(pl.element().is_null()).list.any())).arg_true()
    if len(bad):
        row = int(bad[0])
        raise PolytaskError(
            f"column '{column.name}' was to hold vectors such as [0.5, 2], and row {row + 1} (the header not counted) "
            f"holds '{column[row]}' ({len(bad)} of {len(column)} rows are like that)"
        )
    return numbers


FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%d-%m-%Y", "%Y%m%d")
TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S%.f", "T%H:%M", "T%H:%M:%S", "T%H:%M:%S%.f", "T%H:%M:%S%.fZ")


def parse_dates(column: pl.Series) -> pl.Series:
    """Text as date-times in the form that fits most of the cells; null where it does not fit.

    31/03 comes before 03/31: day first, as most of the world writes; US dates want a Parquet file or ISO
    form.
    """
    sample = column.drop_nulls().head(20)
    forms = [(day + time, bool(time)) for time in TIMES for day in FORMATS]
    best, timed = max(forms, key=lambda form: _parsed(sample, *form).count())
    return _parsed(column, best, timed)


def _parsed(column: pl.Series, form: str, timed: bool) -> pl.Series:
    if timed:
        return column.str.to_datetime(form, strict=False, exact=True, time_unit="us")
    return column.str.to_date(form, strict=False, exact=True).cast(pl.Datetime("us"))


def _all_of(before: pl.Series, after: pl.Series, expected: str) -> pl.Series:
    """What was converted; an error about the first cell that could not be."""
    bad = (before.is_not_null() & after.is_null()).arg_true()
    if not len(bad):
        return after
    first = before[int(bad[0])]
    raise UnfitCells(
        f"column '{before.name}' was to hold {expected}, and row {int(bad[0]) + 1} (the header not counted) "
        f"holds '{first}' ({len(bad)} of {len(before)} rows are like that)",
        f"mend the cells, add '{first}' to 'missing', or declare '{before.name}' as category or drop, in the table's "
        "YAML file",
    )
