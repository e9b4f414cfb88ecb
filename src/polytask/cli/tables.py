"""New tables for a trained network: what fits, what does not, what a reader of the predictions must know."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from torch import Tensor

from polytask.data.tables import TablePreprocessing
from polytask.data.tables.images import ImageEncoder, UnreadableImages
from polytask.data.tables.schema import PICTURES
from polytask.data.tables.sources import is_table
from polytask.errors import PolytaskError


@dataclass(frozen=True)
class PredictedTable:
    """A table with predictions.

    Args:
        table: with columns "predicted ..." added.
        notes: what a reader must know: unknown categories, empty texts, columns that are not used.
        unreadable: why rows have no prediction: pictures that can't be read.
    """

    table: pl.DataFrame
    notes: tuple[str, ...]
    unreadable: tuple[str, ...]


def readable(
    preprocessing: TablePreprocessing, table: pl.DataFrame
) -> tuple[dict[str, Tensor], list[str], dict[int, str]]:
    """Inputs of the network from a new table, with pictures that can't be read left empty.

    Returns:
        The inputs, what a reader must know, and why rows are not to be predicted, by their number.

    Raises:
        PolytaskError: the table does not fit.
    """
    wrong: dict[int, str] = {}
    cells = preprocessing.converted(table)
    while True:
        try:
            inputs = preprocessing.encode(cells)
        except UnreadableImages as error:
            if len(error.rows) == error.count:
                raise
            wrong |= error.rows
            bad = pl.Series(range(cells.height)).is_in(sorted(error.rows))
            cells = cells.with_columns(pl.when(~bad).then(pl.col(error.column)).alias(error.column))
        else:
            return inputs, [*preprocessing.told(cells), *_unused(preprocessing, table)], wrong


def _unused(preprocessing: TablePreprocessing, table: pl.DataFrame) -> Sequence[str]:
    """A word about columns that the training table did not have."""
    known = preprocessing.columns
    more = [name for name in table.columns if known and name not in known]
    if not more:
        return []
    return [f"not used, for the training table had no such column: {', '.join(more)}"]


def pictures_in(folder: Path, preprocessing: TablePreprocessing) -> pl.DataFrame | None:
    """The pictures of a folder as a table, for a network that reads nothing but a picture; None for a folder of tables.

    Raises:
        PolytaskError: the network reads more than a picture, or the folder holds none.
    """
    if is_table(folder):
        return None
    encoders = preprocessing.encoders
    if len(encoders) != 1 or not isinstance(encoders[0], ImageEncoder):
        raise PolytaskError(
            f"the network reads {', '.join(each.name for each in encoders)}: give predict a table with these columns, "
            f"not the folder {folder}"
        )
    names = sorted(each.name for each in folder.iterdir() if each.suffix.lower() in PICTURES)
    if not names:
        raise PolytaskError(f"{folder} holds no file that ends in {', '.join(PICTURES)}")
    return pl.DataFrame({encoders[0].name: names})


def flat(table: pl.DataFrame) -> pl.DataFrame:
    """The table as a CSV file can hold it: lists as text, without the contents of pictures."""
    kept = table.select(
        name for name, dtype in table.schema.items() if not isinstance(dtype, pl.Binary | pl.Struct | pl.Object)
    )
    lists = [name for name, dtype in kept.schema.items() if isinstance(dtype, pl.List | pl.Array)]
    return kept.with_columns(
        pl.format("[{}]", pl.col(name).cast(pl.List(pl.String)).list.join(", ")).alias(name) for name in lists
    )
