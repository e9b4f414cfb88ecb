"""Fitted preprocessing: a table in, network inputs out, the same for training and for new rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from polytask._text import listed, nearest
from polytask.data.tables.columns import Table
from polytask.data.tables.conversion import UnfitCells
from polytask.data.tables.encoders import Encoder
from polytask.data.tables.images import UnreadableImages, folder_of
from polytask.data.tables.kinds import ENCODERS
from polytask.data.tables.reading import MISSING, mark_missing, read_table
from polytask.data.tables.schema import Column
from polytask.errors import PolytaskError

VERSION = 1
MOST = 20
"""Columns that an error names."""
NUMBERS, CATEGORIES = "numbers", "categories"
"""The inputs that columns share; a column with an input of its own can't have one of these names."""


@dataclass(frozen=True)
class TablePreprocessing:
    """What was learned about the columns from the training rows.

    Args:
        encoders: one per input column.
        missing: cells that mean "no value".
        left_out: input columns that the training rows gave no reason to keep, and why.
        columns: all columns of the training table, those that are no inputs among them.

    >>> frame = pl.DataFrame({"age": [20.0, 40.0], "job": ["cook", "cook"]})
    >>> from polytask.data.tables.schema import infer
    >>> columns = infer(frame)[1].columns
    >>> fitted = TablePreprocessing.fit(frame, columns)
    >>> fitted.transform(pl.DataFrame({"age": [30.0, None]}))["numbers"].tolist()
    [[0.0], [0.0]]
    >>> TablePreprocessing.from_json(fitted.to_json()) == fitted
    True
    """

    encoders: tuple[Encoder, ...]
    missing: tuple[str, ...] = MISSING
    left_out: tuple[tuple[str, str], ...] = ()
    columns: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        frame: Table,
        columns: Sequence[Column],
        rows: Tensor | None = None,
        missing: Sequence[str] = MISSING,
        folder: str = "",
    ) -> "TablePreprocessing":
        """Learn from the training rows.

        Args:
            frame, columns: as `infer` gives them.
            rows: the training rows; None means all.
            missing: cells that mean "no value", for new tables.
            folder: what names of files (pictures) in the table are relative to.
        """
        encoders, left_out = [], []
        for column in columns:
            if column.kind.encoder is None:
                continue
            encoder = column.kind.fit(_rows(frame[column.name], rows), folder)
            if encoder is None:
                left_out.append((column.name, "does not vary in the training rows"))
            else:
                encoders.append(_named(encoder))
        if not encoders:
            raise PolytaskError(
                "no input column is left: in the training rows none varies; look at the table, or declare kinds"
            )
        return cls(tuple(encoders), tuple(missing), tuple(left_out), tuple(frame.columns))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns of "numbers"."""
        return tuple(feature for encoder in self.encoders for feature in encoder.features)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the columns of "categories"."""
        return tuple(encoder.name for encoder in self.encoders if encoder.cardinality)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """How many codes each column of "categories" has, code 0 (missing or unknown) included."""
        return tuple(encoder.cardinality for encoder in self.encoders if encoder.cardinality)

    def transform(self, frame: pl.DataFrame) -> dict[str, Tensor]:
        """Inputs of the network: {"numbers": float32 [n, f], "categories": int32 [n, c]}, and one for each column of
        text, images or vectors, by its name.

        Raises:
            PolytaskError: a column is missing, or holds cells that do not fit.

        Cost: one column at a time; no copy of the table.
        """
        return self.encode(self.converted(frame))

    def converted(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The input columns of a new table, every cell checked.

        Raises:
            PolytaskError: a column is missing, or holds cells that do not fit.
        """
        self._check(frame)
        columns = mark_missing(frame.select(encoder.name for encoder in self.encoders), self.missing).iter_columns()
        try:
            return pl.DataFrame([each.convert(column) for each, column in zip(self.encoders, columns, strict=True)])
        except UnfitCells as error:
            raise PolytaskError(
                f"{error.fact}; mend the cells, or empty them (an empty cell is a missing one)"
            ) from error

    def read(self, path: str | Path) -> dict[str, Tensor]:
        """Inputs from a CSV or Parquet file."""
        return self.placed(folder_of(path)).transform(self.read_frame(path))

    def read_frame(self, path: str | Path) -> pl.DataFrame:
        """The table of a file, read as the training table was."""
        return read_table(path, self.missing, text=[each.name for each in self.encoders if each.as_written])

    def placed(self, folder: str | Path) -> "TablePreprocessing":
        """The same for a table in another folder, which names of files (pictures) are relative to."""
        return replace(self, encoders=tuple(each.placed(Path(folder)) for each in self.encoders))

    def encode(self, frame: Table, rows: Tensor | None = None) -> dict[str, Tensor]:
        """Inputs from a table that `infer` or `transform` converted; of these rows, or of all."""
        height = frame.height if rows is None else len(rows)
        numbers = np.empty((height, len(self.features)), np.float32)
        categories = np.empty((height, len(self.categories)), np.int32)
        others: dict[str, Tensor] = {}
        feature = category = 0
        for encoder in self.encoders:
            column = _rows(frame[encoder.name], rows)
            width = len(encoder.features)
            if width:
                numbers[:, feature : feature + width] = encoder.numbers(column)
                feature += width
            if (codes := encoder.codes(column)) is not None:
                categories[:, category] = codes
                category += 1
            others |= {name: torch.from_numpy(each) for name, each in encoder.inputs(column).items()}
        shared = {NUMBERS: torch.from_numpy(numbers), CATEGORIES: torch.from_numpy(categories)}
        return {**(shared if feature or category else {}), **others}

    def told(self, frame: Table) -> list[str]:
        """What a reader of predictions for a converted table must know: unknown categories, empty texts."""
        return [note for encoder in self.encoders for note in encoder.told(frame[encoder.name])]

    def unread(self, frame: Table) -> dict[str, dict[int, str]]:
        """Cells of a converted table that can't be read and count as missing: by column why, by the number of the row.

        Raises:
            PolytaskError: no cell of a column can be read.
        """
        found = {encoder.name: encoder.unread(frame[encoder.name]) for encoder in self.encoders if encoder.own_input}
        return {name: rows for name, rows in found.items() if rows}

    def all_unreadable(self, frame: Table, first: UnreadableImages) -> UnreadableImages:
        """The pictures of a column that can't be read, of all rows, where some of them were met in a part."""
        (encoder,) = (each for each in self.encoders if each.name == first.column)
        try:
            encoder.inputs(frame[first.column])
        except UnreadableImages as error:
            return error
        return first

    def to_json(self) -> dict[str, Any]:
        """Plain data, for `json.dump`."""
        return {
            "version": VERSION,
            "missing": list(self.missing),
            "encoders": [encoder.to_json() for encoder in self.encoders],
            "left_out": [list(each) for each in self.left_out],
            "columns": list(self.columns),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "TablePreprocessing":
        """From what `to_json` gave."""
        if plain.get("version") != VERSION:
            raise PolytaskError(
                f"this preprocessing has version {plain.get('version')!r}, and this polytask reads version "
                f"{VERSION}; "
                "train again, or use the polytask that wrote it"
            )
        encoders = []
        for each in plain["encoders"]:
            fields = {key: value for key, value in each.items() if key != "encoder"}
            encoders.append(ENCODERS[each["encoder"]].from_json(fields))
        left_out = tuple((name, why) for name, why in plain["left_out"])
        return cls(tuple(encoders), tuple(plain["missing"]), left_out, tuple(plain.get("columns", ())))

    def _check(self, frame: pl.DataFrame) -> None:
        absent = [encoder.name for encoder in self.encoders if encoder.name not in frame.columns]
        if absent:
            new = [name for name in frame.columns if self.columns and name not in self.columns]
            unknown = f"; columns that the training table did not have: {listed(new, MOST)}" if new else ""
            near = nearest(absent[0], frame.columns)
            hint = f"; for '{absent[0]}', did you mean '{near}'?" if near else ""
            raise PolytaskError(
                f"the table lacks {len(absent)} of the {len(self.encoders)} columns that the model was trained on: "
                f"{listed(absent, MOST)}{hint}{unknown}"
            )


def _named(encoder: Encoder) -> Encoder:
    """The encoder; an error where its input would take the place of the one that columns share."""
    if encoder.name in (NUMBERS, CATEGORIES) and encoder.own_input:
        raise PolytaskError(
            f"column '{encoder.name}' can't be called so: that is the network's input of all {encoder.name}; rename it"
        )
    return encoder


def _rows(column: pl.Series, rows: Tensor | None) -> pl.Series:
    return column if rows is None else column.gather(pl.Series(rows.numpy()))
