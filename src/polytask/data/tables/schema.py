"""What each column of a table was taken for, and why."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl
import polars.selectors as cs

from polytask.data.tables.conversion import parse_dates
from polytask.data.tables.kinds import BOOLEAN, CATEGORY, DATE, DROP, IMAGE, NUMBER, TEXT, VECTOR, Kind
from polytask.errors import PolytaskError

FEW = 20
"""Text with at most so many different values is never taken for an identifier."""
SENTENCE = 5
"""Texts with so many words on average, most of them different, are taken for text rather than for identifiers; with
twice as many even where they repeat."""
SAMPLE = 1000
TAKEN = ("numbers", "categories")
"""Names of the inputs that columns share."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""What names of picture files end in."""


@dataclass(frozen=True)
class Column:
    """A column, the kind that it was taken for, and what the decision rests on."""

    name: str
    kind: Kind
    reason: str = ""
    distinct: int = 0
    missing: float = 0.0
    examples: tuple[str, ...] = ()
    use: str = "input"


@dataclass(frozen=True)
class TableSchema:
    """The columns of a table; printing it shows what each was taken for and why.

    >>> frame = pl.DataFrame({"age": [31, 45, None, 52], "job": ["cook", "nurse", "cook", "cook"]})
    >>> print(infer(frame)[1])
    4 rows
    column  taken for  use    distinct  missing  examples     why
    age     number     input  3         25 %     31, 45, 52   numbers
    job     category   input  2                  cook, nurse  2 different texts
    """

    columns: tuple[Column, ...]
    rows: int

    def __str__(self) -> str:
        head = ("column", "taken for", "use", "distinct", "missing", "examples", "why")
        lines = [head, *(_line(column) for column in self.columns)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
        shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([f"{self.rows:,} rows", *(line.rstrip() for line in shown)])

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns that the network sees."""
        return tuple(column for column in self.columns if column.kind.encoder)


def infer(
    frame: pl.DataFrame, declared: Mapping[str, Kind] | None = None, uses: Mapping[str, str] | None = None
) -> tuple[pl.DataFrame, TableSchema]:
    """Take every column for something, and convert its cells to that.

    * a `bool` column is boolean, a date or time column a date; numbers are numbers however few there are
      (codes such as 1, 2, 3 for colours must be declared a category);
    * text is taken for numbers, dates or vectors when every cell is one, for images when every cell is the name of
      a picture file; for text when more than 20 different values are more than half of all and have five words or
      more on average (ten where they are fewer); else for a category;
    * lists of numbers, all of one length, are vectors; bytes that begin as picture files do are images;
    * left out, with the reason: columns without a value, with one value only, text with more than 20
      different values that are more than half of all and have fewer words (identifiers), whole numbers that count
      the rows, other lists.

    Args:
        frame: the table, missing values null; Categorical and Enum columns are text.
        declared: kinds by column, which are not guessed.
        uses: columns that are not inputs, and what they are; they are described, not converted.

    Returns:
        The table with converted columns, and what each was taken for.

    Raises:
        PolytaskError: a cell does not fit the declared kind.
    """
    declared, uses = declared or {}, uses or {}
    typed, columns = [], []
    for column in frame.with_columns(cs.categorical().cast(pl.String), cs.enum().cast(pl.String)).iter_columns():
        values, kind, reason = _take(column, declared.get(column.name))
        if kind.own_input and column.name in TAKEN and column.name not in uses:
            raise PolytaskError(
                f"a column of kind {kind} can't be called '{column.name}': the network's input of all {column.name} is "
                "called so; rename the column, or drop it"
            )
        use = uses.get(column.name, "input" if kind.encoder else "")
        aside = column.name in uses
        columns.append(_described(values, DROP if aside else kind, "" if aside else reason, use))
        typed.append(column if aside else values)
    return pl.DataFrame(typed), TableSchema(tuple(columns), frame.height)


def _take(column: pl.Series, declared: Kind | None) -> tuple[pl.Series, Kind, str]:
    """The converted column, its kind and why."""
    if declared is not None:
        return declared.convert(column), declared, "declared"
    column, guess, reason = _guess(column)
    return guess.convert(column), guess, reason


def _guess(column: pl.Series) -> tuple[pl.Series, Kind, str]:
    if isinstance(column.dtype, pl.List | pl.Array | pl.Struct | pl.Binary | pl.Object):
        return column, *_guess_cells(column)
    if isinstance(column.dtype, pl.String):
        column = _plain(column)
    there = column.drop_nulls()
    if not len(there):
        return column, DROP, "no value at all"
    alike = bool((there == there[0]).all())
    if alike and len(there) == len(column):
        return column, DROP, f"one value only: {column[0]}"
    if alike and isinstance(column.dtype, pl.String):
        return column, CATEGORY, "one text, or missing"
    for fits, kind, reason in _BY_TYPE:
        if fits(column.dtype):
            return (column, DROP, "counts the rows") if _counts_rows(column) else (column, kind, reason)
    return column, *_guess_text(column)


def _guess_text(column: pl.Series) -> tuple[Kind, str]:
    """Text that is neither numbers nor dates."""
    cells = column.drop_nulls()
    distinct, there, sample = cells.n_unique(), len(cells), cells.head(SAMPLE)
    if _are_pictures(sample):
        return IMAGE, "names of picture files"
    if sample.str.contains(r"^\s*[\[(].*[\])]\s*$").all() and _fits(VECTOR, column):
        return VECTOR, "lists of numbers, all of one length"
    words = float(sample.str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]
    mostly_different = distinct > max(FEW, there / 2)
    if distinct > FEW and words >= (SENTENCE if mostly_different else 2 * SENTENCE):
        return TEXT, f"{distinct:,} different texts in {there:,} rows, {words:.0f} words on average"
    if not mostly_different:
        return CATEGORY, f"{distinct:,} different texts{_hint(column)}"
    return DROP, f"{distinct:,} different texts in {there:,} rows: an identifier or free text{_hint(column)}"


def _guess_cells(column: pl.Series) -> tuple[Kind, str]:
    """Cells that are neither numbers nor words."""
    if column.null_count() < len(column) and _fits(VECTOR, column):
        return VECTOR, "lists of numbers, all of one length"
    if _fits(IMAGE, column) and _are_pictures(IMAGE.convert(column).drop_nulls().head(FEW)):
        return IMAGE, "contents of picture files"
    return DROP, f"cells of type {column.dtype} are neither numbers nor words"


def _fits(kind: Kind, column: pl.Series) -> bool:
    try:
        kind.convert(column)
    except PolytaskError:
        return False
    return True


def _are_pictures(column: pl.Series) -> bool:
    """Names of pictures, or bytes that begin as PNG, JPEG, WebP, GIF, BMP and TIFF files do."""
    if isinstance(column.dtype, pl.String):
        return len(column) > 0 and column.str.to_lowercase().str.contains(_PICTURE).all()
    marks = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
    return len(column) > 0 and all(each.startswith(marks) for each in column.to_list())


_PICTURE = rf"({'|'.join(re.escape(each) for each in PICTURES)})$"
_BY_TYPE = (
    (lambda dtype: isinstance(dtype, pl.Boolean), BOOLEAN, "true or false"),
    (lambda dtype: dtype.is_numeric() or isinstance(dtype, pl.Duration), NUMBER, "numbers"),
    (lambda dtype: isinstance(dtype, pl.Date | pl.Datetime | pl.Time), DATE, "dates become numbers"),
)


def _plain(text: pl.Series) -> pl.Series:
    """Text as numbers or dates, when every cell is one."""
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        return numbers
    sample = text.drop_nulls().head(20)
    if parse_dates(sample).null_count():
        return text
    dates = parse_dates(text)
    return dates if dates.null_count() == text.null_count() else text


def _counts_rows(column: pl.Series) -> bool:
    """Whole numbers, all different, without a gap: a row number (however shuffled)."""
    if not column.dtype.is_integer() or column.null_count() or len(column) <= FEW:
        return False
    low, high = (int(each) for each in (column.min(), column.max()))  # type: ignore[arg-type]
    return high - low + 1 == len(column) == column.n_unique()


def _hint(text: pl.Series) -> str:
    """A word about text that is nearly all numbers."""
    bad = text.filter(text.cast(pl.Float64, strict=False).is_null() & text.is_not_null())
    if not 0 < len(bad) < 0.1 * (len(text) - text.null_count()):
        return ""
    return f" (numbers but for {len(bad)} cells such as '{bad[0]}'; does that belong under 'missing'?)"


def _described(column: pl.Series, kind: Kind, reason: str, use: str) -> Column:
    there = column.drop_nulls()
    silent = column.dtype.is_nested() or isinstance(column.dtype, pl.Binary | pl.Object)
    distinct = 0 if silent else there.n_unique()
    examples = [] if silent else there.head(SAMPLE).unique(maintain_order=True).head(3).cast(pl.String).to_list()
    shown = tuple(each if len(each) <= 16 else each[:15] + "…" for each in examples)
    return Column(column.name, kind, reason, distinct, column.null_count() / max(len(column), 1), shown, use)


def _line(column: Column) -> tuple[str, ...]:
    missing = f"{column.missing:.0%}".replace("%", " %") if column.missing else ""
    missing = "< 1 %" if column.missing and column.missing < 0.005 else missing
    return (
        column.name,
        str(column.kind) if column.kind.encoder else "",
        column.use or "left out",
        f"{column.distinct:,}",
        missing,
        ", ".join(column.examples),
        column.reason,
    )


def require_inputs(columns: Iterable[Column]) -> None:
    """An error when no column is left for the network to see."""
    columns = list(columns)
    if not any(column.kind.encoder for column in columns):
        why = "; ".join(f"{column.name}: {column.reason or column.use}" for column in columns)
        raise PolytaskError(f"no input column is left ({why}); declare the kinds of columns in the table's YAML file")
