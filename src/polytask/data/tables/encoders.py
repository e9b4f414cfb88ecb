"""What was learned about one column from the training rows, and how it turns cells into network inputs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from polytask.data.tables.conversion import to_days, to_numbers, to_words

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Codes = np.ndarray[Any, np.dtype[np.int32]]

CLIP = 10.0
"""Standardised numbers end at 10 standard deviations: one wild value cannot blow up the network."""


@dataclass(frozen=True)
class Encoder(ABC):
    """One fitted column: first `convert` (checks every cell), then `numbers`, `codes` and `inputs`.

    What `fit` can be told besides the column (the arguments after it) can be said in the table's YAML file, as in
    `photo: {kind: image, size: 64}`.
    """

    as_written: ClassVar[bool] = False
    """Cells of a CSV file are read as they are written (007 is not 7)."""
    own_input: ClassVar[bool] = False
    """It gives the network an input of its own, named after the column."""

    name: str

    @staticmethod
    @abstractmethod
    def convert(column: pl.Series) -> pl.Series:
        """Any column in the form that the other methods take, every cell checked."""

    @classmethod
    @abstractmethod
    def fit(cls, column: pl.Series) -> "Encoder | None":
        """Learn from the converted training rows; None when they hold nothing to tell rows apart."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns that it adds to "numbers"."""
        return ()

    @property
    def cardinality(self) -> int:
        """Number of codes that it adds to "categories" as one column; 0 when it adds none."""
        return 0

    def numbers(self, column: pl.Series) -> Floats:
        """The columns for "numbers", [rows, features]."""
        return np.empty((len(column), 0), np.float32)

    def codes(self, column: pl.Series) -> Codes | None:
        """The column for "categories", [rows], or None."""
        return None

    def inputs(self, column: pl.Series) -> dict[str, np.ndarray[Any, Any]]:
        """Network inputs of this column alone, by name, [rows, ...] each; none by default."""
        return {}

    def placed(self, folder: Path) -> "Encoder":
        """The same for a table in another folder, which names of files are relative to."""
        return self

    def told(self, column: pl.Series) -> list[str]:
        """What a reader of predictions for these converted cells should know."""
        return []

    def unread(self, column: pl.Series) -> dict[int, str]:
        """Converted cells that are there, can't be read and count as missing: why, by the number of the row."""
        return {}

    def to_json(self) -> dict[str, Any]:
        return {
            "encoder": type(self).__name__,
            **{each.name: getattr(self, each.name) for each in fields(self) if each.compare},
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Encoder":
        return cls(**plain)


@dataclass(frozen=True)
class NumberEncoder(Encoder):
    """(x - mean) / deviation, clipped at ±10; missing cells become the median.

    Where training rows had missing cells, a second column is 1 for "was missing" and 0 otherwise.

    >>> encoder = NumberEncoder.fit(pl.Series("age", [20.0, 40.0, None]))
    >>> encoder.features
    ('age', 'age is missing')
    >>> encoder.numbers(pl.Series("age", [40.0, None])).tolist()
    [[1.2247..., 0.0], [0.0, 1.0]]
    """

    median: float
    mean: float
    deviation: float
    indicator: bool

    @staticmethod
    def convert(column: pl.Series) -> pl.Series:
        return to_numbers(column)

    @classmethod
    def fit(cls, column: pl.Series) -> Self | None:
        return cls.learn(column.name, _floats(column))

    @classmethod
    def learn(cls, name: str, values: Floats) -> Self | None:
        gone = np.isnan(values)
        if gone.all():
            return None
        median = float(np.median(values[~gone]))
        filled = np.where(gone, median, values)
        mean, deviation = float(filled.mean()), float(filled.std())
        flat = deviation <= 1e-9 * max(abs(mean), 1e-300)
        if flat and not gone.any():
            return None
        return cls(name, median, mean, 1.0 if flat else deviation, bool(gone.any()))

    @property
    def features(self) -> tuple[str, ...]:
        return (self.name, f"{self.name} is missing") if self.indicator else (self.name,)

    def numbers(self, column: pl.Series) -> Floats:
        return self.scale(_floats(column))

    def scale(self, values: Floats) -> Floats:
        gone = np.isnan(values)
        standard = (np.where(gone, self.median, values) - self.mean) / self.deviation
        ours = np.empty((len(values), len(self.features)), np.float32)
        ours[:, 0] = np.clip(standard, -CLIP, CLIP)
        ours[:, 1:] = gone[:, None]
        return ours


PARTS: dict[str, Callable[[Floats], Floats]] = {
    "days": lambda days: days,
    "yearly sine": lambda days: np.sin(days * (2 * np.pi / 365.2425)),
    "yearly cosine": lambda days: np.cos(days * (2 * np.pi / 365.2425)),
    "weekly sine": lambda days: np.sin(days * (2 * np.pi / 7)),
    "weekly cosine": lambda days: np.cos(days * (2 * np.pi / 7)),
    "daily sine": lambda days: np.sin(days * (2 * np.pi)),
    "daily cosine": lambda days: np.cos(days * (2 * np.pi)),
}
"""What a date becomes: the trend, and where it stands in the year, in the week and in the day."""


@dataclass(frozen=True)
class DateEncoder(Encoder):
    """Days since 1970, and the sine and cosine of the year, the week and the day, each as a `NumberEncoder`.

    Parts that do not vary in the training rows (the time of day of plain dates) are left out.

    >>> DateEncoder.fit(pl.Series("day", [0.0, 1.0, 40.0])).features[:2]
    ('day: days', 'day: yearly sine')
    """

    parts: tuple[tuple[str, NumberEncoder], ...]

    @staticmethod
    def convert(column: pl.Series) -> pl.Series:
        return to_days(column)

    @classmethod
    def fit(cls, column: pl.Series) -> Self | None:
        days = _floats(column)
        if np.isnan(days).all():
            return None
        if not np.nanstd(days):
            return None
        varying = [part for part in PARTS if np.nanstd(PARTS[part](days)) > 1e-9]
        found = [(part, NumberEncoder.learn(f"{column.name}: {part}", PARTS[part](days))) for part in varying]
        kept = [(part, each) for part, each in found if each is not None]
        single = [kept[0], *((part, replace(each, indicator=False)) for part, each in kept[1:])]
        return cls(column.name, tuple(single))

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(feature for _, each in self.parts for feature in each.features)

    def numbers(self, column: pl.Series) -> Floats:
        days = _floats(column)
        return np.concatenate([each.scale(PARTS[part](days)) for part, each in self.parts], axis=1)

    def to_json(self) -> dict[str, Any]:
        parts = [[part, each.to_json()] for part, each in self.parts]
        return {"encoder": type(self).__name__, "name": self.name, "parts": parts}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Encoder":
        parts = [(part, {key: each[key] for key in each if key != "encoder"}) for part, each in plain["parts"]]
        return cls(plain["name"], tuple((part, NumberEncoder(**each)) for part, each in parts))


@dataclass(frozen=True)
class CategoryEncoder(Encoder):
    """Codes 1, 2, ... for the words known from training; 0 for missing, unknown and words seen only once.

    A word that one single training row holds teaches nothing, but it lets the network learn what to do with
    code 0, the code of all that it never saw.

    >>> encoder = CategoryEncoder.fit(pl.Series("job", ["nurse", "nurse", "cook", "cook", "spy", None]))
    >>> encoder.vocabulary
    ('cook', 'nurse')
    >>> encoder.codes(pl.Series("job", ["nurse", "spy", "pilot", None])).tolist()
    [2, 0, 0, 0]
    """

    as_written = True

    vocabulary: tuple[str, ...]

    @staticmethod
    def convert(column: pl.Series) -> pl.Series:
        return to_words(column)

    @classmethod
    def fit(cls, column: pl.Series) -> Self | None:
        counts = column.drop_nulls().value_counts(name="rows")
        words = sorted(counts.filter(pl.col("rows") > 1)[column.name].to_list())
        others = len(column) - int(counts.filter(pl.col("rows") > 1)["rows"].sum())
        return cls(column.name, tuple(words)) if len(words) + (others > 0) > 1 else None

    @property
    def cardinality(self) -> int:
        return len(self.vocabulary) + 1

    def codes(self, column: pl.Series) -> Codes:
        known = column.cast(pl.Enum(list(self.vocabulary)), strict=False)
        return (known.to_physical().cast(pl.Int32) + 1).fill_null(0).to_numpy()

    def told(self, column: pl.Series) -> list[str]:
        unseen = column.drop_nulls()
        unseen = unseen.filter(~unseen.is_in(list(self.vocabulary)))
        if not len(unseen):
            return []
        counts = unseen.value_counts(sort=True)
        shown = ", ".join(f"'{each}'" for each in counts[self.name].head(3).to_list())
        more = ", ..." if len(counts) > 3 else ""
        return [
            f"column '{self.name}': {len(unseen):,} of {len(column):,} rows hold a category that the training rows "
            f"did not teach ({shown}{more}); they count as unknown"
        ]

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "vocabulary": list(self.vocabulary)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Encoder":
        return cls(plain["name"], tuple(plain["vocabulary"]))


def _floats(column: pl.Series) -> Floats:
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
