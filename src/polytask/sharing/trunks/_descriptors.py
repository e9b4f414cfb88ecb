"""What tells a network which task it works for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask
from polytask.tasks import Task

Vectors = Mapping[str, Sequence[float] | Tensor]


@dataclass(frozen=True)
class LearnedDescriptors:
    """A vector per task that is learned with the network, drawn from N(0, 1) at the start.

    Args:
        width: how many numbers it has.

    >>> from polytask import sharing, tasks
    >>> two = [tasks.Binary("a"), tasks.Binary("b")]
    >>> model = sharing.Conditioned(sharing.MLP(4), two, descriptors=LearnedDescriptors(3))
    >>> model.trunk.descriptors.of("a").shape
    torch.Size([3])
    """

    width: int = 8

    def __post_init__(self) -> None:
        if self.width < 1:
            raise PolytaskError(f"a learned descriptor needs at least one number, got width={self.width}")


class Descriptors(nn.Module):
    """The vector z_t [m] of every task: `of(task)`.

    Args:
        tasks: their names.
        given: a vector per task that stays as it is, or `LearnedDescriptors`; by default z_t is one-hot, m tasks long.
    """

    def __init__(self, tasks: Sequence[str], given: Vectors | LearnedDescriptors | None) -> None:
        super().__init__()
        self.one_hot = given is None
        self.learned = isinstance(given, LearnedDescriptors)
        if isinstance(given, LearnedDescriptors):
            vectors = {task: torch.randn(given.width) for task in tasks}
        elif given is None:
            vectors = dict(zip(tasks, torch.eye(len(tasks)), strict=True))
        else:
            vectors = _checked(tasks, given)
        self.width = len(vectors[tasks[0]])
        self.vectors = PerTask({task: Vector(vector.clone(), self.learned) for task, vector in vectors.items()})

    def of(self, task: str) -> Tensor:
        vector: Tensor = self.vectors.of(task)()
        return vector

    def used_by(self, task: str) -> list[nn.Module]:
        return [self.vectors.of(task)]

    def for_tasks(self, tasks: Sequence[str], given: Vectors | None) -> "Descriptors":
        """Those of other tasks, in the same space."""
        if self.one_hot or self.learned:
            raise PolytaskError(
                "descriptors that are one-hot or learned know the tasks of the training alone; for other tasks they "
                "must say what a task is: give tasks a `descriptor`, or Conditioned its `descriptors`"
            )
        if given is None:
            raise PolytaskError(f"no descriptor is given for {', '.join(tasks)}: give tasks a `descriptor`")
        other = Descriptors(tasks, given)
        if other.width != self.width:
            raise PolytaskError(
                f"the network was trained with descriptors of {self.width} numbers, those of {', '.join(tasks)} have "
                f"{other.width}"
            )
        return other


class Vector(nn.Module):
    """Numbers of one task: learned, or a part of the state all the same."""

    def __init__(self, values: Tensor, learned: bool) -> None:
        super().__init__()
        if learned:
            self.values = nn.Parameter(values)
        else:
            self.register_buffer("values", values)

    def forward(self) -> Tensor:
        return self.values


class Embedding(nn.Module):
    """From a task to [outputs] numbers, linear in its descriptor: E z_t; zeros at the start.

    With one-hot descriptors column t of E is a parameter of task t alone.

    Args:
        descriptors: z_t.
        tasks: their names.
        outputs: how many numbers.
    """

    def __init__(self, descriptors: Descriptors, tasks: Sequence[str], outputs: int) -> None:
        super().__init__()
        self.columns: PerTask | None = None
        self.weight: nn.Parameter | None = None
        if descriptors.one_hot:
            self.columns = PerTask({task: Vector(torch.zeros(outputs), learned=True) for task in tasks})
        else:
            self.weight = nn.Parameter(torch.zeros(outputs, descriptors.width))

    def forward(self, task: str, descriptors: Descriptors) -> Tensor:
        if self.weight is None:
            assert self.columns is not None
            column: Tensor = self.columns.of(task)()
            return column
        return self.weight @ descriptors.of(task)

    def used_by(self, task: str) -> list[nn.Module]:
        return [self] if self.columns is None else [self.columns.of(task)]


def own_descriptors(tasks: Sequence[Task]) -> Vectors | None:
    """The descriptors that the tasks bring themselves; None where no task has one."""
    given = {task.name: task.descriptor for task in tasks if task.descriptor}
    return given or None


def _checked(tasks: Sequence[str], given: Vectors) -> dict[str, Tensor]:
    """The vectors as tensors, of all tasks and equally long."""
    for unknown in sorted(set(given).difference(tasks)):
        raise PolytaskError(f"a descriptor is given for '{unknown}', which is no task; {did_you_mean(unknown, tasks)}")
    missing = [task for task in tasks if task not in given]
    if missing:
        raise PolytaskError(f"descriptors are given, but not for {', '.join(missing)}: every task needs one")
    vectors = {task: torch.as_tensor(given[task], dtype=torch.get_default_dtype()) for task in tasks}
    shapes = {tuple(vector.shape) for vector in vectors.values()}
    (shape, *others) = shapes
    if others or len(shape) != 1 or shape == (0,):
        came = ", ".join(f"{task} {list(vector.shape)}" for task, vector in vectors.items())
        raise PolytaskError(f"descriptors must be vectors of one length, got {came}")
    for task, vector in vectors.items():
        if not torch.isfinite(vector).all():
            raise PolytaskError(f"the descriptor of task '{task}' is not finite: {vector.tolist()}")
    return vectors
