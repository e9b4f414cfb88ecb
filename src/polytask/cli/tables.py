"""New tables for a trained network: what fits, what does not, what a reader of the predictions must know."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from torch import Tensor

from polytask._text import listed
from polytask.data.tables import TablePreprocessing
from polytask.data.tables.images import ImageEncoder, UnreadableImages
from polytask.data.tables.schema import PICTURES
from polytask.data.tables.sources import is_table
from polytask.errors import PolytaskError

ADDED = "predicted "
"""What the names of columns with predictions begin with."""
FIRST = 3
"""Rows and files that a sentence names."""


@dataclass(frozen=True)
class PredictedTable:
    """A table with predictions.

    Args:
        table: with columns "predicted ..." added.
        notes: what a reader must know: unknown categories, empty texts, columns that are not used.
        unpredicted: why rows have no prediction: pictures that are missing or can't be read.
    """

    table: pl.DataFrame
    notes: tuple[str, ...]
    unpredicted: tuple[str, ...]

    @property
    def added(self) -> list[str]:
        """The columns with predictions."""
        return [name for name in self.table.columns if name.startswith(ADDED)]


def readable(
    preprocessing: TablePreprocessing, table: pl.DataFrame
) -> tuple[dict[str, Tensor], list[str], dict[int, str]]:
    """Inputs of the network from a new table, with pictures that can't be read left empty.

    A row without a picture is not predicted by a network that never met one.

    Returns:
        The inputs, what a reader must know, and why rows are not to be predicted, by their number.

    Raises:
        PolytaskError: the table does not fit, or no row can be predicted.
    """
    cells = preprocessing.converted(table)
    notes = [*preprocessing.told(cells), *_unused(preprocessing, table)]
    wrong = _pictureless(preprocessing, cells)
    while True:
        try:
            inputs = preprocessing.encode(cells)
        except UnreadableImages as error:
            wrong |= error.rows
            bad = pl.Series(range(cells.height)).is_in(sorted(error.rows))
            cells = cells.with_columns(pl.when(~bad).then(pl.col(error.column)).alias(error.column))
        else:
            break
    if len(wrong) == cells.height:
        raise PolytaskError(f"no row can be predicted: {listed(list(wrong.values()), FIRST, '; ')}")
    return inputs, notes, dict(sorted(wrong.items()))


def _pictureless(preprocessing: TablePreprocessing, cells: pl.DataFrame) -> dict[int, str]:
    """Rows without a picture that the network needs, by their number."""
    needed = [each.name for each in preprocessing.encoders if isinstance(each, ImageEncoder) and not each.copes]
    return {
        row: f"row {row + 1} (the header not counted) has no picture in column '{name}'"
        for name in needed
        for row in cells[name].is_null().arg_true().to_list()
    }


def _unused(preprocessing: TablePreprocessing, table: pl.DataFrame) -> Sequence[str]:
    """A word about columns that the training table did not have."""
    known = preprocessing.columns
    more = [name for name in table.columns if known and name not in known]
    if not more:
        return []
    return [f"not used, for the training table had no such column: {', '.join(more)}"]


def pictures_in(folder: Path, preprocessing: TablePreprocessing) -> pl.DataFrame | None:
    """The pictures of a folder as a table, where the network reads nothing but a picture; None where the folder is to
    be read as a table.

    Raises:
        PolytaskError: the folder holds neither pictures that the network could read nor a table.
    """
    encoders = preprocessing.encoders
    alone = len(encoders) == 1 and isinstance(encoders[0], ImageEncoder)
    names = sorted(each.name for each in folder.iterdir() if each.suffix.lower() in PICTURES) if alone else []
    if names:
        return pl.DataFrame({encoders[0].name: names})
    if is_table(folder):
        return None
    if alone:
        raise PolytaskError(f"{folder} holds no file that ends in {', '.join(PICTURES)}")
    raise PolytaskError(
        f"the network reads {listed([each.name for each in encoders], FIRST)}: give predict a table with these "
        f"columns, not the folder {folder}"
    )


def passed_over(folder: Path) -> list[str]:
    """A word about the tables in a folder whose pictures are read."""
    tables = sorted(each.name for each in folder.iterdir() if each.is_file() and is_table(each))
    if not tables:
        return []
    return [
        f"the pictures in {folder} are predicted; not read: {listed(tables, FIRST)} (to predict the rows of a table, "
        "give its file)"
    ]


DIGITS = 6
"""Significant digits of predictions in a CSV file."""


def short(table: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The table with these columns' numbers rounded, in lists as well."""
    numbers = pl.element().round_sig_figs(DIGITS)
    return table.with_columns(
        pl.col(name).round_sig_figs(DIGITS) if dtype.is_float() else pl.col(name).list.eval(numbers)
        for name, dtype in table.select(columns).schema.items()
        if dtype.is_float() or (isinstance(dtype, pl.List) and dtype.inner.is_float())
    )


def flat(table: pl.DataFrame) -> pl.DataFrame:
    """The table as a CSV file can hold it: lists as text, without the contents of pictures."""
    kept = table.select(
        name for name, dtype in table.schema.items() if not isinstance(dtype, pl.Binary | pl.Struct | pl.Object)
    )
    lists = [name for name, dtype in kept.schema.items() if isinstance(dtype, pl.List | pl.Array)]
    return kept.with_columns(
        pl.format("[{}]", pl.col(name).cast(pl.List(pl.String)).list.join(", ")).alias(name) for name in lists
    )
