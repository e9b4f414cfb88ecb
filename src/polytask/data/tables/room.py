"""Whether a table fits into memory, said before it is read."""

from pathlib import Path

import polars as pl

from polytask.data.tables.sources import RawTable
from polytask.errors import PolytaskError

TIMES = 2.5
"""What preparing a table takes at its peak, in multiples of the table in memory (1,000,000 rows x 30 columns: 2.4)."""
NUMBER, TEXT = 8, 24
"""Bytes of a cell in memory, about."""


def check_room(raw: RawTable) -> None:
    """An error where a table is likely not to fit into the memory that is free.

    Estimated from the number of cells (Parquet, Arrow) or the size of the files (CSV, JSON lines); only looked at where
    the files are larger than a hundredth of that memory, and only on Linux.

    Raises:
        PolytaskError: it is too large; says how to read it from the disk.
    """
    free, size = available(), sum(part.path.stat().st_size for part in raw.parts)
    if free is None or size < free / 100:
        return
    if raw.by_column:
        types = raw.frame.collect_schema().dtypes()
        row = sum(NUMBER if each.is_numeric() or each.is_temporal() else TEXT for each in types)
        size = row * int(raw.frame.select(pl.len()).collect().item())
    if size * TIMES > free:
        raise PolytaskError(
            f"{raw.name} needs about {size * TIMES / 1e9:.0f} GB of memory, and {free / 1e9:.0f} GB are free: name a "
            "folder where it is encoded one column at a time and kept, table(path=..., store='folder'), or leave out "
            "rows or columns"
        )


def available() -> int | None:
    """Bytes of memory that are free or can be freed; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
