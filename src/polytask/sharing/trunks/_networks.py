"""A network for every task, and the places where these networks meet."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask, key
from polytask.sharing.backbone import Backbone, build
from polytask.sharing.backbones.library import LibraryBackbone
from polytask.sharing.heads import Decoder, make_head, predict, reads
from polytask.sharing.model import MultiTaskModel
from polytask.sharing.walking import walk_together
from polytask.tasks import Task

Meet = Callable[[int, Mapping[str, Tensor], Sequence[str]], dict[str, Tensor]]


class Network(nn.Module):
    """The backbone and the head of one task.

    Args:
        backbone: makes a fresh one.
        task: what to predict.
        decoder: for a task whose predictions are maps.
        all_stages: the features of all stages will be read, not only those that the head reads.
    """

    def __init__(
        self, backbone: Callable[[], Backbone], task: Task, decoder: Decoder | None, all_stages: bool = False
    ) -> None:
        super().__init__()
        self.backbone = build(
            backbone, lambda fresh: range(len(fresh.widths)) if all_stages else reads(fresh, [task], decoder)
        )
        self.head = make_head(task, self.backbone, decoder)

    def forward(self, inputs: Any) -> Tensor:
        return predict(self.head, self.backbone(inputs), inputs)


class Networks(MultiTaskModel):
    """Two networks or more, one per task, all from one recipe.

    `networks.of(task)` has a `backbone` and a `head`: trained single-task networks start there (`sharing.start_from`).

    Raises:
        PolytaskError: one task alone.
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        tasks: Sequence[Task],
        decoder: Decoder | None,
        all_stages: bool = False,
    ) -> None:
        super().__init__(tasks)
        if len(self.tasks) == 1:
            raise PolytaskError(
                f"{type(self).__name__} lets the networks of two tasks or more learn from each other, and got one "
                f"('{self.tasks[0].name}'); give it another, or train this one alone with HardSharing or Independent"
            )
        self.networks = PerTask({each.name: Network(backbone, each, decoder, all_stages) for each in self.tasks})

    @property
    def names(self) -> list[str]:
        """Of all tasks, in their order."""
        return [task.name for task in self.tasks]

    def backbones(self) -> dict[str, Backbone]:
        """By task."""
        return {name: self.network(name).backbone for name in self.names}

    def separate_parameters(self) -> int:
        own = {name: self.network(name).named_parameters(f"networks.{key(name)}") for name in self.names}
        return self._copied({name: [task] for task, found in own.items() for name, _ in found})

    def network(self, task: str) -> Network:
        """That of a task."""
        found = self.networks.of(task)
        assert isinstance(found, Network)
        return found


class Unit(nn.Module, ABC):
    """What one task has learned at one meeting place."""

    @abstractmethod
    def shares(self) -> list[float]:
        """How much it takes from each of the tasks."""


