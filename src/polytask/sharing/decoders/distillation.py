"""How the intermediate predictions of tasks are distilled into features for the final ones: PAD-Net's modules."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from polytask.sharing._maps import convolution, fit, together
from polytask.sharing._per_task import PerTask

Watch = Callable[[str, Tensor], None]


class Distillation(ABC):
    """The recipe of a distillation module: called, it makes a fresh one.

    A frozen dataclass, so that two of equal settings are equal and runs can write down which they used.
    """

    @abstractmethod
    def width(self, tasks: int, channels: int) -> int:
        """The number of channels that it gives to every final decoder, from `tasks` features of `channels`."""

    @abstractmethod
    def __call__(self, dense: Mapping[str, bool], receivers: Sequence[str], channels: int) -> "Distilling":
        """A fresh module.

        Args:
            dense: of every task, whether its feature is a map; its keys are the tasks that send.
            receivers: the tasks that have a final prediction.
            channels: of every feature.
        """


class Distilling(nn.Module, ABC):
    """Features of all tasks -> a feature for every receiver."""

    @abstractmethod
    def forward(
        self, features: Mapping[str, Tensor], receivers: Sequence[str], watch: Watch | None = None
    ) -> dict[str, Tensor]:
        """The distilled features of the receivers.

        Args:
            features: of all tasks, maps [b, channels, h, w] of one size, or [b, channels, 1, 1] for vectors.
            receivers: whose to compute.
            watch: shown each attention gate, with what it is called.
        """

    @abstractmethod
    def used_by(self, receiver: str) -> list[nn.Module]:
        """The modules that the receiver's feature is made with, besides the features."""


@dataclass(frozen=True)
class ConcatenationDistillation(Distillation):
    """Module A of PAD-Net: every final decoder reads the features of all tasks, one after the other.

    F_o = concat(F_1, ..., F_T), of T channels: nothing is learned here.

    Source: Xu et al. 2018, PAD-Net, section 3.4 (see `PADNet` for what was read).
    """

    def width(self, tasks: int, channels: int) -> int:
        return tasks * channels

    def __call__(self, dense: Mapping[str, bool], receivers: Sequence[str], channels: int) -> "Distilling":
        return _Concatenation()


@dataclass(frozen=True)
class MessagePassing(Distillation):
    r"""Module B of PAD-Net: every task adds the messages of all other tasks to its own feature.

    F_o^k = F_k + sum_{t != k} W_{t,k} * F_t, with a convolution W_{t,k} for every ordered pair (3 x 3 without bias;
    1 x 1 where the sender is a vector).

    Source: Xu et al. 2018, PAD-Net, equation 1 (see `PADNet` for what was read).

    Cost: one convolution of `channels` to `channels` for each receiver and each other task.
    """

    def width(self, tasks: int, channels: int) -> int:
        return channels

    def __call__(self, dense: Mapping[str, bool], receivers: Sequence[str], channels: int) -> "Distilling":
        return _Messages(dense, receivers, channels)


@dataclass(frozen=True)
class AttentionGated(Distillation):
    r"""Module C of PAD-Net: messages pass through the attention gate of the task that receives them.

    G_k = sigmoid(W_g^k * F_k + b_g^k) and F_o^k = F_k + sum_{t != k} G_k . (W_t * F_t): one gate per receiver, one
    message per sender, whoever reads it. The gate has one value per channel and position; `.` is elementwise. A gate of
    0 lets nothing through.

    Source: Xu et al. 2018, PAD-Net, equations 2 and 3 (see `PADNet` for what was read). The bias b_g is ours.

    Cost: one convolution of `channels` to `channels` for each sender and for each receiver.
    """

    def width(self, tasks: int, channels: int) -> int:
        return channels

    def __call__(self, dense: Mapping[str, bool], receivers: Sequence[str], channels: int) -> "Distilling":
        return _Gated(dense, receivers, channels)


class _Concatenation(Distilling):
    def forward(
        self, features: Mapping[str, Tensor], receivers: Sequence[str], watch: Watch | None = None
    ) -> dict[str, Tensor]:
        return {name: together(list(features.values()), features[name]) for name in receivers}

    def used_by(self, receiver: str) -> list[nn.Module]:
        return []


class _Messages(Distilling):
    def __init__(self, dense: Mapping[str, bool], receivers: Sequence[str], channels: int) -> None:
        super().__init__()
        self.hearing = PerTask({to: _Hearing(dense, to, channels) for to in receivers})

    def forward(
        self, features: Mapping[str, Tensor], receivers: Sequence[str], watch: Watch | None = None
    ) -> dict[str, Tensor]:
        return {to: self.hearing.of(to)(features) for to in receivers}

    def used_by(self, receiver: str) -> list[nn.Module]:
        return [self.hearing.of(receiver)]


class _Hearing(nn.Module):
    """What one task makes of the features of all."""

    def __init__(self, dense: Mapping[str, bool], receiver: str, channels: int) -> None:
        super().__init__()
        self.receiver = receiver
        self.others = tuple(by for by in dense if by != receiver)
        self.messages = PerTask({by: convolution(dense[by], channels, channels) for by in self.others})

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        own = total = features[self.receiver]
        for by in self.others:
            total = total + fit(self.messages.of(by)(features[by]), own)
        return total


class _Gated(Distilling):
    def __init__(self, dense: Mapping[str, bool], receivers: Sequence[str], channels: int) -> None:
        super().__init__()
        self.heard = {to: tuple(by for by in dense if by != to) for to in receivers}
        senders = [by for by in dense if any(by in others for others in self.heard.values())]
        self.messages = PerTask({by: convolution(dense[by], channels, channels) for by in senders})
        self.gates = PerTask({to: convolution(dense[to], channels, channels, bias=True) for to in receivers})

    def forward(
        self, features: Mapping[str, Tensor], receivers: Sequence[str], watch: Watch | None = None
    ) -> dict[str, Tensor]:
        senders = dict.fromkeys(by for to in receivers for by in self.heard[to])
        messages = {by: self.messages.of(by)(features[by]) for by in senders}
        distilled = {}
        for to in receivers:
            own = features[to]
            gate = self.gates.of(to)(own).sigmoid()
            if watch is not None:
                watch(to, gate)
            heard = [fit(messages[by], own) for by in self.heard[to]]
            distilled[to] = own + gate * sum(heard[1:], heard[0])
        return distilled

    def used_by(self, receiver: str) -> list[nn.Module]:
        return [self.gates.of(receiver), *(self.messages.of(by) for by in self.heard[receiver])]
