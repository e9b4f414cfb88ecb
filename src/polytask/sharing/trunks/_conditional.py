"""Networks whose features depend on a task descriptor."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask.errors import PolytaskError
from polytask.sharing.backbone import Backbone
from polytask.sharing.trunks._descriptors import Descriptors, Embedding
from polytask.sharing.walking import walk_alone

Fresh = Callable[[Sequence[str]], Backbone]
"""Makes a backbone for tasks, by their names."""


class Trunk(nn.Module, ABC):
    """From inputs to features that depend on the task."""

    descriptors: Descriptors

    @abstractmethod
    def forward(self, inputs: Any, tasks: Sequence[str]) -> dict[str, list[Tensor]]:
        """The features of all stages, by task."""

    @abstractmethod
    def used_by(self, task: str, stages: Sequence[int]) -> list[nn.Module]:
        """The modules that these features of a task are made with."""

    @abstractmethod
    def inside(self) -> dict[str, dict[str, float]]:
        """What a task changes, as `MultiTaskModel.inside` tells it."""

    def for_tasks(self, descriptors: Descriptors, tasks: Sequence[str]) -> "Trunk":
        """The same weights, told of other tasks."""
        other = copy.copy(self)
        other._modules = {**self._modules, "descriptors": descriptors}
        other.tell(descriptors, tasks)
        return other

    @abstractmethod
    def tell(self, descriptors: Descriptors, tasks: Sequence[str]) -> None:
        """Remember what a forward pass needs to know of the tasks."""


class Layer(nn.Module, ABC):
    """Changes the output of a stage, by the task."""

    def __init__(self, outputs: int, descriptors: Descriptors, tasks: Sequence[str]) -> None:
        super().__init__()
        self.embedding = Embedding(descriptors, tasks, outputs)

    @abstractmethod
    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """The output x with E z for its task."""

    def used_by(self, task: str) -> list[nn.Module]:
        return self.embedding.used_by(task)


class Add(Layer):
    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        return x + _along_channels(embedded, x)


class Modulate(Layer):
    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        scale, shift = embedded.chunk(2)
        return x * _along_channels(1 + scale, x) + _along_channels(shift, x)


class Concatenate(Layer):
    def __init__(self, outputs: int, descriptors: Descriptors, tasks: Sequence[str]) -> None:
        super().__init__(outputs, descriptors, tasks)
        self.linear = nn.Linear(outputs, outputs)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        weight, bias = self.linear.weight, self.linear.bias + embedded
        return F.conv2d(x, weight[:, :, None, None], bias) if x.ndim == 4 else F.linear(x, weight, bias)

    def used_by(self, task: str) -> list[nn.Module]:
        return [self.linear, *super().used_by(task)]


class Told(Trunk):
    """One backbone, with layers after some of its stages."""

    def __init__(
        self, backbone: Backbone, descriptors: Descriptors, layers: dict[int, Layer], tasks: Sequence[str]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.descriptors = descriptors
        self.tell(descriptors, tasks)
        self.layers = nn.ModuleDict({str(stage): layer for stage, layer in layers.items()})

    def forward(self, inputs: Any, tasks: Sequence[str]) -> dict[str, list[Tensor]]:
        return {task: self._pass(inputs, task) for task in tasks}

    def tell(self, descriptors: Descriptors, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)

    def _pass(self, inputs: Any, task: str) -> list[Tensor]:
        def change(stage: int, x: Tensor) -> Tensor:
            key = str(stage)
            if key not in self.layers:
                return x
            layer: Any = self.layers[key]
            return layer(x, layer.embedding(task, self.descriptors))

        return walk_alone(self.backbone, inputs, change)

    def used_by(self, task: str, stages: Sequence[int]) -> list[nn.Module]:
        layers: Any = [layer for stage, layer in self.layers.items() if int(stage) <= max(stages)]
        own = [each for layer in layers for each in layer.used_by(task)]
        return [*self.backbone.used_for(stages), *self.descriptors.used_by(task), *own]

    @torch.no_grad()
    def inside(self) -> dict[str, dict[str, float]]:
        panels: dict[str, dict[str, float]] = {}
        for stage, layer in self.layers.items():
            embedding: Any = layer.embedding
            for task in self.tasks:
                size = embedding(task, self.descriptors).square().mean().sqrt().item()
                panels.setdefault(f"stage {int(stage) + 1}, size of E z", {})[task] = size
        return panels


class Gated(Trunk):
    """Whole backbones, each with a number of the descriptor as its gate."""

    def __init__(self, fresh: Fresh, descriptors: Descriptors, tasks: Sequence[str]) -> None:
        super().__init__()
        self.descriptors = descriptors
        self.tell(descriptors, tasks)
        everyone = tuple(range(descriptors.width))
        if set(everyone).difference(*self.parts.values()):
            raise self._idle()
        self.networks = nn.ModuleList(fresh([task for task in tasks if k in self.parts[task]]) for k in everyone)

    def tell(self, descriptors: Descriptors, tasks: Sequence[str]) -> None:
        everyone = tuple(range(descriptors.width))
        self.parts = {
            task: everyone if descriptors.learned else tuple(descriptors.of(task).nonzero().flatten().tolist())
            for task in tasks
        }
        if not all(self.parts.values()):
            raise self._idle()

    def _idle(self) -> PolytaskError:
        given = {task: self.descriptors.of(task).tolist() for task in self.parts}
        return PolytaskError(
            "a network that is gated by 0 for every task, or a task whose gates are all 0, is never used: "
            f"give other descriptors, got {given}"
        )

    def forward(self, inputs: Any, tasks: Sequence[str]) -> dict[str, list[Tensor]]:
        ran = {k: self.networks[k](inputs) for k in sorted({k for task in tasks for k in self.parts[task]})}
        return {task: self._mixed(task, ran) for task in tasks}

    def _mixed(self, task: str, ran: dict[int, list[Tensor]]) -> list[Tensor]:
        if self.descriptors.one_hot:  # a gate of 1
            return ran[self.parts[task][0]]
        gates = self.descriptors.of(task)
        stages = zip(*(ran[k] for k in self.parts[task]), strict=True)
        return [
            torch.stack([gates[k] * each for k, each in zip(self.parts[task], stage, strict=True)]).sum(0)
            for stage in stages
        ]

    def used_by(self, task: str, stages: Sequence[int]) -> list[nn.Module]:
        networks: Any = [self.networks[k] for k in self.parts[task]]
        return [*(each for one in networks for each in one.used_for(stages)), *self.descriptors.used_by(task)]

    def inside(self) -> dict[str, dict[str, float]]:
        if not self.descriptors.learned:
            return {}
        return {
            f"gates of {task}": {f"network {k + 1}": gate for k, gate in enumerate(self.descriptors.of(task).tolist())}
            for task in self.parts
        }


def _along_channels(vector: Tensor, x: Tensor) -> Tensor:
    """A vector [c] in the form in which it meets a feature at every position."""
    return vector[:, None, None] if x.ndim == 4 else vector
