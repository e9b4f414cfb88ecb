"""One network per task."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone
from polytask.sharing.heads import Decoder
from polytask.sharing.model import MultiTaskModel
from polytask.sharing.trunks._networks import Network
from polytask.tasks import Task


class Independent(MultiTaskModel):
    """One network per task, nothing shared: the single-task baseline, trained together or apart.

    Args:
        backbone: makes a fresh backbone at each call; every task gets its own.
        tasks: what to predict; `Task.head` gives the heads.
        decoder: for tasks whose predictions are maps; by default what suits the backbone (`FPN`, or `LastMap`).

    Initial weights are drawn from torch's global generator, task by task: backbone, then head.

    Cost: as many backbones as tasks.

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> model = sharing.Independent(sharing.MLP(4), [tasks.Binary("a"), tasks.MultiClass("b", 3)])
    >>> {name: tuple(each.shape) for name, each in model(torch.zeros(2, 4)).items()}
    {'a': (2, 1), 'b': (2, 3)}
    """

    def __init__(self, backbone: Callable[[], Backbone], tasks: Sequence[Task], decoder: Decoder | None = None) -> None:
        super().__init__(tasks)
        self.networks = PerTask({task.name: Network(backbone, task, decoder) for task in self.tasks})

    def forward_with_features(self, inputs: Any, tasks: Iterable[str] | None = None) -> tuple[dict[str, Tensor], None]:
        return {name: self.networks.of(name)(inputs) for name in self.asked(tasks)}, None

    def used_by(self, task: str) -> list[nn.Module]:
        return [self.networks.of(task)]
