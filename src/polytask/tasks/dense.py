"""Tasks whose predictions are maps."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from polytask.tasks.task import Task


@dataclass(frozen=True)
class Dense(Task):
    """A task whose predictions are maps [b, outputs, h, w], and whose targets are maps [b, h, w] or [b, c, h, w].

    Predictions come in the size of the input; where the target has another size they are resized to it, bilinear,
    before the loss, the metrics and the picture.
    """

    dense: ClassVar[bool] = True

    def head(self, width: int) -> nn.Module:
        """The default head: a 1 x 1 convolution from a map of `width` channels."""
        return nn.Conv2d(width, self.outputs, 1)

    def repeated(self, constant: Tensor, target: Tensor) -> Tensor:
        return constant[:, None, None].expand(len(target), -1, *target.shape[-2:])

    def fitting(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The prediction in the size of the target."""
        size = target.shape[-2:]
        if prediction.shape[-2:] == size:
            return prediction
        return F.interpolate(prediction, size, mode="bilinear", align_corners=False)
