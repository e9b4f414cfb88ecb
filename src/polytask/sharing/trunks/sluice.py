"""Networks that share parts of their layers, and choose which layers to read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.penalties import orthogonality
from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone
from polytask.sharing.heads import Decoder, pool, predict, resize
from polytask.sharing.trunks._kept import Kept
from polytask.sharing.trunks._mixing import mixed
from polytask.sharing.trunks._networks import Meet, Meeting, Unit, with_rate
from polytask.tasks import Task


class Sluice(Meeting):
    r"""A network per task in which parts of layers are mixed between tasks, and all layers are mixed for the head.

    The outputs x_u of all networks after the same stage are cut along their channels into S subspaces x_u1, ..., x_uS.
    Part i of what network t goes on with is

        x~_ti = sum_{u, j} alpha_t[i, u, j] x_uj.

    The head of task t reads, in place of the last feature, a mixture of the features f_1, ..., f_K of all stages,

        sum_k beta_tk P_tk f_tk,

    and the penalty keeps the subspaces of a stage apart, with X_uj [b, c / S] the subspaces pooled over positions:

        penalty = strength * sum over tasks u, stages and pairs i < j of ||X_ui' X_uj||_F^2 / (b c / S)^2,

    a mean over pairs of channels, so that one strength suits stages of all widths.

    Args:
        backbone: makes a fresh backbone at each call; every task gets its own.
        tasks: what to predict, at least two; `Task.head` gives the heads.
        decoder: for tasks whose predictions are maps; by default what suits the backbone (`FPN`, or `LastMap`).
        stages: after which to mix, 0 (the lowest) to K - 1; after all when left out, as in the paper.
        subspaces: S; the channels of those stages must be divisible by it. 2 in the paper; with 1 alpha mixes as in
            `CrossStitch`, and there is no penalty.
        start: of alpha. "own": .9 of the own subspace, and .1 shared by all others, as in the authors' code for one
            subspace. "one_source": .95 of one subspace of every task, the same one for all parts of t, and .05 of the
            others, as there for two; rows then sum to T, and all parts of a task begin alike. "balanced": 1 / (T S)
            everywhere, what the authors' script does unless told otherwise; there all tasks begin alike.
        strength: of the penalty, 0 or more; .1 as in the authors' example, where it weighs a sum over LSTM weights.
        rate: the learning rate of alpha and beta, as a multiple of the network's. 1, as in the authors' code.

    Raises:
        PolytaskError: one task alone, no such stage or start, channels that can't be cut so, or a backbone that can't
            stop between its stages.

    Source: Ruder, Bingel, Augenstein, Soegaard 2019, Latent Multi-task Architecture Learning (2017: Sluice networks:
    Learning what to share between loosely related tasks); details are those of the authors' code: beta starts with .9
    for the last stage and .1 shared by the others, and nothing normalises alpha or beta. What differs, since the
    paper is about LSTM layers of one width, and two tasks:

    - Stages have widths and sizes of their own. P_tk is 1 where f_k is as wide as the last feature, else a learned
      linear map of its channels. For a task with one output per sample the features are pooled first; for maps they
      are resized to the last one, bilinear. A decoder that reads lower stages too reads these as they are.
    - The penalty is on activations: a stage of any network has no one matrix whose rows are its channels, as the LSTM
      layers have whose weights are held orthogonal there.
    - A subspace is a block of neighbouring channels. The authors' code deals units out one by one, in a cycle over
      tasks and subspaces, so that a part holds units of all of them.

    Cost: as many backbones as tasks, whichever tasks are asked for; mixing reads S T features and writes one, for every
    task and stage. `training.fit` takes the gradient of the penalty apart: one more backward pass; strength 0 saves it.

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("a"), tasks.MultiClass("b", 3)]
    >>> model = sharing.Sluice(sharing.MLP(4, widths=(8, 8)), both)
    >>> {name: tuple(each.shape) for name, each in model(torch.zeros(2, 4)).items()}
    {'a': (2, 1), 'b': (2, 3)}
    >>> model.inside()["layers of b"]
    {'stage 1': 0.1, 'stage 2': 0.9}
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        tasks: Sequence[Task],
        decoder: Decoder | None = None,
        *,
        stages: Sequence[int] | None = None,
        subspaces: int = 2,
        start: str = "own",
        strength: float = 0.1,
        rate: float = 1.0,
    ) -> None:
        super().__init__(backbone, tasks, stages, decoder, all_stages=True)
        self.subspaces, self.strength, self.rate = subspaces, strength, rate
        self._check(start)
        alphas = STARTS[start](len(self.tasks), subspaces)
        for stage in self.stages:
            rows = zip(self.names, alphas, strict=True)
            self.units[str(stage)] = PerTask({name: _Alpha(alpha.clone()) for name, alpha in rows})
        widths = self.network(self.names[0]).backbone.widths
        self.layers = PerTask({task.name: _Layers(widths, task.dense) for task in self.tasks})
        self._last = Kept()

    def _check(self, start: str) -> None:
        if start not in STARTS:
            raise PolytaskError(f"there is no start '{start}'; {did_you_mean(start, STARTS)}")
        if not 0 <= self.strength < float("inf"):
            raise PolytaskError(f"strength must be 0 (no penalty) or more, got {self.strength}")
        widths = [self.walk_widths[stage] for stage in self.stages]
        if not isinstance(self.subspaces, int) or self.subspaces < 1 or any(each % self.subspaces for each in widths):
            raise PolytaskError(
                f"the channels of a stage are cut into equal subspaces, and {widths} channels can't be cut into "
                f"{self.subspaces}; take a divisor of all of them, 1 for none, or leave stages out (stages=...)"
            )

    def _layers(self, task: str) -> "_Layers":
        found = self.layers.of(task)
        assert isinstance(found, _Layers)
        return found

    def _meeting(self) -> Meet:
        self._last.begin()
        return self._mix

    def _mix(self, stage: int, outputs: Mapping[str, Tensor], wanted: Sequence[str]) -> dict[str, Tensor]:
        features = list(outputs.values())
        if self.training and self.strength and self.subspaces > 1:
            self._last.keep([part for each in features for part in pool(each).chunk(self.subspaces, 1)])
        alphas = [self._units(stage).of(name)() for name in wanted]
        return dict(zip(wanted, mixed(alphas, features), strict=True))

    def forward_with_features(self, inputs: Any, tasks: Iterable[str] | None = None) -> tuple[dict[str, Tensor], None]:
        asked = self.asked(tasks)
        found = self._features(inputs, asked)
        read = {name: [*found[name][:-1], self.layers.of(name)(found[name])] for name in asked}
        return {name: predict(self.network(name).head, read[name], inputs) for name in asked}, None

    def used_by(self, task: str) -> list[nn.Module]:
        return [*super().used_by(task), self.layers.of(task)]

    def penalty(self, losses: Mapping[str, Tensor]) -> Tensor | None:
        """How far the subspaces of the last training pass are from orthogonal, times the strength; None where there is
        but one."""
        terms = []
        for parts in self._last.groups:
            for k in range(0, len(parts), self.subspaces):
                for one, other in combinations(parts[k : k + self.subspaces], 2):
                    terms.append(orthogonality(one.float(), other.float()) / one.numel() ** 2)
        return self.strength * torch.stack(terms).sum() if terms else None

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Alpha and beta have no weight decay, and their own learning rate."""
        learned = [self.units, *(self._layers(name).beta for name in self.names)]
        return with_rate(self, learned, learning_rate * self.rate, weight_decay=0.0)

    def inside(self) -> dict[str, dict[str, float]]:
        """Alpha, summed over the subspaces that a part is made of and its mean over parts; beta."""
        betas = {f"layers of {name}": self._layers(name).weights() for name in self.names}
        return super().inside() | betas


class _Alpha(Unit):
    """The weights of one task's mixture after one stage, [S, T, S]."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(start)

    def forward(self) -> Tensor:
        return self.weight

    def shares(self) -> list[float]:
        """For each task."""
        return self.weight.detach().sum(2).mean(0).tolist()


