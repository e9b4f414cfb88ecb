"""One network per member of a task that stands for many, computed together."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone
from polytask.sharing.heads import Decoder
from polytask.sharing.model import MultiTaskModel
from polytask.sharing.trunks._member_networks import member_networks
from polytask.sharing.trunks._networks import Network
from polytask.tasks import Many, Task


class Separate(MultiTaskModel):
    """A network of its own for every task, and for every member of a task that stands for many (`tasks.Many`).

    Nothing is shared: the single-task baseline of the members. Their k networks of P parameters are one set of tensors
    [k, ...], and a step computes the networks of the members that are in the batch, several at a time: members with
    about as many rows in it (up to twice as many) go together.

    Args:
        backbone: makes a fresh backbone at each call; every member gets its own.
        tasks: what to predict; a task without members has a network as in `Independent`.
        decoder: for tasks whose predictions are maps; by default what suits the backbone.

    Raises:
        PolytaskError: more than 268 million parameters.

    Networks with running statistics (batch normalisation) can't be computed together; they are computed one by one.
    One optimizer learns all of them, at one rate. With momentum, or Adam, the network of a member moves on in steps
    whose batch holds none of its rows, as far as its last gradients say.

    Cost: where a row belongs to one member, up to twice the passes of a network for all, and k times its parameters,
    optimizer state and steps of the optimizer. Where all members have every row, k passes.

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> exam = tasks.ManyRegression("exam", 100, "school")
    >>> model = sharing.Separate(sharing.MLP(sharing.TableInputs(3), widths=(8,)), [exam])
    >>> rows = {"numbers": torch.ones(2, 3), "categories": torch.zeros(2, 0), "school": torch.tensor([0, 99])}
    >>> tuple(model(rows)["exam"].shape), sum(each.numel() for each in model.parameters())  # 100 (3 8 + 8 + 8 + 1)
    ((2, 1), 4100)
    """

    def __init__(self, backbone: Callable[[], Backbone], tasks: Sequence[Task], decoder: Decoder | None = None) -> None:
        super().__init__(tasks)

        def own(task: Task) -> nn.Module:
            return member_networks(backbone, task) if isinstance(task, Many) else Network(backbone, task, decoder)

        self.networks = PerTask({task.name: own(task) for task in self.tasks})

    def forward_with_features(self, inputs: Any, tasks: Iterable[str] | None = None) -> tuple[dict[str, Tensor], None]:
        return {name: self.networks.of(name)(inputs) for name in self.asked(tasks)}, None

    def used_by(self, task: str) -> list[nn.Module]:
        return [self.networks.of(task)]
