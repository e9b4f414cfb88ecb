"""The random numbers of one scene."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Choice = TypeVar("Choice")
BLOCK = 256


class Draw:
    """Random numbers that hang on (seed, number) alone.

    The bits are those of NumPy's Philox counter with (seed, number) as its key, a stream that NumPy promises to keep;
    the numbers are made of them here, by exact arithmetic.

    Args:
        seed, number: 0 to 2^64 - 1 each.

    >>> Draw(0, 7).between(0, 1) == Draw(0, 7).between(0, 1) != Draw(0, 8).between(0, 1)
    True
    """

    def __init__(self, seed: int, number: int) -> None:
        self._bits = np.random.Philox(key=np.array([seed, number], np.uint64))
        self._ready: list[float] = []

    def unit(self) -> float:
        """From 0 up to, not including, 1."""
        if not self._ready:
            self._ready = ((self._bits.random_raw(BLOCK) >> np.uint64(11)) * 2.0**-53).tolist()
        return self._ready.pop()

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * self.unit()

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int((high - low + 1) * self.unit())

    def happens(self, chance: float) -> bool:
        """True with this chance."""
        return self.unit() < chance

    def one_of(self, choices: Sequence[Choice]) -> Choice:
        """One of them, all equally likely."""
        return choices[int(len(choices) * self.unit())]
