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
        given: the table.
        predictions: columns "predicted ...", a row for every row of the table.
        notes: what a reader must know: unknown categories, empty texts, columns that are not used.
        unpredicted: why rows have no prediction: pictures that are missing or can't be read.
        pictureless: why rows were predicted without their picture, which can't be read.

    Raises:
        PolytaskError: the table has a column of the name of a prediction.
    """

    given: pl.DataFrame
    predictions: pl.DataFrame
    notes: tuple[str, ...]
    unpredicted: tuple[str, ...]
    pictureless: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if both := [name for name in self.added if name in self.given.columns]:
            raise PolytaskError(
                f"the table has columns that predictions would be called: {', '.join(both)}; rename or drop them, so "
                "that nothing is overwritten"
            )

    @property
    def table(self) -> pl.DataFrame:
        """With the predictions added."""
        return self.given.hstack(self.predictions)

    @property
    def added(self) -> list[str]:
        """The columns with predictions."""
        return self.predictions.columns


@dataclass(frozen=True)
class Readable:
    """What a network can read of a new table.

    Args:
        inputs: of all rows.
        notes: what a reader of the predictions must know.
        unpredicted: why rows are not to be predicted, by their number.
        pictureless: why rows are predicted without their picture, by their number.
    """

    inputs: dict[str, Tensor]
    notes: list[str]
    unpredicted: dict[int, str]
    pictureless: dict[int, str]


def readable(preprocessing: TablePreprocessing, table: pl.DataFrame) -> Readable:
    """Inputs of the network from a new table, with pictures that can't be read left empty.

    A row without a picture is not predicted by a network that never met one.

    Raises:
        PolytaskError: the table does not fit, no row can be predicted, or none of several has a picture that can be
            read.
    """
    cells = preprocessing.converted(table)
    notes = [*preprocessing.told(cells), *_unused(preprocessing, table)]
    unread = preprocessing.unread(cells)
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
    without = {row: why for rows in unread.values() for row, why in rows.items() if row not in wrong}
    return Readable(inputs, notes, dict(sorted(wrong.items())), dict(sorted(without.items())))


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
