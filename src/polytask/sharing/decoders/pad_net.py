"""PAD-Net: predict every task, distil what was predicted, predict again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing._last_pass import LastPass
from polytask.sharing._maps import TaskFeature, layer, need_two, scores
from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone, build
from polytask.sharing.decoders.distillation import AttentionGated, Distillation
from polytask.sharing.heads import Decoder, image_size, reads, resize
from polytask.sharing.model import MultiTaskModel
from polytask.tasks import Task


class PADNet(MultiTaskModel):
    r"""Intermediate predictions of all tasks become features, the features are distilled, and final decoders read them.

    With h_t(x) the feature of task t's first decoder on the shared trunk:

        y_t   = W_t h_t(x)                     intermediate prediction: a 1 x 1 convolution (the task's own head)
        F_t   = relu(norm(V_t y_t))            feature of it: a 1 x 1 convolution to `channels`
        F_o^k = distillation(F_1, ..., F_T)    module A, B or C
        z_k   = U_k relu(norm(D_k * F_o^k))    final prediction of a main task: 3 x 3 convolution and the task's head

    A task marked `auxiliary` has its intermediate prediction as its only one. For a main task the intermediate one is
    given by `intermediate()` in training, so that the task's own loss is added for it with weight 1.

    All of it runs at the resolution of the first decoders' maps; predictions are resized (bilinear) to the inputs'
    size. Vectors are maps of one position: as senders they are the same everywhere, as receivers they hear the mean
    over positions. There, layers are linear, without norm. Tasks with maps and tasks with vectors can so be mixed.

    Args:
        backbone: makes the trunk; called once.
        tasks: two or more, at least one of them not auxiliary; `Task.head` gives the last layers.
        distillation: `ConcatenationDistillation()`, `MessagePassing()` or `AttentionGated()` (modules A, B, C); the
            last one when left out, the best of the three in the paper's tables.
        channels: of every F_t and in the final decoders; 16 trains on a CPU, the paper's features have 256 and 512.
        decoder: the first decoders' recipe, for tasks with maps; by default what suits the backbone.

    Raises:
        PolytaskError: fewer than two tasks, no main task, channels below 1, or what `MultiTaskModel` raises.

    `forward_with_features` gives None for the features: the first decoders and their predictions are shared too, by
    way of the distillation. One final prediction needs the intermediate ones of all tasks, and nothing else of others.

    Source: Xu, Ouyang, Wang, Sebe 2018, PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network for
    Simultaneous Depth Estimation and Scene Parsing (CVPR), sections 3.3 to 3.6, equations 1 to 3. The paper itself was
    not at hand: formulas and numbers are from reading notes that cite its sections and equations.

    What differs: the paper predicts depth and scene parsing, with normals and contours as auxiliary tasks, at a quarter
    of the inputs' size with deconvolutions; here maps are upsampled bilinearly, any tasks and trunks will do, features
    have one width, and no loss is weighted (the paper gives auxiliary losses .8: for that, take a `Static` balancer).
    Norm and ReLU of F_t are ours: they put scores of tasks with different units on one scale.

    Cost: T first decoders, the distillation, and one 3 x 3 convolution per main task, all at the decoders' resolution.
    A step takes 1.5 of hard sharing's time with each of the modules, 2.2 with 32 channels (three dense tasks, 64 x 64,
    32 images, `SmallCNN(3, widths=(32, 64, 128, 128))`, one CPU core).

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> both = [tasks.Segmentation("what", classes=7), tasks.Depth("far")]
    >>> model = sharing.PADNet(sharing.SmallCNN(3), both, distillation=sharing.MessagePassing())
    >>> {name: tuple(each.shape) for name, each in model(torch.zeros(2, 3, 32, 32)).items()}
    {'what': (2, 7, 32, 32), 'far': (2, 1, 32, 32)}
    >>> {name: len(more) for name, more in model.intermediate().items()}
    {'what': 1, 'far': 1}
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        tasks: Sequence[Task],
        distillation: Distillation | None = None,
        channels: int = 16,
        decoder: Decoder | None = None,
    ) -> None:
        super().__init__(tasks)
        need_two("PADNet", "lets tasks read each other's predictions", [task.name for task in self.tasks])
        check_channels("PADNet", channels)
        self.by_name = {task.name: task for task in self.tasks}
        self.main = main_tasks("PADNet", self.tasks)
        self.shared = build(backbone, lambda made: reads(made, self.tasks, decoder))
        first = {task.name: _First(task, self.shared, decoder) for task in self.tasks}
        self.stages_read = {name: each.feature.reads for name, each in first.items()}
        self.first = PerTask(first)
        self.lifts = PerTask({task.name: layer(task.dense, task.outputs, channels, 1) for task in self.tasks})
        recipe = AttentionGated() if distillation is None else distillation
        if not isinstance(recipe, Distillation):
            raise PolytaskError(f"expected a recipe such as sharing.AttentionGated(), got {recipe!r}")
        self.distillation = recipe({task.name: task.dense for task in self.tasks}, self.main, channels)
        width = recipe.width(len(self.tasks), channels)
        self.final = PerTask({name: _Final(self.by_name[name], width, channels) for name in self.main})
        self._last = LastPass()

    def forward_with_features(self, inputs: Any, tasks: Iterable[str] | None = None) -> tuple[dict[str, Tensor], None]:
        asked = self.asked(tasks)
        main = [name for name in asked if name in self.main]
        trunk = self.shared(inputs)
        first = {name: self.first.of(name)(trunk) for name in (self.by_name if main else asked)}
        self._last.begin()
        if self.training:
            self._last.intermediate = {name: [self._prediction(name, first[name], inputs)] for name in main}
        final = self._final(first, main) if main else {}
        return {name: self._prediction(name, final.get(name, first[name]), inputs) for name in asked}, None

    def _final(self, first: Mapping[str, Tensor], main: Sequence[str]) -> dict[str, Tensor]:
        features = {name: self.lifts.of(name)(each) for name, each in first.items()}
        distilled = self.distillation(features, main, self._watch)
        return {name: self.final.of(name)(distilled[name]) for name in main}

    def _prediction(self, name: str, scores: Tensor, inputs: Any) -> Tensor:
        return resize(scores, image_size(inputs)) if self.by_name[name].dense else scores.flatten(1)

    def _watch(self, receiver: str, gate: Tensor) -> None:
        self._last.see("attention gates", f"into {receiver}", gate, mean=self.training, whole=self.keep_maps)

    def used_by(self, task: str) -> list[nn.Module]:
        if task not in self.main:
            return [*self.shared.used_for(self.stages_read[task]), self.first.of(task)]
        trunk = self.shared.used_for({stage for read in self.stages_read.values() for stage in read})
        return [*trunk, self.first, self.lifts, *self.distillation.used_by(task), self.final.of(task)]

    def intermediate(self) -> dict[str, list[Tensor]]:
        return self._last.intermediate

    def inside(self) -> dict[str, dict[str, float]]:
        return self._last.inside()

    def maps_inside(self) -> dict[str, Tensor]:
        return self._last.maps


