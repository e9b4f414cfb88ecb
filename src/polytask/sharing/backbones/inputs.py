"""What one input column of a network looks like."""

from dataclasses import dataclass

import torch
from torch import Tensor

from polytask.errors import PolytaskError


@dataclass(frozen=True)
class PartInput:
    """The form of one input of a network: what a part of `Fusion` is told before it is built.

    Args:
        shape: of one sample: (words,) for texts, (3, height, width) for pictures, (numbers,) for vectors.
        vocabulary: how many different whole numbers there are, 0 included; 0 for inputs that are no whole numbers.

    >>> PartInput((4,), vocabulary=100).example().dtype, tuple(PartInput((3, 8, 8)).example().shape)
    (torch.int32, (2, 3, 8, 8))
    """

    shape: tuple[int, ...]
    vocabulary: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if any(side < 1 for side in self.shape) or self.vocabulary < 0:
            raise PolytaskError(f"the sides of an input must be at least 1, got {self}")

    def example(self) -> Tensor:
        """Two samples: whole numbers 1 (a word) where there is a vocabulary, else zeros."""
        if self.vocabulary:
            return torch.ones(2, *self.shape, dtype=torch.int32)
        return torch.zeros(2, *self.shape)
