"""Columns of text: words as numbers, by a vocabulary of the training rows or by a tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from polytask.data.tables.conversion import to_text
from polytask.data.tables.encoders import Codes, Encoder
from polytask.errors import PolytaskError

WORD = r"\w+|[^\w\s]"
"""A word is a run of letters, digits and underscores; any other sign is a word of its own. Blanks separate."""
NOTHING, UNKNOWN, FIRST = 0, 1, 2
VOCABULARY = 20_000
LONGEST = 256
SHARE = 0.95


@dataclass(frozen=True)
class TextEncoder(Encoder):
    """Words in small letters as numbers: 2, 3, ... for those of the training rows, most frequent first; 1 for others; 0
    after the end.

    A word of the vocabulary is in at least two training texts. Texts are cut after the length that 95 % of the training
    texts have, 256 words at most.

    >>> encoder = TextEncoder.fit(pl.Series("review", ["Good, good film", "a good day", "", None, "A bad film!"]))
    >>> encoder.vocabulary, encoder.length
    (('good', 'a', 'film'), 4)
    >>> encoder.inputs(pl.Series("review", ["A GOOD good thing indeed", None]))["review"].tolist()
    [[3, 2, 2, 1], [0, 0, 0, 0]]
    """

    as_written = True
    own_input = True

    vocabulary: tuple[str, ...]
    length: int

    @staticmethod
    def convert(column: pl.Series) -> pl.Series:
        return to_text(column)

    @classmethod
    def fit(
        cls, column: pl.Series, words: int = 0, vocabulary: int = VOCABULARY, tokenizer: str = ""
    ) -> "TextEncoder | TokenEncoder | None":
        """Learn from the training texts.

        Args:
            column: the texts.
            words: how many of a text are read, at most; 0: as many as 95 % of the training texts have, 256 at most.
            vocabulary: how many words are known, at most: the most frequent ones.
            tokenizer: a tokenizer in place of a vocabulary: a folder that holds tokenizer.json, or such a file.
        """
        _at_least(1, vocabulary=vocabulary)
        _at_least(0, words=words)
        if tokenizer:
            return TokenEncoder.of(column, words, tokenizer)
        tokens = _words(column)
        length = words or _usual_length(tokens.list.len())
        frame = pl.DataFrame({"word": tokens.list.unique()}).explode("word").drop_nulls()
        rows = frame.group_by("word").len("rows").filter(pl.col("rows") > 1)
        if not frame.height:
            return None
        counts = pl.DataFrame({"word": tokens.explode()}).drop_nulls().group_by("word").len("count")
        known = counts.join(rows, on="word").sort(["count", "word"], descending=[True, False]).head(vocabulary)
        return cls(column.name, tuple(known["word"].to_list()), length)

    @property
    def size(self) -> int:
        """How many different numbers there are, 0 (nothing) and 1 (unknown) included."""
        return FIRST + len(self.vocabulary)

    def inputs(self, column: pl.Series) -> dict[str, np.ndarray[Any, Any]]:
        tokens = _words(column).list.head(self.length)
        words = tokens.explode().drop_nulls().cast(pl.Enum(list(self.vocabulary)), strict=False)
        numbers = (words.to_physical().cast(pl.Int32) + FIRST).fill_null(UNKNOWN).to_numpy()
        return {self.name: _filled(tokens.list.len().to_numpy(), self.length, numbers)}

    def told(self, column: pl.Series) -> list[str]:
        return _empty_told(self.name, column)

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "vocabulary": list(self.vocabulary)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Encoder:
        return cls(plain["name"], tuple(plain["vocabulary"]), plain["length"])


@dataclass(frozen=True)
class TokenEncoder(Encoder):
    """Words as a tokenizer of the `tokenizers` library cuts them: number i + 1 is its token i, 0 comes after the end.

    Args:
        tokenizer: all of it, as in its tokenizer.json, so that it travels with the network.
        length: texts are cut after so many tokens.
    """

    as_written = True
    own_input = True

    tokenizer: str
    length: int
    shift: ClassVar[int] = 1

    @classmethod
    def of(cls, column: pl.Series, words: int, path: str) -> "TokenEncoder | None":
        """Read the tokenizer, and learn the length from the training texts."""
        file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise PolytaskError(
                f"column '{column.name}': there is no tokenizer at {file}; give a folder that holds tokenizer.json, as "
                "save_pretrained of transformers writes"
            )
        made = cls(column.name, file.read_text(encoding="utf-8"), LONGEST)
        lengths = pl.Series([len(each) for each in made._tokens(column)], dtype=pl.UInt32)
        if not lengths.sum():
            return None
        return cls(column.name, made.tokenizer, words or _usual_length(lengths))

    @staticmethod
    def convert(column: pl.Series) -> pl.Series:
        return to_text(column)

    @classmethod
    def fit(cls, column: pl.Series) -> "TokenEncoder | None":
        raise PolytaskError("a TokenEncoder is fitted by TextEncoder.fit(..., tokenizer=...)")

    @property
    def size(self) -> int:
        """How many different numbers there are, 0 (nothing) included."""
        return int(self._tokenizer.get_vocab_size()) + self.shift

    def inputs(self, column: pl.Series) -> dict[str, np.ndarray[Any, Any]]:
        tokens = [each[: self.length] for each in self._tokens(column)]
        lengths = np.array([len(each) for each in tokens], np.int64)
        flat = np.fromiter((number for each in tokens for number in each), np.int32, int(lengths.sum()))
        return {self.name: _filled(lengths, self.length, flat + self.shift)}

    def told(self, column: pl.Series) -> list[str]:
        return _empty_told(self.name, column)

    def _tokens(self, column: pl.Series) -> list[list[int]]:
        texts = column.fill_null("").to_list()
        found = self._tokenizer.encode_batch(texts)
        return [each.ids if text.strip() else [] for each, text in zip(found, texts, strict=True)]

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise PolytaskError(
                f"column '{self.name}' is read by a tokenizer: pip install 'polytask[transformers]'"
            ) from error
        try:
            read = Tokenizer.from_str(self.tokenizer)
        except Exception as error:  # the library raises Exception itself
            raise PolytaskError(f"column '{self.name}': this is no tokenizer.json ({error})") from error
        read.no_padding()
        read.no_truncation()
        return read


def _words(column: pl.Series) -> pl.Series:
    """The words of every text, [rows] of lists."""
    return column.fill_null("").str.to_lowercase().str.extract_all(WORD)


def _usual_length(lengths: pl.Series) -> int:
    """The length that 95 % of the texts with words keep to."""
    there = lengths.filter(lengths > 0)
    usual = there.quantile(SHARE, "higher") if len(there) else 1
    return int(min(max(usual or 1, 1), LONGEST))


def _filled(lengths: np.ndarray[Any, Any], width: int, numbers: np.ndarray[Any, Any]) -> Codes:
    """Rows of numbers, one after the other, as a table [rows, width] with zeros after their ends."""
    table = np.full((len(lengths), width), NOTHING, np.int32)
    table[np.arange(width) < lengths[:, None]] = numbers
    return table


def _empty_told(name: str, column: pl.Series) -> list[str]:
    empty = int((column.fill_null("").str.strip_chars() == "").sum())
    return [f"column '{name}': {empty:,} of {len(column):,} texts are empty; they count as no words"] if empty else []


def _at_least(low: int, **numbers: int) -> None:
    for name, number in numbers.items():
        if not isinstance(number, int) or number < low:
            raise PolytaskError(f"'{name}' of a text must be a whole number, at least {low}, got {number!r}")
