"""The parts of MTI-Net: what happens at one scale, and what goes from one scale to the next."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask.errors import PolytaskError
from polytask.sharing._maps import check_map, layer
from polytask.sharing._per_task import PerTask
from polytask.sharing.heads import resize
from polytask.tasks import Task

Watch = Callable[[str, Tensor], None]


class Scale(nn.Module):
    """The tasks' features at one scale, the exchange between them, and the last layers of initial predictions.

    Args:
        tasks: whose features there are.
        receivers: the names of those that hear the others here.
        width: the channels of what features are made of.
        channels: of the features.
    """

    def __init__(self, tasks: Sequence[Task], receivers: Sequence[str], width: int, channels: int) -> None:
        super().__init__()
        names = [task.name for task in tasks]
        self.initial = PerTask({name: initial(width, channels) for name in names})
        self.heads = PerTask({task.name: task.head(channels) for task in tasks})
        self.exchange = PerTask({to: SpatialAttention(to, names, channels) for to in receivers})

    def features(self, below: Tensor, above: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """The features of some tasks, from the trunk's map and from what comes from the next coarser scale."""
        return {name: self.initial.of(name)(torch.cat([below, above[name]], 1) if above else below) for name in names}

    def distilled(self, features: Mapping[str, Tensor], receivers: Sequence[str], watch: Watch) -> dict[str, Tensor]:
        """The features of the receivers after hearing all others."""
        return {to: self.exchange.of(to)(features, watch) for to in receivers}


def initial(width: int, channels: int) -> nn.Module:
    """From a map of `width` channels to a task's feature: a 1 x 1 convolution and a basic residual block."""
    return nn.Sequential(layer(True, width, channels, 1), _Residual(channels))


class SpatialAttention(nn.Module):
    """F_k + sum_{l != k} sigmoid(A_l * F_l) . (M_l * F_l) for one task k; A_l gives one number per position."""

    def __init__(self, receiver: str, names: Sequence[str], channels: int) -> None:
        super().__init__()
        self.receiver = receiver
        self.others = tuple(name for name in names if name != receiver)
        self.masks = PerTask({name: nn.Conv2d(channels, 1, 3, padding=1) for name in self.others})
        self.messages = PerTask({name: nn.Conv2d(channels, channels, 3, padding=1, bias=False) for name in self.others})

    def forward(self, features: Mapping[str, Tensor], watch: Watch) -> Tensor:
        total = features[self.receiver]
        for name in self.others:
            mask = self.masks.of(name)(features[name]).sigmoid()
            watch(f"{name} into {self.receiver}", mask)
            total = total + mask * self.messages.of(name)(features[name])
        return total


class FeaturePropagation(nn.Module):
    """From the features of all tasks at one scale to what each takes along to the next: see `MTINet`."""

    def __init__(self, names: Sequence[str], channels: int) -> None:
        super().__init__()
        self.names = tuple(names)
        together = len(self.names) * channels
        self.attention = nn.Sequential(layer(True, together, together), nn.Conv2d(together, together, 1))
        self.joined = layer(True, together, channels, 1)
        self.gates = PerTask({name: _ChannelGate(channels) for name in self.names})

    def forward(self, features: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """P_k of the tasks named."""
        own = torch.stack([features[name] for name in self.names], 1)  # [b, t, c, h, w]
        masks = self.attention(own.flatten(1, 2)).view_as(own).softmax(1)
        shared = self.joined((masks * own).flatten(1, 2))
        return {name: features[name] + shared * self.gates.of(name)(shared) for name in names}

    def used_by(self, names: Sequence[str]) -> list[nn.Module]:
        """The modules that P_k of the tasks named are made with."""
        return [self.attention, self.joined, *(self.gates.of(name) for name in names)]


class Aggregation(nn.Module):
    """The final prediction of a task, at the finest scale, from its distilled features at all scales."""

    def __init__(self, task: Task, channels: int, scales: int) -> None:
        super().__init__()
        self.decoder = layer(True, scales * channels, channels, 1)
        self.head = task.head(channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        size = features[0].shape[-2:]
        return self.head(self.decoder(torch.cat([resize(feature, size) for feature in features], 1)))


PYRAMID = "MTINet needs a trunk whose stages give maps that get smaller (a pyramid of two or more scales)"


def check_pyramid(features: Sequence[Tensor]) -> Sequence[Tensor]:
    """The features, if they are maps that get smaller from the first stage to the last."""
    sizes = [tuple(check_map(feature).shape[-2:]) for feature in features]
    shrinking = all(below[0] >= above[0] and below[1] >= above[1] for below, above in pairwise(sizes))
    if not shrinking or sizes[0] == sizes[-1]:
        came = ", ".join(f"{height} x {width}" for height, width in sizes)
        raise PolytaskError(f"{PYRAMID}; this one's are {came}: take sharing.PADNet, or another backbone")
    return features


class _Residual(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))): the basic block of residual networks (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            layer(True, channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.inner(x))


class _ChannelGate(nn.Module):
    """One number in (0, 1) per channel, from the means over positions: squeeze and excitation (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(channels // 4, 1)
        self.layers = nn.Sequential(nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.mean((2, 3)))[:, :, None, None]
