"""What a column can be taken for."""

from dataclasses import dataclass

import polars as pl

from polytask.data.tables.encoders import CategoryEncoder, DateEncoder, Encoder, NumberEncoder


@dataclass(frozen=True)
class Kind:
    """A kind of column: its word, and the encoder that learns it; a kind without encoder is no input.

    Args:
        word: what people write in the YAML file and read in the printed table.
        encoder: None when a column of this kind is left out.
        as_written: read the cells of a CSV as they are written (007 is not 7).
    """

    word: str
    encoder: type[Encoder] | None
    as_written: bool = False

    def convert(self, column: pl.Series) -> pl.Series:
        """The column's cells in the form that the encoder wants, every one checked."""
        return self.encoder.convert(column) if self.encoder else column

    def __str__(self) -> str:
        return self.word


NUMBER = Kind("number", NumberEncoder)
BOOLEAN = Kind("boolean", NumberEncoder)
CATEGORY = Kind("category", CategoryEncoder, as_written=True)
DATE = Kind("date", DateEncoder)
DROP = Kind("drop", None)
KINDS = {kind.word: kind for kind in (NUMBER, BOOLEAN, CATEGORY, DATE, DROP)}
