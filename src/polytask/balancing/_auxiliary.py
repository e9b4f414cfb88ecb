"""Which tasks are auxiliary: what balancers that treat them otherwise than the main tasks have in common."""

from collections.abc import Sequence

import torch
from torch import Tensor

from polytask.balancing._by_name import check_names
from polytask.balancing.balancer import Remembering
from polytask.errors import PolytaskError
from polytask.tasks import Task


class ForAuxiliaries(Remembering):
    """A balancer that does something to auxiliary tasks only; a base to put before the kind.

    Without names given, the auxiliary tasks are those that `bind` finds marked so (`Task.auxiliary`).
    """

    auxiliary: Sequence[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.auxiliary, str):
            raise PolytaskError(f"give a list of auxiliary tasks, [{self.auxiliary!r}], not one string")
        self.helpers = tuple(self.auxiliary)

    def bind(self, tasks: Sequence[Task]) -> None:
        check_names("place among the auxiliary tasks", self.auxiliary, [task.name for task in tasks])
        if not self.auxiliary:
            self.helpers = tuple(task.name for task in tasks if task.auxiliary)

    @property
    def lacks(self) -> str:
        """An auxiliary task, where there is none."""
        if self.helpers:
            return ""
        method = type(self).__name__
        return (
            "an auxiliary task: without one it is the plain sum of the losses; mark a task (auxiliary=True), or name "
            f"it, as in {method}(auxiliary=['name'])"
        )

    def are_main(self, size: int, tasks: Sequence[str]) -> Tensor:
        """For every task of a step whether it is a main one, booleans [t]; without auxiliary tasks names may be left
        out."""
        if not self.helpers:
            return torch.ones(size, dtype=torch.bool)
        if len(tasks) != size:
            raise PolytaskError(
                f"{type(self).__name__} knows its auxiliary tasks ({', '.join(self.helpers)}) by name: give the names "
                f"of all {size} tasks, got {list(tasks)}"
            )
        return torch.tensor([name not in self.helpers for name in tasks], dtype=torch.bool)
