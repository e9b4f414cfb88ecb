"""Maps and vectors under one roof: a vector is a map of one position, [b, c, 1, 1]."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing.backbone import Backbone
from polytask.sharing.heads import Decoder, pool
from polytask.sharing.heads.making import decoder_for
from polytask.tasks import Task


class TaskFeature(nn.Module):
    """From the features of all stages to the one that a task's last layer reads: [b, width, h, w].

    The decoder's map for a task whose predictions are maps, the last stage's pooled feature ([b, width, 1, 1]) else.
    """

    def __init__(self, task: Task, backbone: Backbone, decoder: Decoder | None) -> None:
        super().__init__()
        widths = backbone.widths
        self.dense = task.dense
        self.reads: tuple[int, ...] = (len(widths) - 1,)
        self.width = widths[-1]
        if task.dense:
            recipe = decoder_for(backbone, decoder)
            self.reads, self.width = recipe.reads(len(widths)), recipe.width(widths)
            self.decoder = recipe(widths)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        if not self.dense:
            return pool(features[-1])[:, :, None, None]
        return self.decoder([check_map(features[stage]) for stage in self.reads])


def check_map(feature: Tensor) -> Tensor:
    """The feature, if it is a map."""
    if feature.ndim != 4:
        raise PolytaskError(
            f"a task whose predictions are maps needs maps [b, c, h, w] as features, got {list(feature.shape)}; take a "
            "backbone for images, or reshape the tokens in the backbone"
        )
    return feature


def scores(head: nn.Module, task: Task, feature: Tensor) -> Tensor:
    """What a task's last layer says to its feature: [b, outputs, h, w], or [b, outputs, 1, 1]."""
    return head(feature) if task.dense else head(feature.flatten(1))[:, :, None, None]


def convolution(dense: bool, inputs: int, outputs: int, bias: bool = False) -> nn.Conv2d:
    """3 x 3 for maps, 1 x 1 (a linear layer) for vectors."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias) if dense else nn.Conv2d(inputs, outputs, 1, bias=bias)


def layer(dense: bool, inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch normalisation and ReLU for maps; a linear layer and ReLU for vectors."""
    if not dense:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU())
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def fit(message: Tensor, like: Tensor) -> Tensor:
    """A message on the positions of a feature: its mean where the feature is a vector, the same everywhere where the
    message is one."""
    if like.shape[-2:] == message.shape[-2:]:
        return message
    if like.shape[-2:] == (1, 1):
        return message.mean((2, 3), keepdim=True)
    return message.expand(-1, -1, *like.shape[-2:])


def together(features: Sequence[Tensor], like: Tensor) -> Tensor:
    """Features one after the other along the channels, on the positions of `like`."""
    return torch.cat([fit(each, like) for each in features], 1)


def need_two(model: str, why: str, names: Sequence[str]) -> None:
    """Raise unless there are two tasks or more."""
    if len(names) < 2:
        came = f"only '{names[0]}'" if names else "none"
        raise PolytaskError(
            f"{model} {why}, so it needs two tasks or more of that kind, got {came}; train it alone with "
            "sharing.HardSharing or sharing.Independent"
        )
