"""Tables that give one column at a time: a data frame, or files larger than memory."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import polars as pl

from polytask.data.tables.formats import reading
from polytask.data.tables.kinds import Kind
from polytask.data.tables.missing import MISSING, Marker
from polytask.data.tables.schema import Column, TableSchema, infer
from polytask.data.tables.sources import RawTable
from polytask.errors import PolytaskError


class Table(Protocol):
    """Columns by name; a `polars.DataFrame` is one."""

    @property
    def columns(self) -> list[str]:
        """Their names."""

    @property
    def height(self) -> int:
        """How many rows."""

    def __getitem__(self, name: str, /) -> pl.Series: ...

    def select(self, names: Iterable[str], /) -> pl.DataFrame:
        """Some columns, in memory."""


class ColumnsOnDisk:
    """A table of which no more than the columns asked for are in memory.

    Args:
        frame: its rows; a column must be readable without the others (Parquet, Arrow).
        missing: cells that mean "no value"; they are null in what it gives.
        kinds: columns to be converted to what they were taken for.
    """

    def __init__(
        self, frame: pl.LazyFrame, missing: Sequence[str] = MISSING, kinds: Mapping[str, Kind] | None = None
    ) -> None:
        self._frame, self._missing, self._kinds = frame, tuple(missing), dict(kinds or {})
        self.columns = frame.collect_schema().names()
        self.height = int(frame.select(pl.len()).collect().item())

    def __getitem__(self, name: str, /) -> pl.Series:
        column = Marker(self._missing)(self._frame.select(name).collect().to_series())
        return self._kinds[name].convert(column) if name in self._kinds else column

    def select(self, names: Iterable[str], /) -> pl.DataFrame:
        """Some columns, in memory."""
        return pl.DataFrame([self[name] for name in names])

    def converted(self, kinds: Mapping[str, Kind]) -> "ColumnsOnDisk":
        """The same table with columns converted to what they were taken for."""
        return ColumnsOnDisk(self._frame, self._missing, kinds)


def on_disk(raw: RawTable, missing: Sequence[str], scratch: Path) -> ColumnsOnDisk:
    """A table that is not held in memory.

    Files of which single columns can be read (Parquet, Arrow) are read where they are. Others (CSV, JSON lines, Arrow
    streams, joined tables) are written once, some rows at a time, into an Arrow file.

    Args:
        raw: the table.
        missing: cells that mean "no value".
        scratch: the Arrow file, where one is needed.

    Raises:
        PolytaskError: cells that can't be read, no rows, a full disk.
    """
    frame = raw.frame
    if not raw.by_column:
        with raw.told():
            frame.sink_ipc(scratch)
        frame = pl.scan_ipc(scratch, glob=False)
    with reading(raw.name, "a table"):
        table = ColumnsOnDisk(frame, missing)
    if not table.height:
        raise PolytaskError(f"{raw.name} holds no rows, only the columns {', '.join(table.columns)}")
    return table


def taken(
    table: pl.DataFrame | ColumnsOnDisk, declared: Mapping[str, Kind], uses: Mapping[str, str]
) -> tuple[Table, TableSchema]:
    """Take every column for something, as `infer` does; of a table on disk one column after the other."""
    if isinstance(table, pl.DataFrame):
        return infer(table, declared, uses)
    found: list[Column] = []
    for name in table.columns:
        said = {name: declared[name]} if name in declared else {}
        found += infer(table[name].to_frame(), said, uses)[1].columns
    kinds = {each.name: each.kind for each in found if each.name not in uses}
    return table.converted(kinds), TableSchema(tuple(found), table.height)
