"""What a column can be taken for."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from polytask._text import did_you_mean
from polytask.data.tables.encoders import CategoryEncoder, DateEncoder, Encoder, NumberEncoder
from polytask.data.tables.images import ImageEncoder
from polytask.data.tables.texts import TextEncoder, TokenEncoder
from polytask.data.tables.vectors import VectorEncoder
from polytask.errors import PolytaskError

FILLED = ("column", "folder")
"""What polytask itself tells an encoder."""


@dataclass(frozen=True)
class Kind:
    """A kind of column: its word, and the encoder that learns it; a kind without encoder is no input.

    Args:
        word: what people write in the YAML file and read in the printed table.
        encoder: None when a column of this kind is left out.
        options: what its encoder is told besides the column.

    >>> IMAGE.having({"size": 32}).options
    {'size': 32}
    """

    word: str
    encoder: type[Encoder] | None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def as_written(self) -> bool:
        """Cells of a CSV file are read as they are written (007 is not 7)."""
        return self.encoder is not None and self.encoder.as_written

    @property
    def own_input(self) -> bool:
        """It gives the network an input of its own, named after the column."""
        return self.encoder is not None and self.encoder.own_input

    @property
    def settings(self) -> tuple[str, ...]:
        """What can be said about a column of this kind."""
        if self.encoder is None:
            return ()
        return tuple(name for name in inspect.signature(self.encoder.fit).parameters if name not in FILLED)

    def having(self, options: Mapping[str, Any]) -> "Kind":
        """The same kind, with these settings.

        Raises:
            PolytaskError: it has no such setting.
        """
        for name in options:
            if name not in self.settings:
                raise PolytaskError(f"{self.word} has no setting '{name}'; {did_you_mean(name, self.settings)}")
        return replace(self, options={**self.options, **options})

    def convert(self, column: pl.Series) -> pl.Series:
        """The column's cells in the form that the encoder wants, every one checked."""
        return self.encoder.convert(column) if self.encoder else column

    def fit(self, column: pl.Series, folder: str = "") -> Encoder | None:
        """What the encoder learns from converted training cells; None where they don't tell rows apart.

        Args:
            column: the cells.
            folder: what names of files are relative to.
        """
        if self.encoder is None:
            return None
        more = {"folder": folder} if "folder" in inspect.signature(self.encoder.fit).parameters else {}
        return self.encoder.fit(column, **self.options, **more)

    def __str__(self) -> str:
        return self.word


NUMBER = Kind("number", NumberEncoder)
BOOLEAN = Kind("boolean", NumberEncoder)
CATEGORY = Kind("category", CategoryEncoder)
DATE = Kind("date", DateEncoder)
TEXT = Kind("text", TextEncoder)
IMAGE = Kind("image", ImageEncoder)
VECTOR = Kind("vector", VectorEncoder)
DROP = Kind("drop", None)
KINDS = {kind.word: kind for kind in (NUMBER, BOOLEAN, CATEGORY, DATE, TEXT, IMAGE, VECTOR, DROP)}

ENCODERS: dict[str, type[Encoder]] = {
    each.__name__: each
    for each in (
        NumberEncoder, DateEncoder, CategoryEncoder, TextEncoder, TokenEncoder, ImageEncoder, VectorEncoder,
    )
}  # fmt: skip
"""What a saved preprocessing can hold."""
