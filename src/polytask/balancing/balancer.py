"""The three kinds of balancer, each with one verb.

=================  =========================================  ==========================
kind               verb                                       costs
=================  =========================================  ==========================
LossBalancer       `total(losses) -> scalar`                  one backward pass
GramianBalancer    `weights(gramian) -> one weight per task`  one backward pass per task
JacobianBalancer   `direction(jacobian) -> one gradient`      one backward pass per task
=================  =========================================  ==========================

A balancer is a dataclass: its fields are its hyperparameters. One that remembers is an `nn.Module` besides, so that
its memory moves, saves and loads as PyTorch people expect.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.tasks import Task


@dataclass(frozen=True)
class Step:
    """What a balancer may know of a training step besides what it weighs.

    Args:
        tasks: names of the tasks that had labels, in the order of the rows.
        losses: their losses, [t], detached.
        activations: the shared features, [b, f], when gradients are balanced there.
        norms: [t] lengths of the task gradients at the last shared layer, for a balancer that asks for them.
        cross: [t, t] inner products of the task gradients of one half of the batch (rows) with those of the other half
            (columns), for a balancer of two `samples`. A half's gradient is twice its share of the batch's mean: the
            half's own mean where both halves have equally many labels of the task.
        mean: the mean of a tensor over the processes that train together; the tensor itself when there is one.
        columns: p, where a process has a part of the columns only (for an `elementwise` balancer).
        part: that part [..., c] of a tensor [..., p] that all processes have, of random draws for instance.
    """

    tasks: tuple[str, ...]
    losses: Tensor
    activations: Tensor | None = None
    norms: Tensor | None = None
    cross: Tensor | None = None
    mean: Callable[[Tensor], Tensor] = lambda tensor: tensor
    columns: int | None = None
    part: Callable[[Tensor], Tensor] = lambda whole: whole


class Balancer(ABC):
    """How several tasks are weighed against each other; see the three kinds below."""

    looks_again: ClassVar[bool] = False
    """Whether it wants the losses of the same batch again after the optimizer's step, by `after_step`."""

    reads_progress: ClassVar[bool] = False
    """Whether it wants to know how well each task does in every step, by `measure`."""

    def bind(self, tasks: Sequence[Task]) -> None:
        """Get ready for these tasks: check what was given by name, make what is learned per task.

        `training.fit` calls it before it makes the optimizer. Calling it again with the same tasks changes nothing.
        """

    def observe(self, step: Step) -> None:
        """Remember what has to be remembered of a step; called once, after its gradients were written."""

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """The losses of the same batch after the optimizer's step (for one that `looks_again`)."""

    def measure(self, progress: Mapping[str, float]) -> None:
        """How well each task does on the batch, from 0 to 1 (for one that `reads_progress`); before `backward`."""

    def end_epoch(self) -> None:
        """An epoch of the training data is over; a loop of your own calls this for balancers that ask for it."""

    def judged(self, train: Mapping[str, float], validation: Mapping[str, float]) -> None:
        """The mean loss of every task in the epoch that is over, on the training and on the validation data.

        `training.fit` calls it after every epoch, once the validation data were looked at; tasks that an epoch did not
        see are left out.
        """

    @property
    def lacks(self) -> str:
        """What it lacks to do anything with the tasks that it is bound to, in words; empty: nothing."""
        return ""

    @abstractmethod
    def passes(self, tasks: int) -> int:
        """Backward passes in a step with that many tasks."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is learned together with the network; give it to the optimizer by `parameter_groups`."""
        return iter(())

    def state_dict(self) -> dict[str, Any]:
        """Everything that is remembered."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """Remember what `state_dict` gave."""


class LossBalancer(Balancer):
    """Losses to one scalar whose ordinary backward pass trains shared parameters and heads alike."""

    linear: ClassVar[bool] = False
    """Whether d total / d losses does not depend on the losses of the step. Then gradient accumulation needs one
    backward pass per micro-batch instead of one per task."""

    norms_at_last_layer: ClassVar[bool] = False
    """Whether `observe` needs `Step.norms`: one more backward pass per task, of the last shared layer only."""

    def passes(self, tasks: int) -> int:
        return 1

    @abstractmethod
    def total(self, losses: Tensor, tasks: Sequence[str] = ()) -> Tensor:
        """The scalar to minimise, from losses [t] of the tasks named, differentiable in the losses."""


class GramianBalancer(Balancer):
    """Gramian of the task gradients, G_ij = g_i . g_j, to one weight per task: the step goes along sum_i w_i g_i."""

    samples: ClassVar[int] = 1
    """2 where the rule needs two independent halves of a batch (`Step.cross`): then every step is made of an even
    number of pieces (`Accumulation`)."""

    def known(self, tasks: Sequence[str]) -> Tensor | None:
        """The weights of a step with these tasks if they need no Gramian; then the step costs one backward pass."""
        return None

    def passes(self, tasks: int) -> int:
        return tasks

    @abstractmethod
    def weights(self, gramian: Tensor, step: Step | None = None) -> Tensor:
        """Weights [t] from a Gramian [t, t]."""


class JacobianBalancer(Balancer):
    """The task gradients themselves to one gradient: for what no weighing of whole tasks can express."""

    elementwise: ClassVar[bool] = False
    """Whether every element of the direction depends on that element of the task gradients alone."""

    only_at_features: ClassVar[bool] = False
    """Whether it works at shared features (`backward(..., features=)`) only."""

    def passes(self, tasks: int) -> int:
        return tasks

    @abstractmethod
    def direction(self, jacobian: Tensor, step: Step | None = None) -> Tensor:
        """A gradient [p] from task gradients [t, p]; at shared features [b, f] from [t, b, f]."""


class Remembering(nn.Module):
    """A balancer with memory; put it before the kind among the bases.

    Memory that is not a parameter or a buffer lives in `_memory`, plain numbers and tensors in dicts and lists,
    and is saved with the state.
    """

    _memory: dict[str, Any]

    def __post_init__(self) -> None:
        super().__init__()
        self._memory = {}

    def get_extra_state(self) -> dict[str, Any]:
        return {"balancer": type(self).__name__, "memory": copy.deepcopy(self._memory)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if state.get("balancer") != type(self).__name__:
            raise PolytaskError(
                f"the saved state is of {state.get('balancer')}, this balancer is {type(self).__name__}"
            )
        self._memory = copy.deepcopy(state["memory"])


class Randomised(Remembering):
    """A balancer that draws random numbers, from a generator of its own that is seeded by `seed` and saved."""

    seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._generator = torch.Generator().manual_seed(self.seed)

    def generator(self, device: torch.device) -> torch.Generator:
        """A generator for one step on a device; what it draws does not depend on the kind of device's history."""
        if device.type == "cpu":
            return self._generator
        seed = torch.randint(2**62, (), generator=self._generator).item()
        return torch.Generator(device).manual_seed(int(seed))

    def get_extra_state(self) -> dict[str, Any]:
        return super().get_extra_state() | {"generator": self._generator.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._generator.set_state(state["generator"].cpu())


def parameter_groups(balancer: Balancer) -> list[dict[str, Any]]:
    """What the balancer learns, as optimizer groups: its own learning rate, no weight decay.

    >>> import torch
    >>> from polytask import balancing
    >>> balancing.parameter_groups(balancing.PCGrad())
    []
    >>> learned = balancing.Uncertainty(["depth", "classes"], learning_rate=0.02)
    >>> [(len(group["params"]), group["lr"]) for group in balancing.parameter_groups(learned)]
    [(2, 0.02)]
    """
    learned = list(balancer.parameters())
    if not learned:
        return []
    return [{"params": learned, "lr": balancer.learning_rate, "weight_decay": 0.0}]  # type: ignore[attr-defined]
