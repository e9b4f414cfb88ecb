"""Say what a model shares."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn

from polytask.errors import PolytaskError
from polytask.sharing._per_task import readable
from polytask.sharing.model import MultiTaskModel

_Users = dict[str, tuple[tuple[str, ...], bool]]
"""By parameter: the tasks that use it, and whether their members have shares of their own."""


@dataclass(frozen=True)
class Part:
    """A module, the tasks that use it, and its number of parameters.

    Args:
        module: its name in the model.
        tasks: that use it.
        parameters: how many.
        apart: every member of the tasks (`tasks.Many`) has a share of its own of them.
    """

    module: str
    tasks: tuple[str, ...]
    parameters: int
    apart: bool = False


@dataclass(frozen=True)
class Description:
    """What is shared by which tasks; `print` shows it as a table.

    Args:
        model: the class of the model.
        tasks: the names of its tasks.
        parts: the modules, each as large as possible while all of it is used by the same tasks.
        parameters: of the whole model.
        separate: parameters of separate networks for the tasks (`MultiTaskModel.separate_parameters`).
        members: how many members the tasks have that stand for many, by name.
    """

    model: str
    tasks: tuple[str, ...]
    parts: tuple[Part, ...]
    parameters: int
    separate: int
    members: Mapping[str, int] = field(default_factory=dict)

    @property
    def shared(self) -> int:
        """Parameters used by two tasks or more, or by all members of a task."""
        return sum(part.parameters for part in self.parts if len(part.tasks) > 1 or self._by_members(part))

    def __str__(self) -> str:
        rows = [("part", "used by", "parameters", "percent")]
        for name, users, size in [*map(self._row, self.parts), ("total", "", self.parameters)]:
            rows.append((name, users, f"{size:,}", f"{100 * size / max(self.parameters, 1):.1f}"))
        first, second, third, fourth = (max(len(row[k]) for row in rows) for k in range(4))
        lines = [f"{a:<{first}}  {b:<{second}}  {c:>{third}}  {d:>{fourth}}" for a, b, c, d in rows]
        rule = "-" * len(lines[0])
        count = f"{len(self.tasks)} task{'s' * (len(self.tasks) > 1)}: {', '.join(self.tasks)}"
        return "\n".join(
            [f"{self.model}, {count}", rule, lines[0], rule, *lines[1:-1], rule, lines[-1], self._verdict()]
        )

    def _row(self, part: Part) -> tuple[str, str, int]:
        everyone = len(part.tasks) > 2 and part.tasks == self.tasks
        users = f"all {len(part.tasks)} tasks" if everyone else ", ".join(part.tasks) or "no task"
        if self._by_members(part):
            users += f", all {sum(self.members[task] for task in part.tasks if task in self.members)} members"
        return part.module, f"{users}, each member for itself" if part.apart else users, part.parameters

    def _by_members(self, part: Part) -> bool:
        """Whether all members of a task use it."""
        return not part.apart and any(task in self.members for task in part.tasks)

    def _verdict(self) -> str:
        if not self.shared:
            return "Nothing is shared."
        saved = 100 * (1 - self.parameters / self.separate)
        told = f"sharing saves {saved:.0f} %" if saved >= 0 else f"sharing takes {-saved:.2g} % more"
        return f"Separate networks would have {self.separate:,} parameters: {told}."


def describe(model: nn.Module) -> Description:
    """Say which modules of a model are used by which tasks, and how many parameters sharing saves.

    Args:
        model: one of ours, or any other `MultiTaskModel`.

    Raises:
        PolytaskError: the model cannot say what it shares.

    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("rain"), tasks.Regression("degrees")]
    >>> print(describe(sharing.HardSharing(sharing.MLP(10, widths=(32, 32)), both, shared_stages=1)))
    HardSharing, 2 tasks: rain, degrees
    ----------------------------------------------------
    part              used by        parameters  percent
    ----------------------------------------------------
    shared            rain, degrees         352     13.9
    branches.rain     rain                1,056     41.8
    branches.degrees  degrees             1,056     41.8
    heads.rain        rain                   33      1.3
    heads.degrees     degrees                33      1.3
    ----------------------------------------------------
    total                                 2,530    100.0
    Separate networks would have 2,882 parameters: sharing saves 12 %.
    """
    if not isinstance(model, MultiTaskModel):
        raise PolytaskError(
            f"{type(model).__name__} does not say what it shares: expected a sharing.MultiTaskModel "
            "(subclass it and write used_by)"
        )
    apart = model.kept_apart()
    users = {name: (tasks, name in apart) for name, tasks in model.shared_by().items()}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return Description(
        model=type(model).__name__,
        tasks=tuple(task.name for task in model.tasks),
        parts=tuple(_below("", model, users, sizes)),
        parameters=sum(sizes.values()),
        separate=model.separate_parameters(),
        members={task.name: len(task.member_names) for task in model.tasks if task.member_names},
    )


def _below(prefix: str, module: nn.Module, users: _Users, sizes: dict[str, int]) -> Iterator[Part]:
    """The module's own parameters, then each of its children: one part if the same tasks use all of it."""
    for name in (f"{prefix}{each}" for each in module._parameters):
        if name in sizes:
            tasks, apart = users[name]
            yield Part(readable(name), tasks, sizes[name], apart)
    for name, child in ((f"{prefix}{each}", child) for each, child in module.named_children()):
        inside = [each for each in sizes if each.startswith(f"{name}.")]
        groups = {users[each] for each in inside}
        if len(groups) > 1:
            yield from _below(f"{name}.", child, users, sizes)
        elif inside:
            tasks, apart = groups.pop()
            yield Part(readable(name), tasks, sum(sizes[each] for each in inside), apart)
