"""One network for all, and for every task the attention that picks from its features."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from polytask.sharing._last_pass import LastPass
from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone, build
from polytask.sharing.heads import Decoder, make_head, predict, reads
from polytask.sharing.model import MultiTaskModel
from polytask.sharing.trunks._attention import (
    Extractor,
    as_map,
    as_was,
    check_reduction,
    check_tokens,
    make_mask,
    neighbours,
)
from polytask.sharing.trunks.hard import _one, _views
from polytask.tasks import Task


class MTAN(MultiTaskModel):
    r"""Multi-task attention network: a shared network, and per task and stage a soft mask over its features.

    With p_k [b, c_k, h, w] the shared network's feature at stage k, the mask and the attended feature of task t are

        a_k = sigmoid(norm(W2 relu(norm(W1 [p_k; f_k(a^_{k-1})])))),    a^_k = a_k * p_k    (element by element)

    with [.;.] along the channels, and p_1 alone at the first stage. W1 and W2 are the task's own, 1 x 1. The extractor
    f_k is a 3 x 3 convolution with norm and ReLU from c_{k-1} to c_k channels, then max pooling to the size of stage k;
    where stage k is larger (the decoding half of an encoder-decoder) the map is first enlarged, bilinear. The task's
    head reads the attended features. Masks of ones are hard sharing. Norms are batch normalisation.

    Args:
        backbone: makes a fresh backbone; called once.
        tasks: what to predict; `Task.head` gives the heads.
        decoder: for tasks whose predictions are maps; by default what suits the backbone (`FPN`, or `LastMap`).
        own_extractors: every task has its own f_k. As published, and by default, they are shared by all tasks.
        reduction: W1 leads to c_k / reduction channels; 1 as in the authors' SegNet, 4 as in their ResNet.
        kernel: side of the convolution in f_k. 3, the published one, where the backbone holds 2-d convolutions, else 1:
            vectors and tokens have no neighbours in the plane.

    Raises:
        PolytaskError: no task, two tasks of one name, not a backbone, an even kernel, a reduction below 1; later:
            tokens [b, n, c] meet a kernel above 1.

    Source: Liu, Johns, Davison 2019, End-to-End Multi-Task Learning with Attention, section 3; layer by layer as in the
    authors' code for SegNet (max pooling 2 x 2, bilinear enlarging, one f_k for all tasks), with which a remark of
    theirs agrees: the 3 x 3 is shared, to have few parameters per task. There the mask of a SegNet or ResNet stage is
    made of an earlier layer of the stage (u) than it is laid over (p). A backbone gives one feature per stage, so here
    u = p, as in their code for wide residual networks. As in their ResNet the head reads the last attended feature
    itself, without a further f. Convolutions before a norm have no bias, which the norm would take away.

    Masks are told by `inside` (the mean over the last training batch) and `maps_inside` (the mean over channels).

    Cost of a step: one pass of the shared network; per task and stage 2 c_k^2 (3 c_k^2 above the first) multiply-adds
    for each position, and kernel^2 c_{k-1} c_k for each position of stage k - 1. Where convolutions have strides and
    stages are thin, that is several times the shared network: `kernel=1` saves most of it.

    Balancing at the features: with `own_extractors` every gradient to the shared network passes through its stages'
    features; with shared extractors there is no such place (their parameters lie above these features).

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("a"), tasks.MultiClass("b", 3)]
    >>> model = sharing.MTAN(sharing.SmallCNN(1, widths=(4, 8)), both)
    >>> {name: tuple(each.shape) for name, each in model(torch.zeros(2, 1, 16, 16)).items()}
    {'a': (2, 1), 'b': (2, 3)}
    >>> [part.module for part in sharing.describe(model).parts]
    ['shared', 'extractors', 'attention.a', 'attention.b', 'heads.a', 'heads.b']
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        tasks: Sequence[Task],
        decoder: Decoder | None = None,
        *,
        own_extractors: bool = False,
        reduction: int = 1,
        kernel: int | None = None,
    ) -> None:
        super().__init__(tasks)
        check_reduction(reduction)
        self.shared = build(backbone, lambda fresh: range(len(fresh.widths)))
        widths = self.shared.widths
        self.kernel = (3 if neighbours(self.shared) else 1) if kernel is None else kernel

        self.tops = {task.name: max(reads(self.shared, [task], decoder)) for task in self.tasks}
        self.extractors = None if own_extractors else _extractors(widths[: max(self.tops.values()) + 1], self.kernel)
        self.attention = PerTask(
            {
                name: _Attention(widths[: top + 1], reduction, self.kernel if own_extractors else None)
                for name, top in self.tops.items()
            }
        )
        self.heads = PerTask({task.name: make_head(task, self.shared, decoder) for task in self.tasks})
        self._last = LastPass()

    def forward_with_features(
        self, inputs: Any, tasks: Iterable[str] | None = None
    ) -> tuple[dict[str, Tensor], Tensor | list[Tensor] | None]:
        asked = self.asked(tasks)
        cut = _views(self.shared(inputs))
        check_tokens(cut, self.kernel)
        self._last.begin()
        predictions = {name: predict(self.heads.of(name), self._attended(name, cut), inputs) for name in asked}
        if self.extractors is not None or not asked:
            return predictions, None
        return predictions, _one(cut[: max(self.tops[name] for name in asked) + 1])

    def _attended(self, name: str, shared: list[Tensor]) -> list[Tensor]:
        """The features of all stages as the task sees them."""
        attention = self.attention.of(name)
        assert isinstance(attention, _Attention)
        masks, attended = attention(shared, attention.extractors if self.extractors is None else self.extractors)
        for stage, mask in enumerate(masks):
            whole = self.keep_maps and shared[stage].ndim == 4
            self._last.see(f"attention of {name}", f"stage {stage + 1}", mask, self.training, whole)
        return attended

    def used_by(self, task: str) -> list[nn.Module]:
        top = self.tops[task]
        extractors = [] if self.extractors is None else [self.extractors[:top]]
        shared = self.shared.used_for(range(top + 1))
        return [*shared, *extractors, self.attention.of(task), self.heads.of(task)]

    def inside(self) -> dict[str, dict[str, float]]:
        """The mean of every mask over the last training batch, a panel per task."""
        return self._last.inside()

    def maps_inside(self) -> dict[str, Tensor]:
        """The masks of the last forward pass, their mean over the channels; of stages that are maps."""
        return dict(self._last.maps)


class _Attention(nn.Module):
    """The masks of one task, up to the highest stage that it reads, and its extractors where it has its own."""

    def __init__(self, widths: Sequence[int], reduction: int, kernel: int | None) -> None:
        super().__init__()
        self.masks = nn.ModuleList(
            make_mask(width if k == 0 else 2 * width, max(width // reduction, 1), width)
            for k, width in enumerate(widths)
        )
        self.extractors = None if kernel is None else _extractors(widths, kernel)

    def forward(self, shared: Sequence[Tensor], extractors: nn.ModuleList) -> tuple[list[Tensor], list[Tensor]]:
        """Masks [b, c, h, w], and attended features in the form of the shared ones."""
        masks: list[Tensor] = []
        attended: list[Tensor] = []
        below: Tensor | None = None
        for k, make in enumerate(self.masks):
            seen = as_map(shared[k])
            masks.append(make([seen] if below is None else [seen, extractors[k - 1](below, seen.shape[-2:])]))
            below = masks[-1] * seen
            attended.append(as_was(below, shared[k]))
        return masks, attended


def _extractors(widths: Sequence[int], kernel: int) -> nn.ModuleList:
    return nn.ModuleList(Extractor(below, above, kernel) for below, above in pairwise(widths))
