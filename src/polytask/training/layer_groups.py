"""Groups of weights, one above the other: who sleeps, who learns, and at which rate."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from polytask.sharing.stages import named


class LayerGroups:
    """The weights of a model from the top down.

    Group 0 is everything that is new or lies above the trunk, group 1 the highest stage that was loaded, and so on down
    to the lowest. Frozen stages and parameters that did not learn before are in no group.

    Args:
        model: whose parameters `wake` lets learn or not.
        stages: that each of its weights belongs to (`sharing.stages.stages_of`).
        loaded: stages that begin with trained weights.
        frozen: those of them that never learn.
    """

    def __init__(
        self, model: nn.Module, stages: Mapping[str, int], loaded: Sequence[int], frozen: Sequence[int]
    ) -> None:
        thawing = sorted(set(loaded).difference(frozen), reverse=True)
        self.below = len(thawing)
        """How many groups lie below the top."""
        place = {stage: depth for depth, stage in enumerate(thawing, 1)} | dict.fromkeys(frozen, len(thawing) + 1)
        depth = {name: place.get(stages.get(name, -1), 0) for name, _ in named(model)}
        self._awake = len(thawing)
        self._depth: dict[nn.Parameter, int] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and depth[name] <= len(thawing):
                self._depth[parameter] = depth[name]
            else:
                parameter.requires_grad_(False)
        self._norms = {
            module: depth[f"{name}.running_mean"]
            for name, module in model.named_modules()
            if f"{name}.running_mean" in depth
        }

    def wake(self, awake: int | None) -> None:
        """Let the top group learn and `awake` groups below it; all of them where it is None."""
        self._awake = self.below if awake is None else min(awake, self.below)
        for parameter, depth in self._depth.items():
            parameter.requires_grad_(depth <= self._awake)

    @contextmanager
    def all_awake(self) -> Iterator[None]:
        """Inside, everything that will ever learn does."""
        awake = self._awake
        self.wake(None)
        try:
            yield
        finally:
            self.wake(awake)

    def constant_norms(self) -> Iterator[nn.Module]:
        """Norms with running statistics in groups that sleep, and in frozen stages."""
        return (norm for norm, depth in self._norms.items() if depth > self._awake)

    def split(self, group: Mapping[str, Any], learning_rate: float, factor: float) -> list[dict[str, Any]]:
        """An optimizer's group as one per layer group, with rates divided by `factor` for every step down."""
        if factor == 1:
            return [dict(group)]
        apart: dict[int, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            apart.setdefault(self._depth[parameter], []).append(parameter)
        rate = float(group.get("lr", learning_rate))
        return [dict(group) | {"params": each, "lr": rate / factor**depth} for depth, each in sorted(apart.items())]
