"""One network, and a few parameters per task that adapt its layers."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone, build
from polytask.sharing.heads import Decoder, make_head, predict, reads
from polytask.sharing.model import MultiTaskModel
from polytask.sharing.trunks._adapting import Adapter, LoRA
from polytask.sharing.trunks._places import Places, features_for
from polytask.tasks import Task


class Adapters(MultiTaskModel):
    r"""One network for all tasks, adapted for each by a few parameters of its own, and a head per task.

    prediction_t = head_t(trunk(x; shared weights, adapters of t)). What adapters are is a recipe: `LoRA`, `Bottleneck`.

    Args:
        backbone: makes a fresh backbone; called once. Give one that comes trained to adapt a trained network.
        tasks: what to predict; `Task.head` gives the heads.
        by: the adapters.
        frozen: the shared weights stay as they are, and only adapters, norms of the tasks and heads learn. As published
            for trained networks; by default the network is trained with them, since a fresh backbone knows nothing.
            (A shared batch normalisation keeps its statistics going all the same.)
        decoder: for tasks whose predictions are maps; by default what suits the backbone (`FPN`, or `LastMap`).

    Raises:
        PolytaskError: no task, two of one name, not a backbone, or layers that are not there.

    Source: of the recipes; see there.

    Cost of a step: one pass of the trunk per task asked for. With a frozen network the weights need no gradient, but
    activations are kept and gradients pass through all the same.

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("a"), tasks.MultiClass("b", 3)]
    >>> model = sharing.Adapters(sharing.MLP(10, widths=(64, 64)), both, by=sharing.LoRA(rank=2))
    >>> {name: tuple(each.shape) for name, each in model(torch.zeros(2, 10)).items()}
    {'a': (2, 1), 'b': (2, 3)}
    >>> print(sharing.describe(model))
    Adapters, 2 tasks: a, b
    -------------------------------------
    part     used by  parameters  percent
    -------------------------------------
    trunk    a, b          4,864     82.0
    own.a    a               404      6.8
    own.b    b               404      6.8
    heads.a  a                65      1.1
    heads.b  b               195      3.3
    -------------------------------------
    total                  5,932    100.0
    Separate networks would have 10,796 parameters: sharing saves 45 %.
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        tasks: Sequence[Task],
        by: Adapter | None = None,
        frozen: bool = False,
        decoder: Decoder | None = None,
    ) -> None:
        super().__init__(tasks)
        by = LoRA() if by is None else by
        if not isinstance(by, Adapter):
            raise PolytaskError(f"expected a recipe such as sharing.LoRA(rank=8) or sharing.Bottleneck(), got {by!r}")
        self.trunk = build(backbone, lambda fresh: reads(fresh, self.tasks, decoder))
        places = Places(self.trunk, self.tasks, decoder)
        by.put(places)
        self.reads, self._now, self._behind_stages = places.reads, places.now, places.behind_stages
        self.own = places.own()
        self.heads = PerTask({task.name: make_head(task, self.trunk, decoder) for task in self.tasks})
        if frozen:
            self.trunk.requires_grad_(False)

    def forward_with_features(self, inputs: Any, tasks: Iterable[str] | None = None) -> tuple[dict[str, Tensor], None]:
        return {name: self._pass(name, inputs) for name in self.asked(tasks)}, None

    def _pass(self, name: str, inputs: Any) -> Tensor:
        """The prediction of one task, alone in the network."""
        own = self.own.of(name)
        with self._now.of(own):
            return predict(self.heads.of(name), features_for(own, self.trunk, inputs, self._behind_stages), inputs)

    def used_by(self, task: str) -> list[nn.Module]:
        return [*self.trunk.used_for(self.reads[task]), self.own.of(task), self.heads.of(task)]