class _Beta(nn.Module):
    """The weights of a task's layers, [K]."""

    def __init__(self, count: int) -> None:
        super().__init__()
        start = torch.full((count,), 0.1 / max(count - 1, 1))
        start[-1] = 0.9 if count > 1 else 1.0
        self.weight = nn.Parameter(start)


class _Layers(nn.Module):
    """What a task's head reads in place of the last feature."""

    def __init__(self, widths: Sequence[int], dense: bool) -> None:
        super().__init__()
        self.dense = dense
        self.beta = _Beta(len(widths))
        self.projections = nn.ModuleList(
            nn.Identity() if width == widths[-1] else _Projection(width, widths[-1]) for width in widths
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        last = features[-1]
        if self.dense and last.ndim != 4:
            return last  # the head says what it needs
        total: Tensor | None = None
        for weight, project, feature in zip(self.beta.weight, self.projections, features, strict=True):
            layer = _fitted(project, feature, last) if self.dense else project(pool(feature))
            total = layer * weight if total is None else total + layer * weight
        assert total is not None
        return total

    def weights(self) -> dict[str, float]:
        """Beta by stage."""
        return {f"stage {k + 1}": round(each, 6) for k, each in enumerate(self.beta.weight.tolist())}


def _fitted(project: nn.Module, feature: Tensor, last: Tensor) -> Tensor:
    """A map projected and in the size of the last one: either order gives the same, the cheaper one is taken."""
    size = last.shape[-2:]
    if feature.shape[-2:].numel() > size.numel():
        return project(resize(feature, size))
    return resize(project(feature), size)


class _Projection(nn.Module):
    """A linear map of channels, without a bias; as a layer of this size starts in torch."""

    def __init__(self, below: int, above: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Linear(below, above, bias=False).weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight[:, :, None, None]) if x.ndim == 4 else F.linear(x, self.weight)


def _own(tasks: int, subspaces: int) -> Tensor:
    count = tasks * subspaces
    rows = torch.full((count, count), 0.1 / (count - 1)).fill_diagonal_(0.9)
    return rows.view(tasks, subspaces, tasks, subspaces)


def _one_source(tasks: int, subspaces: int) -> Tensor:
    alphas = torch.full((tasks, subspaces, tasks, subspaces), 0.05)
    for t in range(tasks):
        alphas[t, :, :, (t + 1) % subspaces] = 0.95
    return alphas


def _balanced(tasks: int, subspaces: int) -> Tensor:
    return torch.full((tasks, subspaces, tasks, subspaces), 1 / (tasks * subspaces))


STARTS: Mapping[str, Callable[[int, int], Tensor]] = MappingProxyType(
    {"own": _own, "one_source": _one_source, "balanced": _balanced}
)
"""From T and S to alpha [T, S, T, S]."""
