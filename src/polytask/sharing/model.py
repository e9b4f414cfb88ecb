"""What every model of several tasks is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.tasks import Task


class MultiTaskModel(nn.Module, ABC):
    """Inputs -> {task: prediction}, computing only what is asked; knows which tasks use which parameters.

    Any `nn.Module` that returns a dict will do for training; ours also say what is shared. A new architecture
    writes `forward_with_features` and `used_by`.

    Args:
        tasks: at least one, each with its own name.

    Raises:
        PolytaskError: no task, or two of the same name.
    """

    tasks: tuple[Task, ...]
    keep_maps: bool = False
    """Whether a forward pass keeps the attention maps that `maps_inside` tells; set it for a look, not in training."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = named_tasks(tasks, type(self).__name__)

    @abstractmethod
    def forward_with_features(
        self, inputs: Any, tasks: Iterable[str] | None = None
    ) -> tuple[dict[str, Tensor], Tensor | list[Tensor] | None]:
        """Predictions, and the representation that the tasks share (for `backward(..., features=)`).

        Args:
            inputs: one batch, as the backbone expects it.
            tasks: names of the tasks to predict; all when left out.

        Returns:
            {task: [b, outputs]} in the order of `self.tasks`, and the tensors through which every gradient to
            the shared parameters passes; None when nothing is shared, or when it is shared in more than one
            place.

        Raises:
            PolytaskError: the model has no such task.
        """

    @abstractmethod
    def used_by(self, task: str) -> list[nn.Module]:
        """The modules that the task's prediction is made with, every parameter of which takes part in it."""

    def forward(self, inputs: Any, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Predictions {task: [b, outputs]} of the tasks asked for, all when left out."""
        return self.forward_with_features(inputs, tasks)[0]

    def penalty(self, losses: Mapping[str, Tensor]) -> Tensor | None:
        """An objective that is no task, to be added to the losses unbalanced; None where there is none.

        Its gradient is added to that of the balanced losses; no balancer sees it. `training.fit` asks for it once per
        forward pass, and again for every piece of a batch that is cut: it is then a mean over the pieces.

        Args:
            losses: of the tasks, from the last forward pass, with its graph.

        Returns:
            A scalar, of the last forward pass where it depends on activations.
        """
        return None

    def intermediate(self) -> dict[str, list[Tensor]]:
        """Further predictions of the last forward pass, by task: the task's own loss is to be added for each of them
        (deep supervision). Empty in evaluation, and where an architecture has none.

        Returns:
            {task: [prediction, ...]}, each as the task's loss expects it; of tasks that the pass was asked for.
        """
        return {}

    def inside(self) -> dict[str, dict[str, float]]:
        """Numbers worth following over the training, for the reader of a report: {panel: {line: number}}.

        A panel is one picture of a few lines on a common axis: the weights of one cross-stitch unit, the mean of every
        task's attention masks. `training.fit` records them once per epoch, after its last step, before the model is
        evaluated. They are read from parameters, or from what the last forward pass in training mode left on the
        model. Empty where an architecture has nothing of the kind.

        Returns:
            The same panels and lines every time it is called; plain floats.
        """
        return {}

    def maps_inside(self) -> dict[str, Tensor]:
        """Attention maps of the last forward pass made while `keep_maps` was True, by what a reader calls them.

        Returns:
            {label: [b, h, w] in 0..1}, of any size (a stage's own will do), on the model's device, without a graph;
            empty where an architecture has none, or none were kept. A label says whose and where: "depth, stage 2".
        """
        return {}

    @property
    def settings(self) -> dict[str, Any]:
        """What determines its training besides its form, as plain data: a run folder that was begun with other settings
        is refused. Empty by default."""
        return {}

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """What changes over the training: called before every epoch, also where a run goes on in the middle of one.

        A pure function of its arguments, so that a run that was stopped goes on exactly: the state it leaves may not
        depend on earlier calls. Nothing by default.

        Args:
            epoch: the number of the epoch that begins, from 0.
            epochs: of the whole training.
        """

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """What the model learns, as groups for a torch optimizer: some parameters want a rate of their own.

        Args:
            learning_rate: of the training; a group that wants another one says so with "lr", as a multiple of it.

        Returns:
            Every parameter that learns once; what a group does not say, the optimizer's defaults say.

        >>> from polytask import sharing, tasks
        >>> model = sharing.HardSharing(sharing.MLP(4), [tasks.Binary("a")])
        >>> [len(group["params"]) for group in model.parameter_groups(1e-3)]
        [6]
        """
        return [{"params": [each for each in self.parameters() if each.requires_grad]}]

    def shared_by(self) -> dict[str, tuple[str, ...]]:
        """For every parameter, by its name in `named_parameters()`: the names of the tasks that use it.

        >>> from polytask import sharing, tasks
        >>> model = sharing.HardSharing(sharing.MLP(4, widths=(8,)), [tasks.Binary("a"), tasks.Binary("b")])
        >>> for name, users in model.shared_by().items():
        ...     print(name, users)
        shared.stages.0.linear.weight ('a', 'b')
        shared.stages.0.linear.bias ('a', 'b')
        heads.a.weight ('a',)
        heads.a.bias ('a',)
        heads.b.weight ('b',)
        heads.b.bias ('b',)
        """
        uses = {
            task.name: {id(each) for module in self.used_by(task.name) for each in module.parameters()}
            for task in self.tasks
        }
        return {
            name: tuple(task for task, used in uses.items() if id(parameter) in used)
            for name, parameter in self.named_parameters()
        }

    def kept_apart(self) -> set[str]:
        """The parameters, by name, of which every member of a task that stands for many has a share of its own."""
        return {
            f"{at}.{name}"
            for at, module in self.named_modules()
            if getattr(module, "members_apart", False)
            for name, _ in module.named_parameters()
        }

    def separate_parameters(self) -> int:
        """How many parameters separate networks for the tasks would have: a copy for each of everything it uses. A task
        that stands for many has a network for every member.

        Architectures in which every task has a network already, and uses the others', count each network once.
        """
        return self._copied(self.shared_by())

    def _copied(self, users: Mapping[str, Iterable[str]]) -> int:
        """How many parameters there are with a copy for every user, and for each of its members."""
        members = {task.name: max(1, len(task.member_names)) for task in self.tasks}
        apart = self.kept_apart()
        return sum(
            self.get_parameter(name).numel() * (1 if name in apart else members[task])
            for name, tasks in users.items()
            for task in tasks
        )

    def asked(self, tasks: Iterable[str] | None) -> list[str]:
        """The names of the tasks to predict, in the order of `self.tasks`; an error names an unknown one."""
        names = [task.name for task in self.tasks]
        if tasks is None:
            return names
        wanted = {tasks} if isinstance(tasks, str) else set(tasks)
        for unknown in sorted(wanted.difference(names)):
            raise PolytaskError(f"this model has no task '{unknown}'; {did_you_mean(unknown, names)}")
        return [name for name in names if name in wanted]


def named_tasks(tasks: Sequence[Task] | Task, model: str) -> tuple[Task, ...]:
    """The tasks of a model of this class: at least one, each with its own name."""
    found = (tasks,) if isinstance(tasks, Task) else tuple(tasks)
    if not found:
        raise PolytaskError(f'{model} needs at least one task, for example [tasks.Binary("spam")]')
    names = [task.name for task in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PolytaskError(f"every task needs its own name; given more than once: {', '.join(twice)}")
    return found
