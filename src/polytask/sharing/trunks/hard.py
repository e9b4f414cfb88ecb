"""One trunk for all tasks, up to a stage."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone, State, build, check_stage
from polytask.sharing.heads import Decoder, apply_head, make_head, pool, predict, reads
from polytask.sharing.model import MultiTaskModel
from polytask.sharing.stacked import StackedHeads, why_not
from polytask.tasks import Task

STACK_FROM = 8
"""Tasks from which on equal linear heads are stacked by default: with fewer there is little to gain."""


class HardSharing(MultiTaskModel):
    """The first stages of the backbone are shared by all tasks, each task has the stages above and a head of
    its own.

    prediction_t = head_t(pool(upper_t(lower(x)))) with one `lower` of `shared_stages` stages; for a task whose
    predictions are maps, head_t reads the maps of the stages in place of the pooled feature.

    Args:
        backbone: makes a fresh backbone at each call; called once when all stages are shared, else once per
            task.
        tasks: what to predict; `Task.head` gives the heads.
        shared_stages: how many stages to share, s = 0 (independent networks) to S (one trunk, when left out).
        decoder: for tasks whose predictions are maps; by default what suits the backbone (`FPN`, or `LastMap`).
        stacked: compute all heads as one matrix product (`StackedHeads`: the same weights under the same names, the
            same predictions up to rounding). By default where all stages are shared, all heads are linear layers of one
            shape, and there are at least eight.

    Raises:
        PolytaskError: `shared_stages` is out of range, no task, two tasks of one name, not a backbone, or heads to
            stack that can't be.

    Source: Caruana 1997, Multitask Learning (s = S); Misra et al. 2016, Cross-stitch Networks (study of s).
    Initial weights are drawn from torch's global generator: s = 0 starts with the weights of `Independent`.

    Cost of a step: one pass through `lower`, and one per task through the stages above.

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("a"), tasks.MultiClass("b", 3)]
    >>> model = sharing.HardSharing(sharing.MLP(4, widths=(8, 8)), both, shared_stages=1)
    >>> {name: tuple(each.shape) for name, each in model(torch.zeros(2, 4)).items()}
    {'a': (2, 1), 'b': (2, 3)}
    >>> sorted(name for name, users in model.shared_by().items() if len(users) == 2)
    ['shared.stages.0.linear.bias', 'shared.stages.0.linear.weight']
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        tasks: Sequence[Task],
        shared_stages: int | None = None,
        decoder: Decoder | None = None,
        stacked: bool | None = None,
    ) -> None:
        super().__init__(tasks)

        def fresh(*of: Task) -> Backbone:
            return build(backbone, lambda made: reads(made, of, decoder))

        whole = fresh(*(self.tasks if shared_stages != 0 else self.tasks[:1]))
        stages = len(whole.widths)
        self.shared_stages = stages if shared_stages is None else shared_stages
        check_stage(self.shared_stages, stages, "shared_stages")
        branches: dict[str, nn.Module] = {}
        heads: dict[str, nn.Module] = {}
        self.reads = {task.name: reads(whole, [task], decoder) for task in self.tasks}
        self.shared: nn.Module = whole
        if self.shared_stages == stages:
            heads = {task.name: make_head(task, whole, decoder) for task in self.tasks}
        else:
            self.shared, _ = whole.split(self.shared_stages)
            for task in self.tasks:
                own = whole if whole.kept == self.reads[task.name] and not branches else fresh(task)
                branches[task.name] = own.split(self.shared_stages)[1]
                heads[task.name] = make_head(task, own, decoder)
        self.branches = PerTask(branches)
        self.heads = self._joined(heads, stacked)

    def _joined(self, heads: Mapping[str, nn.Module], stacked: bool | None) -> PerTask:
        if stacked and self.branches:
            raise PolytaskError(
                "heads are stacked where they read the same feature: share all stages (leave shared_stages out), or "
                "leave stacked out"
            )
        if stacked is None:
            stacked = not self.branches and len(heads) >= STACK_FROM and why_not(heads) is None
        return StackedHeads(heads) if stacked else PerTask(heads)

    def forward_with_features(
        self, inputs: Any, tasks: Iterable[str] | None = None
    ) -> tuple[dict[str, Tensor], Tensor | list[Tensor] | None]:
        asked = self.asked(tasks)
        if self.branches:
            state = self.shared(inputs)
            cut = _views(state.cut)
            features = {name: self.branches.of(name)(State(cut, state.rest)) for name in asked}
            return {name: predict(self.heads.of(name), features[name], inputs) for name in asked}, _one(cut)
        if not any(task.dense for task in self.tasks):  # pooled once for all heads
            feature = pool(self.shared(inputs)[-1])
            if isinstance(self.heads, StackedHeads):
                return self.heads(feature, asked), feature
            return {name: apply_head(self.heads.of(name), feature, inputs) for name in asked}, feature
        cut = _views(self.shared(inputs))
        read = sorted({stage for name in asked for stage in self.reads[name]})
        return {name: predict(self.heads.of(name), cut, inputs) for name in asked}, _one([cut[k] for k in read])

    def used_by(self, task: str) -> list[nn.Module]:
        if isinstance(self.shared, Backbone):
            return [*self.shared.used_for(self.reads[task]), self.heads.of(task)]
        return [self.shared, self.branches.of(task), self.heads.of(task)]


def _views(features: Iterable[Tensor]) -> list[Tensor]:
    """As views, no tensor of the cut lies above another one: each has the gradient from above the cut alone."""
    return [feature.view_as(feature) for feature in features]


def _one(cut: list[Tensor]) -> Tensor | list[Tensor] | None:
    return cut[0] if len(cut) == 1 else cut or None