def main_tasks(model: str, tasks: Sequence[Task]) -> tuple[str, ...]:
    """The names of the tasks that are not auxiliary, at least one."""
    names = tuple(task.name for task in tasks if not task.auxiliary)
    if not names:
        raise PolytaskError(f"{model} gives auxiliary tasks no final prediction: leave at least one task not auxiliary")
    return names


def check_channels(model: str, channels: int) -> None:
    """Raise unless there is at least one."""
    if not isinstance(channels, int) or channels < 1:
        raise PolytaskError(f"{model} needs channels of 1 or more, got {channels!r}")


class _First(nn.Module):
    """The intermediate prediction of a task, at its own resolution."""

    def __init__(self, task: Task, backbone: Backbone, decoder: Decoder | None) -> None:
        super().__init__()
        self.task = task
        self.feature = TaskFeature(task, backbone, decoder)
        self.head = task.head(self.feature.width)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return scores(self.head, self.task, self.feature(features))


class _Final(nn.Module):
    """The final prediction of a task from its distilled feature."""

    def __init__(self, task: Task, width: int, channels: int) -> None:
        super().__init__()
        self.task = task
        self.decoder = layer(task.dense, width, channels)
        self.head = task.head(channels)

    def forward(self, feature: Tensor) -> Tensor:
        return scores(self.head, self.task, self.decoder(feature))
