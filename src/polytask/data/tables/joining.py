"""Two tables as one, matched by a key; what they disagree about is told, not guessed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from polytask._text import did_you_mean
from polytask.data.tables.agreement import sort_of
from polytask.data.tables.missing import Marker
from polytask.errors import PolytaskError

OTHER = " of the joined table"


@dataclass(frozen=True)
class Join:
    """A further table, of which the columns are added to the rows of the first.

    Args:
        table: where it is; anything that `open_table` reads.
        key: the columns, in both tables, by which rows are matched.
        columns: what to take of it; everything where empty.
    """

    table: Path
    key: tuple[str, ...]
    columns: tuple[str, ...] = ()


def join(
    name: str, frame: pl.LazyFrame, by: Join, other: pl.LazyFrame, missing: Sequence[str]
) -> tuple[pl.LazyFrame, tuple[str, ...]]:
    """Every row of the first table, with the columns of its partner in the other: a left join.

    A row without a partner has missing values in the new columns; how many there are is told. A column that both tables
    have must say the same wherever both have a value, and is filled from the other where the first has none.

    Args:
        name: of the first table, for errors.
        frame: its rows.
        by: the other table and the key.
        other: the other's rows.
        missing: cells that mean "no value".

    Returns:
        The rows, not read yet, and what a reader must know.

    Raises:
        PolytaskError: no such key, keys of two types, a key that is there twice in the other table, no row with a
            partner, or a row that the tables disagree about.

    Cost: the keys and the shared columns of both are read once; the other table is held in memory while joining.

    >>> frame = pl.LazyFrame({"who": [1, 2, 3], "age": [31, None, 52]})
    >>> other = pl.LazyFrame({"who": [2, 1], "age": [45, 31], "job": ["cook", "nurse"]})
    >>> joined, notes = join("a.csv", frame, Join(Path("b.csv"), ("who",)), other, ())
    >>> joined.collect().rows()
    [(1, 31, 'nurse'), (2, 45, 'cook'), (3, 52, None)]
    >>> notes
    ('1 of 3 rows of a.csv have no partner in b.csv: the columns from there are missing',)
    """
    ours, theirs = frame.collect_schema(), other.collect_schema()
    for key in by.key:
        _check_key(name, by.table, key, ours, theirs)
    for column in by.columns:
        if column not in theirs:
            raise PolytaskError(f"{by.table} has no column '{column}': {did_you_mean(column, theirs.names())}")
    keys = list(by.key)
    taken = [column for column in by.columns or theirs.names() if column not in keys]
    shared = [column for column in taken if column in ours]
    mark = Marker(missing)
    frame = frame.with_columns(mark.later(column, ours[column]) for column in [*keys, *shared])
    other = other.with_columns(mark.later(column, theirs[column]) for column in [*keys, *shared]).select(*keys, *taken)
    _refuse_twice(by, other)
    notes = _partners(name, frame, by, other)
    _refuse_disagreement(name, frame, by, other, shared)
    joined = frame.join(other, on=keys, how="left", suffix=OTHER, maintain_order="left")
    filled = [pl.coalesce(column, f"{column}{OTHER}") for column in shared]
    return joined.with_columns(filled).drop(f"{column}{OTHER}" for column in shared), notes


def _check_key(name: str, table: Path, key: str, ours: pl.Schema, theirs: pl.Schema) -> None:
    for where, schema in ((name, ours), (str(table), theirs)):
        if key not in schema:
            raise PolytaskError(f"{where} has no key column '{key}': {did_you_mean(key, schema.names())}")
    here, there = sort_of(ours[key]), sort_of(theirs[key])
    if here != there:
        raise PolytaskError(
            f"key '{key}' holds {here} in {name} and {there} in {table}: rows can't be matched; write it alike, or "
            "declare it as category in the table's YAML file, so that it is read as written in both"
        )


def _refuse_twice(by: Join, other: pl.LazyFrame) -> None:
    there = other.select(by.key).drop_nulls()
    twice = (
        there.group_by(by.key).len("rows").filter(pl.col("rows") > 1).sort("rows", *by.key, descending=True).collect()
    )
    if twice.height:
        raise PolytaskError(
            f"{by.table} has {twice['rows'][0]} rows with {_shown(by.key, twice)} ({twice.height:,} keys are there "
            "more than once): a row of the first table can have one partner only; keep one row per key"
        )


def _partners(name: str, frame: pl.LazyFrame, by: Join, other: pl.LazyFrame) -> tuple[str, ...]:
    rows, others, alone, idle = pl.collect_all(
        [
            frame.select(pl.len()),
            other.select(pl.len()),
            frame.select(by.key).join(other, on=by.key, how="anti").select(pl.len()),
            other.select(by.key).join(frame, on=by.key, how="anti").select(pl.len()),
        ]
    )
    if alone.item() == rows.item():
        raise PolytaskError(
            f"no row of {name} has a partner in {by.table} by {' and '.join(by.key)}: is that the key in both?"
        )
    told = [
        f"{alone.item():,} of {rows.item():,} rows of {name} have no partner in {by.table}: the columns from there are "
        "missing",
        f"{idle.item():,} of {others.item():,} rows of {by.table} have no partner in {name} and are left out",
    ]
    return tuple(note for note, count in zip(told, (alone.item(), idle.item()), strict=True) if count)


def _refuse_disagreement(name: str, frame: pl.LazyFrame, by: Join, other: pl.LazyFrame, shared: Sequence[str]) -> None:
    ours, theirs = frame.collect_schema(), other.collect_schema()
    for column in shared:
        here, there = sort_of(ours[column]), sort_of(theirs[column])
        if here != there and not {"Null"} & {str(ours[column]), str(theirs[column])}:
            raise PolytaskError(
                f"column '{column}' holds {here} in {name} and {there} in {by.table}; {_way_out(by, column, theirs)}"
            )
        both = frame.select(*by.key, column).join(other.select(*by.key, column), on=by.key, how="inner", suffix=OTHER)
        unlike = both.filter(pl.col(column) != pl.col(f"{column}{OTHER}"))
        found, count = pl.collect_all([unlike.head(1), unlike.select(pl.len())])
        if found.height:
            raise PolytaskError(
                f"{name} and {by.table} disagree about '{column}' in {count.item():,} rows, for instance that with "
                f"{_shown(by.key, found)}: {found[column][0]!r} and {found[f'{column}{OTHER}'][0]!r}; mend the tables, "
                f"or {_way_out(by, column, theirs)}"
            )


def _way_out(by: Join, column: str, theirs: pl.Schema) -> str:
    others = [name for name in theirs.names() if name != column and name not in by.key]
    return f"say under 'join' which columns of {by.table} to take (columns: [{', '.join(others)}])"


def _shown(key: Sequence[str], found: pl.DataFrame) -> str:
    return " and ".join(f"{name} {found[name][0]!r}" for name in key)
