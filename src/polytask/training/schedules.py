"""Learning-rate schedules: pure functions of how much of the training is over."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from polytask.errors import PolytaskError


class Schedule(ABC):
    """The factor of the learning rate when a share of all steps is over."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """The factor at `progress`, 0 at the first step and below 1 at the last."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The learning rate stays.

    >>> Constant()(0.5)
    1.0
    """

    def __call__(self, progress: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Cosine(Schedule):
    """Linear warm-up, then half a cosine down to `floor`.

    Loshchilov, Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", eq. 5, without restarts.

    Args:
        warmup: the share of the steps over which the factor rises from 0 to 1.
        floor: the factor at the end.

    >>> [round(Cosine(warmup=0.1)(x), 2) for x in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """

    warmup: float = 0.05
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.warmup < 1 and 0 <= self.floor <= 1):
            raise PolytaskError(f"warmup must lie in [0, 1) and floor in [0, 1], got {self.warmup} and {self.floor}")

    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return progress / self.warmup
        over = (progress - self.warmup) / (1 - self.warmup)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * min(over, 1.0))) / 2
