"""The head of any task, on any trunk."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing.backbone import Backbone
from polytask.sharing.heads.decoder import Decoder
from polytask.sharing.heads.dense import DenseHead
from polytask.sharing.heads.fpn import FPN
from polytask.sharing.heads.last import LastMap
from polytask.sharing.heads.pooling import pool
from polytask.tasks import MemberHeads, Task


def decoder_for(backbone: Backbone, decoder: Decoder | None) -> Decoder:
    """The decoder asked for; by default `LastMap` on a trunk that decodes already, else `FPN`."""
    if decoder is not None and not isinstance(decoder, Decoder):
        raise PolytaskError(f"expected a decoder such as sharing.FPN(32) or sharing.LastMap(), got {decoder!r}")
    return decoder or (LastMap() if backbone.full_resolution else FPN())


def reads(backbone: Backbone, tasks: Sequence[Task], decoder: Decoder | None = None) -> tuple[int, ...]:
    """Which stages' features the heads of these tasks read: the last one for vectors, those of the decoder for maps."""
    stages = len(backbone.widths)
    found = {stages - 1} if any(not task.dense for task in tasks) else set()
    if any(task.dense for task in tasks):
        found |= set(decoder_for(backbone, decoder).reads(stages))
    return tuple(sorted(found))


def make_head(task: Task, backbone: Backbone, decoder: Decoder | None = None, widths: Sequence[int] = ()) -> nn.Module:
    """A fresh head for a task on the features of all stages of a backbone, to be read by `predict`.

    Args:
        task: `Task.head` gives the last layer.
        backbone: what the features come from.
        decoder: for tasks whose predictions are maps; by default what suits the backbone.
        widths: the channels of the features, where an architecture changes them.
    """
    widths = tuple(widths) or backbone.widths
    if not task.dense:
        return task.head(widths[-1])
    recipe = decoder_for(backbone, decoder)
    return DenseHead(recipe.reads(len(widths)), recipe(widths), task.head(recipe.width(widths)))


def predict(head: nn.Module, features: list[Tensor], inputs: Any) -> Tensor:
    """What a head of `make_head` says to the features of all stages: [b, outputs], or a map in the inputs' size."""
    if isinstance(head, DenseHead):
        return head(features, image_size(inputs))
    return apply_head(head, pool(features[-1]), inputs)


def apply_head(head: nn.Module, z: Tensor, inputs: Any) -> Tensor:
    """What a head says to a pooled feature [b, c]; the heads of many members are told whose rows they are."""
    return head(z, inputs) if isinstance(head, MemberHeads) else head(z)


def image_size(inputs: Any) -> tuple[int, int]:
    """Height and width of the images among the inputs.

    Raises:
        PolytaskError: there is none.
    """
    columns = inputs.values() if isinstance(inputs, Mapping) else [inputs]
    for column in columns:
        if isinstance(column, Tensor) and column.ndim == 4:
            return column.shape[-2], column.shape[-1]
    came = list(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
    raise PolytaskError(f"a task whose predictions are maps needs images [b, c, h, w] as inputs, got {came}")
