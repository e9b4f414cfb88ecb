"""Networks whose features are concatenated, stage by stage, and reduced again to each network's own number."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone
from polytask.sharing.heads import Decoder, resize
from polytask.sharing.trunks._mixing import axis
from polytask.sharing.trunks._networks import Meet, Meeting, Unit, check_rate, with_rate
from polytask.tasks import Task


class NDDR(Meeting):
    r"""A network per task; after each stage every network goes on with a reduction of all tasks' channels.

    x~_t = relu(norm(W_t [x_1; ...; x_T])), with the features of all networks after the same stage concatenated along
    their c channels and a 1 x 1 convolution W_t [c, T c] per task (a linear layer, for tokens and vectors), at the
    start

        W_t = [beta I / (T - 1), ..., alpha I, ..., beta I / (T - 1)],    alpha at the place of task t.

    With `shortcut` the reductions of all stages meet once more: those of one network are resized to its last one
    (bilinear) and concatenated, and relu(norm(V_t [x~_t1; ...; x~_tK])), with as many channels as the last one has,
    goes on in its place.

    Args:
        backbone: makes a fresh backbone at each call; every task gets its own.
        tasks: what to predict, at least two; `Task.head` gives the heads.
        decoder: for tasks whose predictions are maps; by default what suits the backbone (`FPN`, or `LastMap`).
        stages: after which to fuse, 0 (the lowest) to S - 1; after all when left out, as in the paper.
        alpha, beta: at the start, of a task's own channels and of the others', which share beta. .9 and .1 are
            published.
        shortcut: the multi-scale version, NDDR-CNN-Shortcut.
        norm, relu: leave them in, as published, where stages end in a ReLU. Leave them out where features are negative
            as often as not, as the tokens of transformers: half of what trained networks have learned would go.
        rate: the learning rate of W and V, as a multiple of the network's. 100 in the authors' code, with stochastic
            gradient descent.

    Raises:
        PolytaskError: one task alone, no such stage, or a backbone that can't stop between its stages; later: a
            shortcut between tokens of different numbers.

    Source: Gao, Ma, Zhao, Liu, Yuille 2019, NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by Neural
    Discriminative Dimensionality Reduction; details are those of the authors' code: no bias, batch normalisation with
    a learned scale, then ReLU, V drawn by Glorot and Bengio's rule and joined to the output of the last fused stage,
    V and W at the higher rate. Weight decay is part of the method: it bounds the length of W. There the loss has
    0.00025 / 2 of the squared weights; set it in the optimizer, which treats W and V as all weights. Two tasks there;
    for T the share beta is cut in equal parts.

    The authors start from trained single-task networks: `sharing.start_from`.

    Cost: as many backbones as tasks, whichever tasks are asked for; per stage T^2 c^2 multiply-adds for each position,
    all tasks together.

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("a"), tasks.MultiClass("b", 3)]
    >>> model = sharing.NDDR(sharing.MLP(4, widths=(8, 8)), both)
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
        alpha: float = 0.9,
        beta: float = 0.1,
        shortcut: bool = False,
        norm: bool = True,
        relu: bool = True,
        rate: float = 100.0,
    ) -> None:
        super().__init__(backbone, tasks, stages, decoder)
        check_rate(rate)
        self.rate = rate
        count = len(self.tasks)

        def reduction(own: int, width: int) -> _Reduction:
            shares = [alpha if k == own else beta / (count - 1) for k in range(count)]
            return _Reduction(torch.cat([share * torch.eye(width) for share in shares], 1), norm, relu)

        def fresh(width: int) -> PerTask:
            return PerTask({name: reduction(own, width) for own, name in enumerate(self.names)})

        self.units.update({str(stage): fresh(self.walk_widths[stage]) for stage in self.stages})
        widths = [self.walk_widths[stage] for stage in self.stages]
        last, total = widths[-1], sum(widths)
        self.shortcuts = PerTask(
            {
                name: _Reduction(nn.init.xavier_uniform_(torch.empty(last, total)), norm, relu)
                for name in (self.names if shortcut else [])
            }
        )

    def _meeting(self) -> Meet:
        return partial(self._fuse, {name: [] for name in self.names})

    def _fuse(
        self, below: dict[str, list[Tensor]], stage: int, outputs: Mapping[str, Tensor], wanted: Sequence[str]
    ) -> dict[str, Tensor]:
        units, joined = self._units(stage), concatenated(list(outputs.values()))
        reduced = {name: units.of(name)(joined) for name in wanted}
        if not self.shortcuts:
            return reduced
        for name, each in reduced.items():
            below[name].append(each)
        if stage < self.stages[-1]:
            return reduced
        return {name: self.shortcuts.of(name)(concatenated(_resized(below[name]))) for name in wanted}

    def used_by(self, task: str) -> list[nn.Module]:
        return [*super().used_by(task), *([self.shortcuts.of(task)] if self.shortcuts else [])]

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The reductions have their own learning rate."""
        return with_rate(self, [self.units, self.shortcuts], learning_rate * self.rate)


class _Reduction(Unit):
    """relu(norm(W x)) over the channels of maps, tokens or vectors."""

    def __init__(self, start: Tensor, norm: bool, relu: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(start)
        self.norm = _Norm(len(start)) if norm else None
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        reduced = F.conv2d(x, self.weight[:, :, None, None]) if x.ndim == 4 else F.linear(x, self.weight)
        if self.norm is not None:
            reduced = self.norm(reduced.movedim(axis(x), 1)).movedim(1, axis(x))
        return F.relu(reduced) if self.relu else reduced

    def shares(self) -> list[float]:
        """The root mean square over channels of the length of their weights, for the channels of each task."""
        width, total = self.weight.shape
        return [each.square().sum(1).mean().sqrt().item() for each in self.weight.detach().chunk(total // width, 1)]


class _Norm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of whatever has its channels on axis 1."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass


def concatenated(features: Sequence[Tensor]) -> Tensor:
    """Along their channels."""
    return torch.cat(list(features), axis(features[0]))


def _resized(features: Sequence[Tensor]) -> list[Tensor]:
    """In the size of the last one."""
    last = features[-1]
    if last.ndim == 4:
        return [resize(each, last.shape[-2:]) for each in features]
    if last.ndim == 3 and len({each.shape[1] for each in features}) > 1:
        raise PolytaskError(
            "a shortcut joins the stages of a network at every position, and these have "
            f"{[each.shape[1] for each in features]} tokens; leave shortcut out, or give stages of equally many"
        )
    return list(features)
