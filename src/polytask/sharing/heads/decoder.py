"""What every decoder is: it makes one map of the features of a trunk."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn


class Decoder(ABC):
    """The recipe of a decoder: called, it makes a fresh module from the maps of several stages to one map.

    A frozen dataclass, so that two of equal settings are equal and runs can write down which they used.
    """

    @abstractmethod
    def reads(self, stages: int) -> tuple[int, ...]:
        """Which of the S stages (0 to S - 1) it reads, lowest first."""

    @abstractmethod
    def width(self, widths: Sequence[int]) -> int:
        """The number of channels of the map that it makes from stages of these widths (of all S stages)."""

    @abstractmethod
    def __call__(self, widths: Sequence[int]) -> nn.Module:
        """A fresh module for a trunk with stages of these widths (of all S stages): the list of maps
        [b, widths[k], h_k, w_k] of those stages that it reads -> one map [b, width, h, w]."""
