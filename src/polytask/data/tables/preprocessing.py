"""Fitted preprocessing: a table in, network inputs out, the same for training and for new rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from polytask._text import did_you_mean
from polytask.data.tables.encoders import CategoryEncoder, DateEncoder, Encoder, NumberEncoder
from polytask.data.tables.reading import MISSING, mark_missing, read_table
from polytask.data.tables.schema import Column
from polytask.errors import PolytaskError

VERSION = 1
ENCODERS = {each.__name__: each for each in (NumberEncoder, DateEncoder, CategoryEncoder)}


@dataclass(frozen=True)
class TablePreprocessing:
    """What was learned about the columns from the training rows.

    Args:
        encoders: one per input column.
        missing: cells that mean "no value".
        left_out: input columns that the training rows gave no reason to keep, and why.

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

    @classmethod
    def fit(
        cls,
        frame: pl.DataFrame,
        columns: Sequence[Column],
        rows: Tensor | None = None,
        missing: Sequence[str] = MISSING,
    ) -> "TablePreprocessing":
        """Learn from the training rows.

        Args:
            frame, columns: as `infer` gives them.
            rows: the training rows; None means all.
            missing: cells that mean "no value", for new tables.
        """
        encoders, left_out = [], []
        for column in columns:
            if column.kind.encoder is None:
                continue
            encoder = column.kind.encoder.fit(_rows(frame[column.name], rows))
            if encoder is None:
                left_out.append((column.name, "does not vary in the training rows"))
            else:
                encoders.append(encoder)
        if not encoders:
            raise PolytaskError(
                "no input column is left: in the training rows none varies; look at the table, or declare kinds"
            )
        return cls(tuple(encoders), tuple(missing), tuple(left_out))

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
        """Inputs of the network: {"numbers": float32 [n, f], "categories": int32 [n, c]}.

        Raises:
            PolytaskError: a column is missing, or holds cells that do not fit.

        Cost: one column at a time; no copy of the table.
        """
        self._check(frame)
        needed = frame.select(encoder.name for encoder in self.encoders)
        return self.encode(
            pl.DataFrame(
                [
                    encoder.convert(column)
                    for encoder, column in zip(
                        self.encoders, mark_missing(needed, self.missing).iter_columns(), strict=True
                    )
                ]
            )
        )

    def read(self, path: str | Path) -> dict[str, Tensor]:
        """Inputs from a CSV or Parquet file."""
        return self.transform(self.read_frame(path))

    def read_frame(self, path: str | Path) -> pl.DataFrame:
        """The table of a file, read as the training table was."""
        return read_table(path, self.missing, text=self.categories)

    def encode(self, frame: pl.DataFrame, rows: Tensor | None = None) -> dict[str, Tensor]:
        """Inputs from a table that `infer` or `transform` converted; of these rows, or of all."""
        height = frame.height if rows is None else len(rows)
        numbers = np.empty((height, len(self.features)), np.float32)
        categories = np.empty((height, len(self.categories)), np.int32)
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
        return {"numbers": torch.from_numpy(numbers), "categories": torch.from_numpy(categories)}

    def to_json(self) -> dict[str, Any]:
        """Plain data, for `json.dump`."""
        return {
            "version": VERSION,
            "missing": list(self.missing),
            "encoders": [encoder.to_json() for encoder in self.encoders],
            "left_out": [list(each) for each in self.left_out],
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
        return cls(tuple(encoders), tuple(plain["missing"]), left_out)

    def _check(self, frame: pl.DataFrame) -> None:
        absent = [encoder.name for encoder in self.encoders if encoder.name not in frame.columns]
        if absent:
            raise PolytaskError(
                f"the table lacks {len(absent)} of the {len(self.encoders)} columns that the model was "
                f"trained on: "
                f"{', '.join(absent)}; '{absent[0]}': {did_you_mean(absent[0], frame.columns)}"
            )


def _rows(column: pl.Series, rows: Tensor | None) -> pl.Series:
    return column if rows is None else column.gather(pl.Series(rows.numpy()))
