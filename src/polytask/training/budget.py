"""What one training may spend, and how: the same for every arm of a comparison."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

from torch.optim import AdamW, Optimizer

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.training.schedules import Cosine, Schedule


@dataclass(frozen=True)
class Budget:
    """How long and how a network is trained.

    Args:
        epochs: passes over the training data at most.
        batch_size: samples in a step, over all processes and micro-batches together.
        learning_rate: at the top of the schedule.
        weight_decay: of the network; what a balancer learns has none.
        optimizer: a torch optimizer class; its fused implementation is taken where it has one.
        optimizer_options: further arguments of it, say {"momentum": 0.9}.
        schedule: the learning-rate factor over the training.
        clip: longest gradient (norm over all parameters), cut after balancing; None: not cut.
        accumulate: micro-batches that a batch is computed in; they are balanced as one batch.
        patience: stop after this many epochs without a better validation score; None: never.
        select: "task/metric" by which the best epoch is chosen on validation data; None: delta_m over tasks.
        precision: "no", "bf16" or "fp16"; None: as Accelerate is configured (normally "no").
        non_finite: what to do with a NaN or infinite loss: "raise" an error, or "skip" the step.

    Raises:
        PolytaskError: for numbers out of range.

    >>> Budget(epochs=3).batch_size
    256
    """

    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    optimizer: type[Optimizer] = AdamW
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    schedule: Schedule = field(default_factory=Cosine)
    clip: float | None = None
    accumulate: int = 1
    patience: int | None = None
    select: str | None = None
    precision: Literal["no", "bf16", "fp16"] | None = None
    non_finite: Literal["raise", "skip"] = "raise"

    def __post_init__(self) -> None:
        choices = {"non_finite": ("raise", "skip"), "precision": (None, "no", "bf16", "fp16")}
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise PolytaskError(f"{name} can't be {value!r}; {did_you_mean(str(value), map(str, allowed))}")
        at_least = {"epochs": 1, "batch_size": 1, "accumulate": 1, "weight_decay": 0}
        for name, least in at_least.items():
            if not least <= getattr(self, name) < float("inf"):
                raise PolytaskError(f"{name} must be at least {least}, got {getattr(self, name)}")
        positive = {"learning_rate": self.learning_rate, "clip": self.clip, "patience": self.patience}
        for name, value in positive.items():
            if value is not None and not 0 < value < float("inf"):
                raise PolytaskError(f"{name} must be a positive number, got {value}")
        if self.accumulate > self.batch_size:
            raise PolytaskError(f"a batch of {self.batch_size} can't be cut in {self.accumulate} micro-batches")

    def updated(self, settings: Mapping[str, Any]) -> Self:
        """The budget with other settings, by name."""
        names = [each.name for each in fields(self)]
        for name in settings:
            if name not in names:
                raise PolytaskError(f"a budget has no '{name}'; {did_you_mean(name, names)}")
        return replace(self, **settings)
