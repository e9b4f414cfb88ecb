"""A convolutional network that trains in seconds on a CPU."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing.backbone import SequentialBackbone


@dataclass(frozen=True)
class SmallCNN:
    """3 x 3 convolutions with batch normalisation and ReLU, one per stage; every stage halves the resolution.

    The convolution itself has stride 2: on a CPU a step takes a fifth of the time of convolution at full
    resolution and pooling, and two overlaid digits are recognised as well.

    Args:
        channels: of the images [b, channels, h, w].
        widths: the number of channels of each stage's output.

    Called, it makes a fresh backbone with weights from torch's global generator.

    >>> import torch
    >>> [tuple(each.shape) for each in SmallCNN(1, widths=(16, 32))()(torch.zeros(2, 1, 32, 32))]
    [(2, 16, 16, 16), (2, 32, 8, 8)]
    """

    channels: int = 1
    widths: tuple[int, ...] = (16, 32, 64)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.channels < 1:
            raise PolytaskError(f"images need at least one channel, got {self.channels}")

    def __call__(self) -> SequentialBackbone:
        stages: list[nn.Module] = []
        for below, above in pairwise((self.channels, *self.widths)):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            if not stages:
                layers["inputs"] = Images(self.channels)
            layers["convolution"] = nn.Conv2d(below, above, 3, stride=2, padding=1, bias=False)
            layers["norm"] = nn.BatchNorm2d(above)
            layers["relu"] = nn.ReLU(inplace=True)
            stages.append(nn.Sequential(layers))
        return SequentialBackbone(stages, self.widths)


class Images(nn.Module):
    """Lets images [b, channels, h, w] through and stops everything else with a clear error."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, inputs: Tensor) -> Tensor:
        if not isinstance(inputs, Tensor) or inputs.ndim != 4 or inputs.shape[1] != self.channels:
            came = list(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
            raise PolytaskError(
                f"expected images of shape [b, {self.channels}, h, w], got {came}; `channels` of the backbone says "
                "how many channels images have"
            )
        return inputs
