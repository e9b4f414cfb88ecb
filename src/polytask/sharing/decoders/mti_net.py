"""MTI-Net: distillation between tasks at every scale, handed on from coarse to fine."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing._last_pass import LastPass
from polytask.sharing._maps import need_two
from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone, build
from polytask.sharing.decoders._scales import PYRAMID, Aggregation, FeaturePropagation, Scale, check_pyramid
from polytask.sharing.decoders.pad_net import check_channels, main_tasks
from polytask.sharing.heads import apply_head, image_size, pool, resize
from polytask.sharing.model import MultiTaskModel
from polytask.tasks import Task


class MTINet(MultiTaskModel):
    r"""Tasks exchange features at every scale of the trunk, coarse scales help fine ones, and all scales are joined.

    With B_s the map of stage s of the trunk, s = 1 (finest) to S (coarsest), tasks k = 1, ..., T:

        F_{k,s}   = initial_{k,s}(concat(B_s, up(P_{k,s+1})))                    without P at s = S
        y_{k,s}   = W_{k,s} F_{k,s}                                              initial prediction
        F^o_{k,s} = F_{k,s} + sum_{l != k} sigmoid(A_{k,l,s} * F_{l,s}) . (M_{k,l,s} * F_{l,s})
        P_{.,s}   = feature propagation of (F^o_{1,s}, ..., F^o_{T,s})
        z_k       = U_k relu(norm(D_k concat_s up(F^o_{k,s})))                   final prediction of a main task

    `initial` is a 1 x 1 convolution to `channels` and a basic residual block (two 3 x 3 convolutions with norm); A and
    M are 3 x 3 convolutions; A gives one number per position, a spatial mask of the sender; D_k is a 1 x 1 convolution;
    `up` is bilinear. Feature propagation of T features G_k of c channels:

        a = f(concat_k G_k), m = softmax over the tasks of a in T chunks of c channels      attention to the tasks
        R = relu(norm(C concat_k (m_k . G_k)))                                              T c to c channels, 1 x 1
        P_k = G_k + R . sigmoid(E_k' relu(E_k mean over positions of R))                    each task's own gate

    with f a 3 x 3 convolution, norm, ReLU and a 1 x 1 convolution, and E_k narrowing by 4.

    Deep supervision: `intermediate()` gives the initial predictions of every scale in training, so that a task's own
    loss is added for each with weight 1. A task marked `auxiliary` has its initial prediction at the finest scale as
    its only one, and the coarser ones in `intermediate()`. Their last layers serve training alone: those of main tasks,
    and of auxiliary ones at coarse scales, take part in no prediction (`used_by` lists them nowhere).

    Tasks whose predictions are vectors take no part in this: each has its own head on the pooled last feature.

    Args:
        backbone: makes the trunk; called once. Its stages give maps that get smaller: all scales are used.
        tasks: at least two whose predictions are maps, at least one of these not auxiliary.
        channels: of every feature of a task at every scale; 16 trains on a CPU.

    Raises:
        PolytaskError: fewer than two tasks with maps, none of them a main task, channels below 1, a trunk with one
            stage or that decodes already; in the first forward pass: features that are no maps, that grow from stage to
            stage, or are all of one size.

    `forward_with_features` gives None for the features: the exchange shares much more than the trunk.

    Source: Vandenhende, Georgoulis, Van Gool 2020, MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task
    Learning (ECCV), sections 2.3 to 2.5, equation 1. The paper itself was not at hand: the formulas are from reading
    notes that cite its sections and equation; the authors' code was not read. Not settled by what was read, and so
    chosen here: the inside of f, of D_k and of the gates, how much E_k narrows, one channel per mask, and that
    propagation starts from the distilled features (as the abstract says).

    Cost: T residual blocks, T (T - 1) messages and masks per scale; about three quarters of it at the
    finest scale. A step takes 2.4 of hard sharing's time (three dense tasks, 64 x 64, 32 images,
    `SmallCNN(3, widths=(32, 64, 128, 128))`, one CPU core; losses at all scales are in it).

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> both = [tasks.Segmentation("what", classes=7), tasks.Depth("far")]
    >>> model = sharing.MTINet(sharing.SmallCNN(3), both)
    >>> {name: tuple(each.shape) for name, each in model(torch.zeros(2, 3, 32, 32)).items()}
    {'what': (2, 7, 32, 32), 'far': (2, 1, 32, 32)}
    >>> {name: len(more) for name, more in model.intermediate().items()}
    {'what': 3, 'far': 3}
    """

    def __init__(self, backbone: Callable[[], Backbone], tasks: Sequence[Task], channels: int = 16) -> None:
        super().__init__(tasks)
        dense = [task for task in self.tasks if task.dense]
        self.dense = tuple(task.name for task in dense)
        need_two("MTINet", "lets tasks with maps exchange features", self.dense)
        self.main = main_tasks("MTINet", dense)
        check_channels("MTINet", channels)
        self.shared = build(backbone, lambda made: range(len(made.widths)))
        widths = self.shared.widths
        if len(widths) < 2 or self.shared.full_resolution:
            raise PolytaskError(f"{PYRAMID}; this one has one stage alone, or decodes already: take sharing.PADNet")
        reads = [*(width + channels for width in widths[:-1]), widths[-1]]
        scales = [Scale(dense, self.dense if stage else self.main, each, channels) for stage, each in enumerate(reads)]
        self.scales = cast(Sequence[Scale], nn.ModuleList(scales))
        handing = [FeaturePropagation(self.dense, channels) for _ in widths[1:]]
        self.propagation = cast(Sequence[FeaturePropagation], nn.ModuleList(handing))
        self.final = PerTask({t.name: Aggregation(t, channels, len(widths)) for t in dense if t.name in self.main})
        self.vectors = PerTask({task.name: task.head(widths[-1]) for task in self.tasks if not task.dense})
        self._last = LastPass()

    def forward_with_features(self, inputs: Any, tasks: Iterable[str] | None = None) -> tuple[dict[str, Tensor], None]:
        asked = self.asked(tasks)
        trunk = self.shared(inputs)
        self._last.begin()
        predictions = self._dense(trunk, [name for name in asked if name in self.dense], inputs)
        for name in asked:
            if name not in self.dense:
                predictions[name] = apply_head(self.vectors.of(name), pool(trunk[-1]), inputs)
        return {name: predictions[name] for name in asked}, None

    def _dense(self, trunk: Sequence[Tensor], asked: Sequence[str], inputs: Any) -> dict[str, Tensor]:
        """The predictions of those tasks asked for whose predictions are maps."""
        if not asked:
            return {}
        main = [name for name in asked if name in self.main]
        initial, distilled = self._down(check_pyramid(trunk), asked, main)
        size = image_size(inputs)
        predictions = {}
        for name in asked:
            last = 0 if name in main else 1  # of an auxiliary task, the finest initial prediction is the prediction
            if name in main:
                predictions[name] = resize(self.final.of(name)([each[name] for each in distilled]), size)
            else:
                predictions[name] = resize(self.scales[0].heads.of(name)(initial[0][name]), size)
            if self.training:
                self._last.intermediate[name] = [
                    resize(scale.heads.of(name)(features[name]), size)
                    for scale, features in zip(self.scales[last:], initial[last:], strict=True)
                ]
        return predictions

    def _down(
        self, trunk: Sequence[Tensor], asked: Sequence[str], main: Sequence[str]
    ) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
        """From the coarsest scale to the finest: features before and after the exchange, finest first."""
        finest = self.dense if main else asked  # whose features are needed there
        above: dict[str, Tensor] = {}
        before: list[dict[str, Tensor]] = []
        after: list[dict[str, Tensor]] = []
        for stage in reversed(range(len(trunk))):
            features = self.scales[stage].features(trunk[stage], above, self.dense if stage else finest)
            watch = functools.partial(self._watch, stage)
            distilled = self.scales[stage].distilled(features, self.dense if stage else main, watch)
            before.insert(0, features)
            after.insert(0, distilled)
            if stage:
                handed = self.propagation[stage - 1](distilled, self.dense if stage > 1 else finest)
                above = {name: resize(each, trunk[stage - 1].shape[-2:]) for name, each in handed.items()}
        return before, after

    def _watch(self, stage: int, line: str, mask: Tensor) -> None:
        self._last.see(f"attention masks, scale {stage + 1}", line, mask, mean=self.training, whole=self.keep_maps)

    def used_by(self, task: str) -> list[nn.Module]:
        if task not in self.dense:
            return [*self.shared.used_for([len(self.scales) - 1]), self.vectors.of(task)]
        finest, *coarse = self.scales
        names = self.dense if task in self.main else (task,)
        used = self.shared.used_for(range(len(self.scales)))
        used = [*used, *(part for scale in coarse for part in (scale.initial, scale.exchange))]
        used += [*self.propagation[1:], *self.propagation[0].used_by(names)]
        used += [finest.initial.of(name) for name in names]
        if task in self.main:
            return [*used, finest.exchange.of(task), self.final.of(task)]
        return [*used, finest.heads.of(task)]

    def intermediate(self) -> dict[str, list[Tensor]]:
        return self._last.intermediate

    def inside(self) -> dict[str, dict[str, float]]:
        return self._last.inside()

    def maps_inside(self) -> dict[str, Tensor]:
        return self._last.maps
