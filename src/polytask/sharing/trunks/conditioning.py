"""One network that is told which task it works for."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone, build
from polytask.sharing.heads import Decoder, make_head, predict, reads
from polytask.sharing.model import MultiTaskModel, named_tasks
from polytask.sharing.trunks._conditional import Add, Concatenate, Fresh, Gated, Layer, Modulate, Told, Trunk
from polytask.sharing.trunks._descriptors import Descriptors, LearnedDescriptors, Vectors, own_descriptors
from polytask.sharing.trunks._networks import check_stages
from polytask.tasks import Task


class Conditioning(ABC):
    """How a task descriptor enters a network; a frozen dataclass."""

    @abstractmethod
    def trunk(self, fresh: Fresh, descriptors: Descriptors, tasks: Sequence[str]) -> Trunk:
        """The network that is told its task.

        Args:
            fresh: makes a fresh backbone for the tasks that it is told by name.
            descriptors: z_t of every task.
            tasks: their names.
        """


@dataclass(frozen=True)
class _AfterStages(Conditioning):
    """A descriptor that enters after some stages of one backbone.

    Args:
        stages: after which it enters, 0 (the lowest) to S - 1; after all when left out.
    """

    stages: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stages, Iterable):
            object.__setattr__(self, "stages", tuple(self.stages))

    def trunk(self, fresh: Fresh, descriptors: Descriptors, tasks: Sequence[str]) -> Trunk:
        backbone = fresh(tasks)
        widths = backbone.walk_widths
        stages = check_stages(self.stages, len(widths))
        layers = {stage: self.layer(widths[stage], descriptors, tasks) for stage in stages}
        return Told(backbone, descriptors, layers, tasks)

    @abstractmethod
    def layer(self, width: int, descriptors: Descriptors, tasks: Sequence[str]) -> Layer:
        """What changes the output of a stage of `width` channels."""


@dataclass(frozen=True)
class Addition(_AfterStages):
    """x' = x + E z: a vector per task is added to all positions of a stage's output.

    E [c, m] is zero at the start: training starts from hard sharing.

    Equal to `Concatenation` whose linear layer leaves x as it is: [I E] [x; z].

    Args:
        stages: after which it enters, 0 (the lowest) to S - 1; after all when left out.

    >>> from polytask import sharing, tasks
    >>> two = [tasks.Binary("a"), tasks.Binary("b")]
    >>> model = sharing.Conditioned(sharing.MLP(4, widths=(8,)), two, by=Addition())
    >>> [(part.module, part.parameters) for part in sharing.describe(model).parts if part.tasks == ("a",)]
    [('trunk.layers.0.embedding.columns.a', 8), ('heads.a', 9)]
    """

    def layer(self, width: int, descriptors: Descriptors, tasks: Sequence[str]) -> Layer:
        return Add(width, descriptors, tasks)


@dataclass(frozen=True)
class Concatenation(_AfterStages):
    """x' = V [x; z] + b: z is put beside every position of a stage's output, and a linear layer leads back to c.

    V = [W E] with W [c, c] the identity, E [c, m] and b zero at the start: training starts from hard sharing. It is
    computed as W x + (E z + b), which is the same function with the same gradients, without the copies of z: to
    concatenate before a linear layer is to add a vector after it.

    Args:
        stages: after which it enters, 0 (the lowest) to S - 1; after all when left out.

    Cost: c^2 multiply-adds for each position of every such stage.

    >>> from polytask import sharing, tasks
    >>> two = [tasks.Binary("a"), tasks.Binary("b")]
    >>> model = sharing.Conditioned(sharing.MLP(4, widths=(8,)), two, by=Concatenation())
    >>> [(part.module, part.parameters) for part in sharing.describe(model).parts if part.tasks == ("a",)]
    [('trunk.layers.0.embedding.columns.a', 8), ('heads.a', 9)]
    """

    def layer(self, width: int, descriptors: Descriptors, tasks: Sequence[str]) -> Layer:
        return Concatenate(width, descriptors, tasks)


@dataclass(frozen=True)
class FiLM(_AfterStages):
    """x' = gamma x + beta, with [gamma - 1; beta] = E z: every channel of a stage's output is scaled and shifted.

    E [2 c, m] is zero at the start: training starts from hard sharing.

    Args:
        stages: after which it enters, 0 (the lowest) to S - 1; after all when left out.

    Source: Perez, Strub, de Vries, Dumoulin, Courville 2018, FiLM: Visual Reasoning with a General Conditioning Layer.
    There the layers sit inside residual blocks, before the last ReLU, and z is a question read by a recurrent network.

    >>> from polytask import sharing, tasks
    >>> two = [tasks.Binary("a"), tasks.Binary("b")]
    >>> model = sharing.Conditioned(sharing.MLP(4, widths=(8,)), two, by=FiLM())
    >>> [(part.module, part.parameters) for part in sharing.describe(model).parts if part.tasks == ("a",)]
    [('trunk.layers.0.embedding.columns.a', 16), ('heads.a', 9)]
    """

    def layer(self, width: int, descriptors: Descriptors, tasks: Sequence[str]) -> Layer:
        return Modulate(2 * width, descriptors, tasks)


@dataclass(frozen=True)
class Gating(Conditioning):
    """f_t = sum_j z_tj f_j(x): as many whole networks as the descriptor has numbers, each gated by one of them.

    With one-hot descriptors that is one network per task (`Independent`). A network whose number is 0 is not computed.

    Cost: a pass of every network that a task asked for has part in.

    >>> from polytask import sharing, tasks
    >>> two = [tasks.Binary("a"), tasks.Binary("b")]
    >>> model = sharing.Conditioned(sharing.MLP(4, widths=(8,)), two, by=Gating())
    >>> [(part.module, part.parameters) for part in sharing.describe(model).parts if part.tasks == ("a",)]
    [('trunk.networks.0', 40), ('heads.a', 9)]
    """

    def trunk(self, fresh: Fresh, descriptors: Descriptors, tasks: Sequence[str]) -> Trunk:
        return Gated(fresh, descriptors, tasks)


class Conditioned(MultiTaskModel):
    r"""One network that gets a task descriptor z_t beside its inputs, and a head per task, or one for all.

    prediction_t = head_t(trunk(x, z_t)), or with one head for all tasks head(trunk(x, z_t)): then the descriptor alone
    tells tasks apart, and the network can be asked for tasks that it never saw (`for_tasks`). How z enters is a recipe:

    =================  =======================================  =================================================
    recipe             rule                                     with one-hot z
    =================  =======================================  =================================================
    `Addition`         x' = x + E z after stages                a vector per task and stage
    `Concatenation`    x' = V [x; z] + b after stages           the same, and a linear layer for all tasks
    `FiLM`             x' = gamma(z) x + beta(z) after stages   a scale and a shift per task, stage and channel
    `Gating`           sum_j z_j network_j(x)                   independent networks
    =================  =======================================  =================================================

    Args:
        backbone: makes a fresh backbone at each call; called once, by `Gating` once per number of the descriptor.
        tasks: what to predict; `Task.head` gives the heads.
        by: how the descriptor enters.
        descriptors: z_t of every task: {task: numbers} that stay as they are (what is known of the task), or
            `LearnedDescriptors`. By default the tasks' own (`Task.descriptor`); where they have none, z_t is one-hot,
            and whatever belongs to one task alone is a parameter of its own.
        one_head: one head for all tasks, which must be of one kind with equally many outputs, and regression targets
            standardised alike.
        decoder: for tasks whose predictions are maps; by default what suits the backbone (`FPN`, or `LastMap`).

    Raises:
        PolytaskError: no task, two of one name, not a backbone, one that can't be walked, a stage that is not there,
            descriptors that don't fit the tasks, a network that no task has part in, or one head for tasks that are
            not alike.

    Source: task conditioning as taught in multi-task learning courses: concatenation, addition, multiplicative
    conditioning and multiplicative gating; FiLM: Perez et al. 2018.

    Cost of a step: one pass of the trunk per task asked for, also through stages below the first one that z enters.
    The tasks are not stacked along the batch: batch normalisation would then see all tasks at once, and a task's
    training would depend on which others are asked for. So the running statistics of a batch normalisation are moved
    once per task in every step.

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("a"), tasks.MultiClass("b", 3)]
    >>> model = sharing.Conditioned(sharing.MLP(4, widths=(8, 8)), both, by=sharing.FiLM(stages=(1,)))
    >>> {name: tuple(each.shape) for name, each in model(torch.zeros(2, 4)).items()}
    {'a': (2, 1), 'b': (2, 3)}
    >>> known = {"a": [0.0, 1.0], "b": [1.0, 0.5]}
    >>> model = sharing.Conditioned(sharing.MLP(4), both, by=sharing.Addition(), descriptors=known)
    >>> seen = [tasks.Binary("north", descriptor=(1.0, 0.0)), tasks.Binary("east", descriptor=(0.0, 1.0))]
    >>> model = sharing.Conditioned(sharing.MLP(4), seen, one_head=True)
    >>> unseen = model.for_tasks([tasks.Binary("north east", descriptor=(0.7, 0.7))])
    >>> [*unseen(torch.zeros(2, 4))]
    ['north east']
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        tasks: Sequence[Task],
        by: Conditioning | None = None,
        descriptors: Vectors | LearnedDescriptors | None = None,
        decoder: Decoder | None = None,
        one_head: bool = False,
    ) -> None:
        super().__init__(tasks)
        names = self.asked(None)
        if one_head:
            check_alike(self.tasks)
        given = own_descriptors(self.tasks) if descriptors is None else descriptors
        by = FiLM() if by is None else by
        if not isinstance(by, Conditioning):
            raise PolytaskError(f"expected a recipe such as sharing.FiLM() or sharing.Addition(), got {by!r}")
        made: list[Backbone] = []

        def fresh(told: Sequence[str]) -> Backbone:
            readers = [task for task in self.tasks if task.name in told]
            made.append(build(backbone, lambda each: reads(each, readers, decoder)))
            return made[-1]

        self.trunk: Trunk = by.trunk(fresh, Descriptors(names, given), names)
        self.reads = {task.name: reads(made[0], [task], decoder) for task in self.tasks}
        self.head = make_head(self.tasks[0], made[0], decoder) if one_head else None
        self.heads = PerTask({} if one_head else {task.name: make_head(task, made[0], decoder) for task in self.tasks})
        for name in names:  # networks of libraries are run to see what they use, and remember it
            self.used_by(name)

    def forward_with_features(self, inputs: Any, tasks: Iterable[str] | None = None) -> tuple[dict[str, Tensor], None]:
        features = self.trunk(inputs, self.asked(tasks))
        return {name: predict(self._head(name), each, inputs) for name, each in features.items()}, None

    def used_by(self, task: str) -> list[nn.Module]:
        return [*self.trunk.used_by(task, self.reads[task]), self._head(task)]

    def for_tasks(self, tasks: Sequence[Task], descriptors: Vectors | None = None) -> Self:
        """This network for other tasks, told to it by their descriptors alone: no weight is learned for them.

        Args:
            tasks: of the kind, and with the outputs, of those that it was made for. Regression targets are read in the
                scale of its own tasks: give them the same mean and deviation.
            descriptors: z_t of every one; by default the tasks' own.

        Returns:
            A model that shares all weights with this one.

        Raises:
            PolytaskError: the network has a head per task, or descriptors that are one-hot or learned; other kinds of
                tasks, or descriptors that do not fit.
        """
        if self.head is None:
            raise PolytaskError(
                "this network has a head for each task that it was trained on, and none for others; make it with "
                "Conditioned(..., one_head=True)"
            )
        tasks = named_tasks(tasks, type(self).__name__)
        check_alike([*self.tasks, *tasks])
        other = copy.copy(self)
        names = [task.name for task in tasks]
        told = self.trunk.descriptors.for_tasks(names, own_descriptors(tasks) if descriptors is None else descriptors)
        device = next(self.parameters()).device
        other.tasks, other.reads = tasks, dict.fromkeys(names, next(iter(self.reads.values())))
        other._modules = {**self._modules, "trunk": self.trunk.for_tasks(told.to(device), names)}
        return other

    def _head(self, task: str) -> nn.Module:
        return self.heads.of(task) if self.head is None else self.head

    def inside(self) -> dict[str, dict[str, float]]:
        """How much the tasks change after every stage that z enters (root mean square of E z_t; 0 is hard sharing), a
        panel per stage; the gates of learned descriptors."""
        return self.trunk.inside()


def check_alike(tasks: Sequence[Task]) -> None:
    """Tasks can share a head: one kind, equally many outputs."""
    kinds = {(type(task), task.outputs) for task in tasks}
    if len(kinds) > 1:
        came = ", ".join(f"{task.name} ({type(task).__name__}, {task.outputs})" for task in tasks)
        raise PolytaskError(f"one head is for tasks of one kind with equally many outputs, got {came}")