class Meeting(Networks):
    """Networks whose features meet after chosen stages; what a network goes on with depends on all of them.

    An architecture writes `_meeting` and fills `units`: by stage, a `Unit` per task. Below the highest meeting place
    everything serves all tasks. There, and above, each task has what is its own, so that it is computed for tasks that
    are asked for only.

    Args:
        stages: after which the networks meet, 0 to S - 1; after all of them when left out.

    Raises:
        PolytaskError: one task alone, no such stage, or a backbone that can't stop between its stages.
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        tasks: Sequence[Task],
        stages: Sequence[int] | None,
        decoder: Decoder | None,
        all_stages: bool = False,
    ) -> None:
        super().__init__(backbone, tasks, decoder, all_stages)
        for each in self.backbones().values():
            check_walk(each)
        one = self.network(self.names[0]).backbone
        self.stages = check_stages(stages, len(one.widths))
        self.walk_widths = one.walk_widths
        self.units = nn.ModuleDict()

    @abstractmethod
    def _meeting(self) -> Meet:
        """For one forward pass: from a stage, the outputs of all networks there and the names of the wanted tasks to
        what the networks of these go on with."""

    def _features(self, inputs: Any, asked: Sequence[str]) -> dict[str, list[Tensor]]:
        """The features of all stages in the networks of the tasks asked for, as they went on from every meeting."""
        meet = self._meeting()

        def after(stage: int, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
            wanted = self.names if stage < self.stages[-1] else asked
            if stage in self.stages:
                return meet(stage, outputs, wanted)
            return {name: outputs[name] for name in wanted}

        return walk_together(self.backbones(), inputs, after)

    def forward_with_features(self, inputs: Any, tasks: Iterable[str] | None = None) -> tuple[dict[str, Tensor], None]:
        asked = self.asked(tasks)
        features = self._features(inputs, asked)
        return {name: predict(self.network(name).head, features[name], inputs) for name in asked}, None

    def _units(self, stage: int) -> PerTask:
        found = self.units[str(stage)]
        assert isinstance(found, PerTask)
        return found

    def _unit(self, stage: int, task: str) -> "Unit":
        found = self._units(stage).of(task)
        assert isinstance(found, Unit)
        return found

    def inside(self) -> dict[str, dict[str, float]]:
        """How much every network takes from every other, a panel per stage."""
        return {
            f"stage {stage + 1}": {
                f"{name} from {other}": round(share, 6)
                for name in self.names
                for other, share in zip(self.names, self._unit(stage, name).shares(), strict=True)
            }
            for stage in self.stages
        }

    def used_by(self, task: str) -> list[nn.Module]:
        top = self.stages[-1]
        others = [each for name, each in self.backbones().items() if name != task]
        below = [self._units(stage) for stage in self.stages if stage < top]
        reached = [module for backbone in others for module in walked(backbone, top)]
        return [self.networks.of(task), self._units(top).of(task), *below, *reached]


def with_rate(
    model: nn.Module, learned: Iterable[nn.Module], learning_rate: float, **options: Any
) -> list[dict[str, Any]]:
    """Parameter groups of a model: the networks, then what is learned beside them at a rate of its own."""
    apart = [each for module in learned for each in module.parameters() if each.requires_grad]
    own = {id(each) for each in apart}
    rest = [each for each in model.parameters() if each.requires_grad and id(each) not in own]
    return [{"params": rest}, {"params": apart, "lr": learning_rate, **options}]


def check_rate(rate: float) -> None:
    """Raise unless it is a positive multiple of a learning rate."""
    if not 0 < rate < float("inf"):
        raise PolytaskError(f"rate is a multiple of the network's learning rate, a positive number; got {rate}")


def check_stages(stages: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """The stages asked for, lowest first; all of them when left out."""
    if stages is None:
        return tuple(range(count))
    chosen = tuple(sorted(set(stages))) if isinstance(stages, Iterable) else ()
    if not chosen or not all(isinstance(each, int) and 0 <= each < count for each in chosen):
        raise PolytaskError(
            f"stages are numbers from 0 (the lowest) to {count - 1} (the last of this backbone), at least one; got "
            f"{list(stages) if isinstance(stages, Iterable) else stages}; leave them out for all"
        )
    return chosen


def check_walk(backbone: Backbone) -> None:
    """Raise, before the first forward pass, where a backbone can't stop between its stages."""
    if type(backbone).walk is Backbone.walk:
        backbone.walk(None)  # says that it has none
    _ = backbone.walk_widths  # looks for the places where to stop


def walked(backbone: Backbone, stage: int) -> list[nn.Module]:
    """The modules that make what a walk yields up to a stage; norms that a feature alone goes through are none."""
    stages = getattr(backbone, "stages", None)
    if isinstance(stages, nn.ModuleList) and len(stages) == len(backbone.widths):
        return list(stages[: stage + 1])
    if isinstance(backbone, LibraryBackbone):
        return [backbone.net.get_submodule(name) for name in backbone._where_to_stop()[stage].done]
    return [backbone]
