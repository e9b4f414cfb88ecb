"""The convolutional trunk of TCDCN, for faces."""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing.backbone import SequentialBackbone
from polytask.sharing.backbones.small_cnn import Images

LAYERS = ((16, 5, True), (48, 3, True), (64, 3, True), (64, 2, False))
"""Maps, side of the kernel, and whether a pooling follows."""


FLAT = 0.01
"""Images without any deviation are divided by this."""


@dataclass(frozen=True)
class TCDCN:
    r"""Four convolutions, three of them pooled, and one layer that sees all of the last maps; activation \|tanh\|.

    For images of 40 x 40 pixels:

    | stage | layer | output |
    | --- | --- | --- |
    | 1 | convolution 5 x 5, \|tanh\|, maximum of 2 x 2 | 16 x 18 x 18 |
    | 2 | convolution 3 x 3, \|tanh\|, maximum of 2 x 2 | 48 x 8 x 8 |
    | 3 | convolution 3 x 3, \|tanh\|, maximum of 2 x 2 | 64 x 3 x 3 |
    | 4 | convolution 2 x 2, \|tanh\| | 64 x 2 x 2 |
    | 5 | all of that at once, \|tanh\| | `features` x 1 x 1 |

    No convolution is padded. The last stage is a map of one pixel: its mean, which the heads of vectors read, is that
    pixel. Before the first convolution every image is brought to mean 0 and deviation 1, all channels together.

    Args:
        channels: of the images [b, channels, size, size].
        size: their height and width, at least 32; 40 is the published one. The last stage is made for it.
        features: width of the last stage.

    Called, it makes a fresh backbone with weights from torch's global generator: uniform after Glorot and Bengio 2010,
    with the gain 5/3 of tanh, minus the mean of each filter; biases 0. What a layer gets is never below 0: without that
    mean its sums lie around 0, where the two sides of \|tanh\| meet.

    Source: Zhang, Luo, Loy, Tang 2014, Facial Landmark Detection by Deep Multi-task Learning. We could not read the
    paper itself: widths, kernels and the 100 features are what its public re-implementations have in common
    (flyingzhao/tfTCDCN, lidc54/tcdcn), the "absolute tangent function" is in reviews of it too; that nothing is padded,
    and pooling by 2 x 2 everywhere, are those of the first (the second names them, and then pads). That images are
    standardised and how the weights start is ours: without the former nothing was learned from faces as bytes / 255 in
    six epochs.

    Learning rates above 1e-3 (of Adam) drive tanh to where it is flat. `SmallCNN`, whose layers are normalised, learns
    faces several times faster.

    Cost: 77 thousand weights and 3.4 million multiply-adds an image of 40 x 40.

    >>> import torch
    >>> [tuple(each.shape) for each in TCDCN()()(torch.zeros(2, 1, 40, 40))]
    [(2, 16, 18, 18), (2, 48, 8, 8), (2, 64, 3, 3), (2, 64, 2, 2), (2, 100, 1, 1)]
    """

    channels: int = 1
    size: int = 40
    features: int = 100

    def __post_init__(self) -> None:
        if self.channels < 1 or self.features < 1:
            raise PolytaskError(
                f"TCDCN needs at least one channel and one feature, got channels={self.channels} and "
                f"features={self.features}"
            )
        if self._sides()[-1] < 1:
            raise PolytaskError(f"TCDCN needs images of at least 32 x 32 pixels, got size={self.size}")

    def __call__(self) -> SequentialBackbone:
        stages: list[nn.Module] = []
        below = self.channels
        for width, kernel, pooled in (*LAYERS, (self.features, self._sides()[-1], False)):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            if not stages:
                layers["inputs"] = SquareImages(self.channels, self.size)
            layers["convolution"] = started(nn.Conv2d(below, width, kernel))
            layers["tanh"] = AbsoluteTanh()
            if pooled:
                layers["pool"] = nn.MaxPool2d(2)
            stages.append(nn.Sequential(layers))
            below = width
        return SequentialBackbone(stages, (*(width for width, _, _ in LAYERS), self.features))

    def _sides(self) -> list[int]:
        """The height of each stage's maps, without the last one."""
        found, side = [], self.size
        for _, kernel, pooled in LAYERS:
            side = (side - kernel + 1) // (2 if pooled else 1)
            found.append(side)
        return found


def started(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with the weights that a training begins with."""
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    nn.init.xavier_uniform_(layer.weight, nn.init.calculate_gain("tanh"))
    with torch.no_grad():
        layer.weight -= layer.weight.mean((1, 2, 3), keepdim=True)
    return layer


class AbsoluteTanh(nn.Module):
    r"""\|tanh x\|, from 0 to 1: how far a filter's answer is from nothing, on whichever side."""

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh().abs()


class SquareImages(Images):
    """Brings square images of one size to mean 0 and deviation 1; stops everything else with a clear error."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__(channels)
        self.size = size

    def forward(self, inputs: Tensor) -> Tensor:
        images = super().forward(inputs)
        if images.shape[2:] != (self.size, self.size):
            raise PolytaskError(
                f"expected images of {self.size} x {self.size} pixels, got {list(images.shape[2:])}; `size` of the "
                "backbone says which it takes"
            )
        centred = images - images.mean((1, 2, 3), keepdim=True)
        return centred / (centred.square().mean((1, 2, 3), keepdim=True) + FLAT**2).sqrt()
