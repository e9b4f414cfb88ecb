"""The random numbers of many faces at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]  # float32
Flags = NDArray[np.bool_]

COLUMNS = 192  # random numbers of a face, without its noise


class Draws:
    """Random numbers that hang on (seed, number of the face) alone: columns [n, 1, 1], ready for pictures [n, h, w].

    The bits are those of NumPy's Philox counter with (seed, number) as its key, a stream that NumPy promises to keep.

    Args:
        seed: 0 to 2^64 - 1.
        numbers: of the faces.
        grains: how many random bytes each face gets for its noise.

    >>> two, one = Draws(0, range(7, 9)), Draws(0, range(8, 9))
    >>> bool((two.unit()[1] == one.unit()[0]).all())
    True
    """

    def __init__(self, seed: int, numbers: range, grains: int = 0) -> None:
        words = COLUMNS + -(-grains // 8)
        raw = np.stack([_words(seed, number, words) for number in numbers])
        self._units = ((raw[:, :COLUMNS] >> np.uint64(11)) * 2.0**-53).astype(np.float32).T.copy()
        self._next = 0
        self.grains: NDArray[np.uint8] = np.ascontiguousarray(raw[:, COLUMNS:]).view(np.uint8)[:, :grains]

    def unit(self) -> Numbers:
        """From 0 to 1."""
        found = self._units[self._next]
        self._next += 1
        return found[:, None, None]

    def between(self, low: Any, high: Any) -> Numbers:
        """From `low` to `high`, which may be numbers or columns."""
        return np.asarray(low + (high - low) * self.unit(), np.float32)

    def near(self, mean: float, spread: float) -> Numbers:
        """Around `mean`, at most `spread` away, values near it likelier: a triangular density."""
        return np.asarray(mean + spread * (self.unit() + self.unit() - 1), np.float32)

    def happens(self, chance: Any) -> Flags:
        """True with this chance."""
        return np.asarray(self.unit() < chance)

    def one_of(self, weights: tuple[float, ...]) -> NDArray[np.int64]:
        """0 to k - 1 with these chances, which sum to 1."""
        edges = np.cumsum(weights)[:-1].astype(np.float32)
        return (self.unit()[..., None] >= edges).sum(-1)

    def colour(self, low: float, high: float) -> Numbers:
        """Red, green and blue, each from `low` to `high`, [n, 3]."""
        return np.concatenate([self.between(low, high)[:, :, 0] for _ in range(3)], 1)


def _words(seed: int, number: int, count: int) -> NDArray[np.uint64]:
    found: NDArray[np.uint64] = np.random.Philox(key=np.array([seed, number], np.uint64)).random_raw(count)
    return found


def chosen(table: tuple[tuple[float, float, float], ...], rows: NDArray[np.int64]) -> Numbers:
    """Colours of a table, [n, 3]."""
    found: Numbers = np.array(table, np.float32)[rows.reshape(-1)]
    return found
