"""Places in a shared network where every task has a module of its own.

The modules lie outside the network, one set per task; while a pass runs for a task, the places find its set through
one `Now`. So the network holds shared parameters alone, under the names that they have without any tasks.
"""

import copy
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask, key
from polytask.sharing.backbone import Backbone
from polytask.sharing.heads import Decoder, reads
from polytask.sharing.walking import walk_alone
from polytask.tasks import Task

DECODER = "decoder of maps"
"""Places in the decoder have names that no module of a trunk has."""

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Now:
    """The modules of the task that a pass is running for; none between passes."""

    def __init__(self) -> None:
        self.own: nn.Module | None = None

    @contextmanager
    def of(self, own: nn.Module) -> Iterator[None]:
        """While this lasts, every place uses the task's own modules."""
        before, self.own = self.own, own
        try:
            yield
        finally:
            self.own = before


class Own(PerTask):
    """The modules of one task, by the names of their places; where it has none, what came last goes on."""

    def forward(self, place: str, *args: Any) -> Any:
        return self.of(place)(*args) if key(place) in self else args[-1]


class Place(nn.Module):
    """Stands in the network for a module of which every task has its own."""

    eps = math.nan
    """Equal to none: so torch's transformer layers, which compare it, do not go around their norms in evaluation."""

    def __init__(self, now: Now, place: str) -> None:
        super().__init__()
        self.now = now
        self.place = place

    def forward(self, x: Tensor) -> Tensor:
        if self.now.own is None:
            raise PolytaskError("every task has its own norms here: run the whole model, not its trunk alone")
        return self.now.own(self.place, x)


class Beside:
    """A forward hook: the task's own module makes what a module gives of what came in and what came out."""

    def __init__(self, now: Now, place: str) -> None:
        self.now = now
        self.place = place

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if self.now.own is None:
            return None
        if not isinstance(output, Tensor) or not args:
            raise PolytaskError(
                f"'{self.place}' ({type(module).__name__}) gives {type(output).__name__} of {len(args)} arguments, "
                "and a task's own module can only stand beside one from tensor to tensor: name a module inside it"
            )
        return self.now.own(self.place, args[0], output)


class Places:
    """Puts modules of tasks into a trunk; a trunk with `own()` modules is run by `features_for`.

    Args:
        trunk: is changed: its layers get hooks, its norms are replaced by places.
        tasks, decoder: what is read of it.
    """

    def __init__(self, trunk: Backbone, tasks: Sequence[Task], decoder: Decoder | None) -> None:
        self.trunk = trunk
        self.now = Now()
        self.reads = {task.name: reads(trunk, [task], decoder) for task in tasks}
        self.behind_stages = False
        self._used = {task: _names(trunk, trunk.used_for(stages)) for task, stages in self.reads.items()}
        self._modules: dict[str, dict[str, nn.Module]] = {task: {} for task in self.reads}

    def beside(self, layers: Mapping[str, nn.Module], make: Callable[[nn.Module], nn.Module]) -> None:
        """Beside layers of the trunk, by name: (what goes in, what comes out) -> what comes out instead."""
        for name, layer in layers.items():
            layer.register_forward_hook(Beside(self.now, name))
            for task, used in self._used.items():
                if _depends(layer, name, used):
                    self._modules[task][name] = make(layer)

    def behind(self, make: Callable[[int], nn.Module]) -> None:
        """Behind every stage, by its number of channels: (what comes out, the same) -> what goes on instead."""
        self.behind_stages = True
        for stage, width in enumerate(self.trunk.walk_widths):
            for task, stages in self.reads.items():
                if stage <= max(stages):
                    self._modules[task][stage_place(stage)] = make(width)

    def norms(self) -> None:
        """In place of every norm of the trunk that learns or keeps statistics."""
        self._norms(self.trunk, self._used, "")

    def norms_of_decoder(self, decoder: nn.Module, tasks: Collection[str]) -> None:
        """The same, of a decoder that all of these tasks share."""
        used = {name for name, _ in decoder.named_parameters()}
        self._norms(decoder, dict.fromkeys(tasks, used), f"{DECODER}: ")

    def _norms(self, network: nn.Module, used: Mapping[str, set[str]], prefix: str) -> None:
        norms = {name: each for name, each in network.named_modules() if isinstance(each, NORMS) and _counts(each)}
        for name, norm in norms.items():
            above, _, last = name.rpartition(".")
            setattr(network.get_submodule(above), last, Place(self.now, f"{prefix}{name}"))
            for task, mine in used.items():
                if _depends(norm, name, mine):
                    self._modules[task][f"{prefix}{name}"] = copy.deepcopy(norm)

    def add(self, place: str, tasks: Collection[str], make: Callable[[], nn.Module]) -> None:
        """At a place of one's own, for some tasks."""
        for task in tasks:
            self._modules[task][place] = make()

    def own(self) -> PerTask:
        """The modules, by task."""
        return PerTask({task: Own(modules) for task, modules in self._modules.items()})


def features_for(own: nn.Module, trunk: Backbone, inputs: Any, behind_stages: bool) -> list[Tensor]:
    """The features of a trunk while it runs for a task; its modules behind the stages, where it has some, run here."""
    if behind_stages:
        return walk_alone(trunk, inputs, lambda stage, x: own(stage_place(stage), x, x))
    features: list[Tensor] = trunk(inputs)
    return features


def stage_place(stage: int) -> str:
    """The name of the place behind a stage (0 to S - 1)."""
    return f"stage {stage + 1}"


def _names(network: nn.Module, parts: Sequence[nn.Module]) -> set[str]:
    """The names that the parameters of some parts have in the network."""
    used = {id(each) for part in parts for each in part.parameters()}
    return {name for name, each in network.named_parameters() if id(each) in used}


def _depends(module: nn.Module, name: str, used: set[str]) -> bool:
    """Whether a task that depends on these parameters depends on a module; on one without any, for all we know."""
    own = {f"{name}.{each}" for each, _ in module.named_parameters()}
    return not own or not own.isdisjoint(used)


def _counts(norm: nn.Module) -> bool:
    learns = any(parameter.requires_grad for parameter in norm.parameters())
    return learns or getattr(norm, "running_mean", None) is not None
