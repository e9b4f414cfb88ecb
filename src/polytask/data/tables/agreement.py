"""Several files as one table: the same columns, and in every column one type."""

from collections.abc import Collection, Sequence

import polars as pl

from polytask._text import did_you_mean
from polytask.data.tables.formats import Part
from polytask.errors import PolytaskError


def stacked(parts: Sequence[Part], text: Collection[str] = ()) -> pl.LazyFrame:
    """The rows of all files, one file after the other.

    Whole numbers of one file and fractions of another are numbers; a column without any value fits every type.

    Args:
        parts: the files.
        text: columns whose cells are words; their numbers in one file become words as well.

    Raises:
        PolytaskError: a file lacks a column that another has, or a column holds another sort of cells in one (numbers
            here, words there): which column, which files, and the first cell.
    """
    if len(parts) == 1:
        return parts[0].frame
    first = parts[0]
    names = first.frame.collect_schema().names()
    for part in parts[1:]:
        _same_columns(first, part)
    casts = {name: to for name in names if (to := _agreed(name, parts, name in set(text))) is not None}
    frames = [
        part.frame.select(pl.col(name).cast(casts[name]) if name in casts else name for name in names) for part in parts
    ]
    return pl.concat(frames, how="vertical_relaxed")


def sort_of(dtype: pl.DataType) -> str:
    """What cells of a type are, in words; types of one sort can be read together.

    >>> sort_of(pl.Int8()), sort_of(pl.Float64()), sort_of(pl.String())
    ('numbers', 'numbers', 'text')
    """
    return next((word for word, fits in SORTS.items() if fits(dtype)), str(dtype))


SORTS = {
    "numbers": lambda dtype: dtype.is_numeric(),
    "text": lambda dtype: isinstance(dtype, pl.String | pl.Categorical | pl.Enum),
    "true or false": lambda dtype: isinstance(dtype, pl.Boolean),
    "dates": lambda dtype: isinstance(dtype, pl.Date | pl.Datetime),
}


def _same_columns(first: Part, other: Part) -> None:
    ours, theirs = (each.frame.collect_schema().names() for each in (first, other))
    for has, lacks, there, here in ((first, other, ours, theirs), (other, first, theirs, ours)):
        absent = [name for name in there if name not in here]
        if absent:
            raise PolytaskError(
                f"{lacks.path} lacks column '{absent[0]}', which {has.path} has: all files of one table need the same "
                f"columns (add it with empty cells where there are no values); {did_you_mean(absent[0], here)}"
            )


def _agreed(name: str, parts: Sequence[Part], words: bool) -> pl.DataType | None:
    """The type to turn a column into; None where the types fit together as they are."""
    types = {part: part.frame.collect_schema()[name] for part in parts}
    typed = {part: dtype for part, dtype in types.items() if not isinstance(dtype, pl.Null)}
    if len({str(dtype) for dtype in typed.values()}) <= 1:
        return None
    sorts = {part: sort_of(dtype) for part, dtype in typed.items()}
    if len(set(sorts.values())) == 1:
        return pl.String() if all(map(SORTS["text"], typed.values())) else None
    if words and not any(dtype.is_nested() for dtype in typed.values()):
        return pl.String()
    others = {part: dtype for part, dtype in typed.items() if not isinstance(dtype, pl.String)}
    texts = [part for part in typed if part not in others]
    if len({sorts[part] for part in others}) == 1:
        if all(_is_void(part, name) for part in texts):  # a column of a CSV file without any value is text
            return _wider(list(others.values()))
        if all(map(SORTS["numbers"], others.values())) and all(_first_word(part, name) is None for part in texts):
            return pl.Float64()
    raise PolytaskError(_disagreement(name, sorts))


def _wider(types: Sequence[pl.DataType]) -> pl.DataType:
    """A type that holds the cells of all these of one sort."""
    return pl.concat([pl.Series("", [], each).to_frame() for each in types], how="vertical_relaxed").dtypes[0]


def _is_void(part: Part, name: str) -> bool:
    return bool(part.frame.select(pl.col(name).is_null().all()).collect().item())


def _disagreement(name: str, sorts: dict[Part, str]) -> str:
    words = list(dict.fromkeys(sorts.values()))
    one, other = (next(part for part in sorts if sorts[part] == word) for word in words[:2])
    told = f"column '{name}' holds {sorts[one]} in {one.path} and {sorts[other]} in {other.path}"
    for part in (one, other):
        if (found := _first_word(part, name)) is not None:
            row, cell = found
            return (
                f"{told}, first {cell!r} in row {row + 1} (the header not counted) of {part.path}: mend the cells, add "
                f"{cell!r} to 'missing', or declare '{name}' as category or drop, in the table's YAML file"
            )
    return f"{told}: a column needs one sort of cells in all files; mend the files, or give those that agree"


def _first_word(part: Part, name: str) -> tuple[int, str] | None:
    """Row and text of the first cell that is text and no number."""
    column = pl.col(name)
    if not isinstance(part.frame.collect_schema()[name], pl.String):
        return None
    bad = column.is_not_null() & column.cast(pl.Float64, strict=False).is_null()
    found = part.frame.select(name).with_row_index("row").filter(bad).head(1).collect()
    return (int(found["row"][0]), str(found[name][0])) if found.height else None
