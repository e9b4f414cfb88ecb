"""A cascade of tasks: each one's head reads what the heads before it said."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing._maps import TaskFeature, layer, need_two, scores, together
from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone, build
from polytask.sharing.heads import Decoder, image_size, pool, reads, resize
from polytask.sharing.model import MultiTaskModel
from polytask.tasks import Task


class Cascade(MultiTaskModel):
    r"""One trunk, and heads in a row: each reads the trunk and the predictions of all tasks before it.

    With h_k(x) the feature of task k on the shared trunk (its decoder's map, or the pooled last feature), k = 1, 2, ...
    in the order of the cascade:

        e_1 = h_1(x)
        e_k = relu(norm(J_k * concat(h_k(x), s_1, ..., s_{k-1})))    k > 1; J_k 3 x 3 and as wide as h_k
        y_k = W_k e_k                                                the task's own head
        s_k = y_k, or e_k with `features`; without gradient unless `differentiable`

    Vectors are maps of one position: a task with maps reads an earlier vector at every position, a task with vectors
    reads the mean over the positions of an earlier map; J_k of a vector is linear, without norm. Predictions of maps
    are resized (bilinear) to the inputs' size after everything.

    Args:
        backbone: makes the trunk; called once.
        tasks: two or more; `Task.head` gives the last layers.
        order: the names of all tasks, first to last; that of `tasks` when left out.
        differentiable: gradients of later tasks flow into the heads before them and through these into the trunk, as in
            the paper's training; False: what is passed on is a constant.
        features: pass on the feature that an earlier task's last layer reads, in place of what that layer says.
        decoder: for tasks with maps; by default what suits the backbone (`FPN`, or `LastMap`).

    Raises:
        PolytaskError: fewer than two tasks, an order that does not name each task once, or what `MultiTaskModel`
            raises.

    A later task uses the heads before it (`used_by`) where its gradient reaches them: only when differentiable, and
    without their last layers when features are passed. What `forward_with_features` says is shared follows: the trunk
    alone when not differentiable; else heads are shared too, and it gives None.

    Source: Dai, He, Sun 2016, Instance-aware Semantic Segmentation via Multi-task Network Cascades (CVPR): the loss of
    a stage depends on the output of the stages before it, L_1(B) + L_2(M | B) + L_3(C | B, M) in their notation.
    This is the general cascade of heads. What makes theirs a network for instance segmentation is not here: boxes as
    the first task, the differentiable warping of regions by predicted boxes, masks per region that multiply features,
    categories per instance, and the second round of stages (their five-stage cascade). What the network here does with
    an earlier output (concatenation and one layer) is ours.

    Cost: hard sharing, and one layer J_k per task but the first. A task asked alone needs the heads before it.
    A step takes 1.3 of hard sharing's time, 1.5 with `features` (three dense tasks, 64 x 64, 32 images,
    `SmallCNN(3, widths=(32, 64, 128, 128))`, one CPU core).

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> both = [tasks.Depth("far"), tasks.Segmentation("what", classes=7)]
    >>> model = sharing.Cascade(sharing.SmallCNN(3), both, differentiable=False)
    >>> {name: tuple(each.shape) for name, each in model(torch.zeros(2, 3, 32, 32)).items()}
    {'far': (2, 1, 32, 32), 'what': (2, 7, 32, 32)}
    >>> model.shared_by()["heads.far.weight"]
    ('far',)
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        tasks: Sequence[Task],
        order: Sequence[str] | None = None,
        differentiable: bool = True,
        features: bool = False,
        decoder: Decoder | None = None,
    ) -> None:
        super().__init__(tasks)
        need_two("Cascade", "feeds a task's prediction to the next one", [task.name for task in self.tasks])
        self.by_name = {task.name: task for task in self.tasks}
        self.order = self._checked(order)
        self.differentiable, self.features = differentiable, features
        self.shared = build(backbone, lambda made: reads(made, self.tasks, decoder))
        read, joins, heads, heard = {}, {}, {}, 0
        for task in (self.by_name[name] for name in self.order):
            feature = TaskFeature(task, self.shared, decoder)
            if heard:
                joins[task.name] = layer(task.dense, feature.width + heard, feature.width)
            read[task.name], heads[task.name] = feature, task.head(feature.width)
            heard += feature.width if features else task.outputs
        self.read, self.joins, self.heads = PerTask(read), PerTask(joins), PerTask(heads)
        self.stages_read = {name: feature.reads for name, feature in read.items()}

    def _checked(self, order: Sequence[str] | None) -> tuple[str, ...]:
        names = tuple(self.by_name)
        if order is None:
            return names
        if sorted(order) != sorted(names):
            raise PolytaskError(
                f"the order of a Cascade names every task once ({', '.join(names)}), got {', '.join(order) or 'none'}"
            )
        return tuple(order)

    def forward_with_features(
        self, inputs: Any, tasks: Iterable[str] | None = None
    ) -> tuple[dict[str, Tensor], Tensor | list[Tensor] | None]:
        asked = self.asked(tasks)
        trunk = self.shared(inputs)
        if any(task.dense for task in self.tasks):
            cut = [feature.view_as(feature) for feature in trunk]  # views: none lies above another
            shared = [cut[stage] for stage in sorted({stage for name in asked for stage in self.stages_read[name]})]
        else:
            cut = shared = [pool(trunk[-1])]
        found = self._go(cut, asked)
        predictions = {name: self._prediction(name, found[name], inputs) for name in asked}
        if self.differentiable or not shared:
            return predictions, None
        return predictions, shared[0] if len(shared) == 1 else shared

    def _go(self, cut: Sequence[Tensor], asked: Sequence[str]) -> dict[str, Tensor]:
        """Down the cascade to the last task asked for: what the last layers of the tasks asked for say."""
        found: dict[str, Tensor] = {}
        heard: list[Tensor] = []
        for name in self.order[: max((self.order.index(each) + 1 for each in asked), default=0)]:
            feature = self.read.of(name)(cut)
            if heard:
                feature = self.joins.of(name)(torch.cat([feature, together(heard, feature)], 1))
            sent = feature
            if name in asked or not self.features:
                said = scores(self.heads.of(name), self.by_name[name], feature)
                sent = feature if self.features else said
                found[name] = said
            heard.append(sent if self.differentiable else sent.detach())
        return found

    def _prediction(self, name: str, said: Tensor, inputs: Any) -> Tensor:
        return resize(said, image_size(inputs)) if self.by_name[name].dense else said.flatten(1)

    def used_by(self, task: str) -> list[nn.Module]:
        at = self.order.index(task)
        above = self.order[:at] if self.differentiable else ()
        stages = {stage for name in (*above, task) for stage in self.stages_read[name]}
        used = [*self.shared.used_for(stages), self.heads.of(task)]
        used += [self.read.of(name) for name in (*above, task)]
        used += [self.joins.of(name) for name in (*above, task) if name != self.order[0]]
        return used if self.features else used + [self.heads.of(name) for name in above]
