"""What the attention of a task is made of; vectors and tokens are maps of another form."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask.errors import PolytaskError
from polytask.sharing.backbone import Backbone
from polytask.sharing.heads import resize


def neighbours(backbone: Backbone) -> bool:
    """Whether the features of a backbone are maps, as far as its layers tell: it holds 2-d convolutions."""
    return any(isinstance(module, nn.Conv2d) for module in backbone.modules())


def check_tokens(features: Sequence[Tensor], kernel: int) -> None:
    """Raise where tokens [b, n, c] meet what needs a plane: a kernel, or another number of tokens."""
    counts = {feature.shape[1] for feature in features if feature.ndim == 3}
    if len(counts) > 1 or (counts and kernel > 1):
        raise PolytaskError(
            f"tokens [b, n, c], n = {', '.join(map(str, sorted(counts)))}, have no neighbours in a plane: reshape them "
            "to maps in the backbone, or, where all stages have equally many, give kernel=1"
        )


def as_map(feature: Tensor) -> Tensor:
    """[b, c, h, w]: a vector as a map of one position, tokens [b, n, c] as a map of n rows and one column."""
    if feature.ndim == 2:
        return feature[:, :, None, None]
    return feature.transpose(1, 2)[..., None] if feature.ndim == 3 else feature


def as_was(x: Tensor, feature: Tensor) -> Tensor:
    """A map in the form of the feature that it was made of."""
    if feature.ndim == 2:
        return x.flatten(1)
    return x.squeeze(-1).transpose(1, 2) if feature.ndim == 3 else x


def check_reduction(reduction: int) -> None:
    """Raise unless channels can be divided by it."""
    if not isinstance(reduction, int) or reduction < 1:
        raise PolytaskError(f"reduction must be a whole number of 1 (none) or more, got {reduction!r}")


def make_mask(inputs: int, hidden: int, outputs: int) -> nn.Module:
    """Two 1 x 1 convolutions with batch normalisation, ReLU between them and a sigmoid at the end."""
    return _Mask(
        nn.Conv2d(inputs, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.Sigmoid(),
    )


class _Mask(nn.Sequential):
    def forward(self, features: Sequence[Tensor]) -> Tensor:  # side by side along the channels
        return super().forward(torch.cat(list(features), 1) if len(features) > 1 else features[0])


class Extractor(nn.Module):
    """Convolution, batch normalisation, ReLU; enlarged before, or pooled after, to the size of the next stage.

    Args:
        inputs, outputs: channels.
        kernel: side of the convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise PolytaskError(f"the side of a kernel must be odd (1, 3, 5, ...), got {kernel}")
        self.convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        height, width = size
        if height > x.shape[-2] or width > x.shape[-1]:
            x = resize(x, size)
        # The largest of a window, then ReLU: the same as the other way round, on fewer positions.
        return F.relu(_pooled(self.norm(self.convolution(x)), height, width))


def _pooled(x: Tensor, height: int, width: int) -> Tensor:
    """Max pooling to a size; with windows that do not overlap where the sizes divide."""
    rows, columns = x.shape[-2:]
    if (rows, columns) == (height, width):
        return x
    if rows % height == 0 and columns % width == 0:
        return F.max_pool2d(x, (rows // height, columns // width))
    return F.adaptive_max_pool2d(x, (height, width))
