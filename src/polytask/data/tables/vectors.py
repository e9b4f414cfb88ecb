"""Columns of vectors: lists of numbers, all of one length."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl

from polytask.data.tables.conversion import to_vectors
from polytask.data.tables.encoders import CLIP, Encoder, Floats
from polytask.errors import PolytaskError


@dataclass(frozen=True)
class VectorEncoder(Encoder):
    """Each number of a vector as (x - mean) / deviation over the training rows, clipped at ±10; missing ones become 0.

    Where training rows had no vector, a column of "numbers" says which. Numbers that do not vary become 0.

    >>> encoder = VectorEncoder.fit(pl.Series("place", [[1.0, 5.0], [3.0, 5.0], None]))
    >>> encoder.inputs(pl.Series("place", [[3.0, 7.0], None]))["place"].tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """

    as_written = True
    own_input = True

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    indicator: bool

    @staticmethod
    def convert(column: pl.Series) -> pl.Series:
        return to_vectors(column)

    @classmethod
    def fit(cls, column: pl.Series) -> Self | None:
        there = column.drop_nulls()
        lengths = there.list.len()
        if not len(there) or not lengths.max():
            return None
        table = _table(there, int(lengths[0]))
        known = ~np.isnan(table)
        count = np.maximum(known.sum(0), 1)
        filled = np.where(known, table, 0.0)
        mean = filled.sum(0) / count
        deviation = np.sqrt((np.where(known, filled - mean, 0.0) ** 2).sum(0) / count)
        if not deviation.any() and len(there) == len(column):
            return None
        return cls(column.name, tuple(mean.tolist()), tuple(deviation.tolist()), len(there) < len(column))

    @property
    def features(self) -> tuple[str, ...]:
        return (f"{self.name} is missing",) if self.indicator else ()

    def numbers(self, column: pl.Series) -> Floats:
        gone = column.is_null().to_numpy().astype(np.float32)
        return gone[:, None][:, : len(self.features)]

    def inputs(self, column: pl.Series) -> dict[str, np.ndarray[Any, Any]]:
        wrong = (column.list.len() != len(self.mean)).arg_true()
        if len(wrong):
            row = int(wrong[0])
            raise PolytaskError(
                f"column '{self.name}' was to hold vectors of {len(self.mean)} numbers, and row {row + 1} holds "
                f"{len(column[row])} ({len(wrong)} of {len(column)} rows have another length)"
            )
        table = np.full((len(column), len(self.mean)), np.nan)
        there = column.is_not_null().to_numpy()
        if there.any():
            table[there] = _table(column.drop_nulls(), len(self.mean))
        deviation = np.array(self.deviation)
        with np.errstate(invalid="ignore", divide="ignore"):
            standard = np.where(deviation > 0, (table - np.array(self.mean)) / deviation, 0.0)
        return {self.name: np.clip(np.nan_to_num(standard, nan=0.0), -CLIP, CLIP).astype(np.float32)}

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "mean": list(self.mean), "deviation": list(self.deviation)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Encoder:
        return cls(plain["name"], tuple(plain["mean"]), tuple(plain["deviation"]), plain["indicator"])


def _table(column: pl.Series, width: int) -> Floats:
    """Lists of one length as [rows, width]; numbers that are missing or not finite are NaN."""
    flat = column.explode().cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return np.where(np.isfinite(flat), flat, np.nan).reshape(len(column), width)
