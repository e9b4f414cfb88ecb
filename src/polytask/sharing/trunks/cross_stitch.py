"""Networks whose features are mixed, stage by stage, with weights that are learned."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone
from polytask.sharing.heads import Decoder
from polytask.sharing.trunks._mixing import mixed
from polytask.sharing.trunks._networks import Meet, Meeting, Unit, check_rate, with_rate
from polytask.tasks import Task


class CrossStitch(Meeting):
    r"""A network per task; after each stage every network goes on with a learned combination of all tasks' features.

    x~_t = sum_u a_tu x_u, with the outputs x_u of all networks after the same stage and numbers a_tu, at the start

        a_tt = same,    a_tu = (1 - same) / (T - 1) for u != t,

    so that every row sums to 1; nothing holds it there later. Backwards, dL/dx_u = sum_t a_tu dL/dx~_t, and dL/da_tu is
    the inner product of dL/dx~_t with x_u over samples and positions (and channels).

    Args:
        backbone: makes a fresh backbone at each call; every task gets its own.
        tasks: what to predict, at least two; `Task.head` gives the heads.
        decoder: for tasks whose predictions are maps; by default what suits the backbone (`FPN`, or `LastMap`).
        stages: after which to mix, 0 (the lowest) to S - 1; after all when left out, the last one included, as in the
            paper. Leave the last one out, and every head reads what its own network made of the mixture below.
        per_channel: every channel has weights of its own, as in the paper's study of the units, on segmentation with
            normals (section 5). Without, one number per stage and pair of tasks, as in its detection with attributes,
            where units per channel were unstable (section 6).
        same: of a task's own features at the start, 0 to 1; .9 was the best of those tried (table 1).
        rate: the learning rate of the weights a, as a multiple of the network's. The paper found 100 to 1,000 best,
            and more to diverge, with stochastic gradient descent, whose steps are too short for numbers of this size
            (table 2). Methods such as Adam move every number by about the learning rate, whatever its gradient; there
            less may do as well.

    Raises:
        PolytaskError: one task alone, no such stage, `same` out of range, or a backbone that can't stop between its
            stages.

    Source: Misra, Shrivastava, Gupta, Hebert 2016, Cross-stitch Networks for Multi-task Learning: equations 1 to 3,
    sections 4 and 5. Equation 3 calls a_AB what equation 1 calls a_BA; here it is as in equation 1. The paper mixes
    after pooling and fully connected layers; a stage is what comes nearest. It has two tasks; for T the
    different-task share is cut in equal parts.

    The paper starts from trained single-task networks, which was better than starting from ImageNet (section 5.3):
    `sharing.start_from`. The weights a have no weight decay, which would draw every row below a sum of 1.

    Cost: as many backbones as tasks, whichever tasks are asked for. Mixing reads T features and writes one, for every
    task and stage. `benchmarks/architectures.py` compares its steps with those of independent networks.

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("a"), tasks.MultiClass("b", 3)]
    >>> model = sharing.CrossStitch(sharing.MLP(4, widths=(8, 8)), both)
    >>> {name: tuple(each.shape) for name, each in model(torch.zeros(2, 4)).items()}
    {'a': (2, 1), 'b': (2, 3)}
    >>> model.inside()["stage 2"]
    {'a from a': 0.9, 'a from b': 0.1, 'b from a': 0.1, 'b from b': 0.9}
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        tasks: Sequence[Task],
        decoder: Decoder | None = None,
        *,
        stages: Sequence[int] | None = None,
        per_channel: bool = True,
        same: float = 0.9,
        rate: float = 100.0,
    ) -> None:
        super().__init__(backbone, tasks, stages, decoder)
        if not 0 <= same <= 1:
            raise PolytaskError(f"same must be from 0 to 1, for a combination with weights that sum to 1; got {same}")
        check_rate(rate)
        self.rate = rate
        widths = {stage: self.walk_widths[stage] if per_channel else None for stage in self.stages}
        self.units.update({str(stage): self._fresh(same, width) for stage, width in widths.items()})

    def _fresh(self, same: float, width: int | None) -> PerTask:
        different = (1 - same) / (len(self.tasks) - 1)
        rows = torch.full((len(self.tasks),) * 2, different).fill_diagonal_(same)
        return PerTask({name: _Row(row, width) for name, row in zip(self.names, rows, strict=True)})

    def _meeting(self) -> Meet:
        return self._mix

    def _mix(self, stage: int, outputs: Mapping[str, Tensor], wanted: Sequence[str]) -> dict[str, Tensor]:
        units = self._units(stage)
        weights = [units.of(name)() for name in wanted]
        return dict(zip(wanted, mixed(weights, list(outputs.values())), strict=True))

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The weights a have their own learning rate, and no weight decay."""
        return with_rate(self, [self.units], learning_rate * self.rate, weight_decay=0.0)


class _Row(Unit):
    """The weights of one task's mixture after one stage: [T], or [T, c]."""

    def __init__(self, start: Tensor, width: int | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(start.clone() if width is None else start[:, None].repeat(1, width))

    def forward(self) -> Tensor:
        """As `mix` reads them."""
        return self.weight[None, :, None]

    def shares(self) -> list[float]:
        """The mean of the weights over channels, for each task."""
        return self.weight.detach().reshape(len(self.weight), -1).mean(1).tolist()
