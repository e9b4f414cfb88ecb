"""Tasks whose predictions are maps."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.tasks.colours import MISSING_COLOUR
from polytask.tasks.task import Task, present

T = TypeVar("T")


@dataclass(frozen=True)
class Dense(Task):
    """A task whose predictions are maps [b, outputs, h, w], and whose targets are maps [b, h, w] or [b, c, h, w].

    Predictions come in the size of the input; where the target has another size they are resized to it, bilinear,
    before the loss, the metrics and the error map. Losses are the mean over the pixels with a label; an image without
    one counts for nothing. Losses that belong to an image as a whole (Dice, balanced by the image, ...) are weighed by
    the number of its labelled pixels: then the parts of a batch add up to the batch, and no batch size matters.

    Args:
        scored: which of its metrics are reported (and count in delta_m), by name; by default all.
    """

    dense: ClassVar[bool] = True

    scored: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.scored:
            if name not in self.measures():
                raise PolytaskError(f"task '{self.name}' has no metric '{name}'; {did_you_mean(name, self.measures())}")

    @property
    def shown(self) -> bool:
        return type(self).painted is not Dense.painted

    @property
    def target_channels(self) -> int | None:
        """Channels of a target [b, channels, h, w]; None where targets are [b, h, w]."""
        return None

    def check_form(self, target: Tensor) -> None:
        super().check_form(target)
        check_maps(self, target, self.target_channels)

    @abstractmethod
    def measures(self) -> dict[str, Metric]:
        """Fresh metrics of everything that can be measured."""

    def raster(self, prediction: Tensor) -> Tensor:
        """Network outputs [b, outputs, h, w] as what an image file holds, integers [b, h, w] or [b, h, w, 3]."""
        raise self._unseen("raster")

    def as_target(self, prediction: Tensor) -> Tensor:
        """What network outputs say, in the form of a target."""
        raise self._unseen("as_target")

    def painted(self, values: Tensor) -> Tensor:
        """Values in the form of a target, none missing, as pictures uint8 [b, h, w, 3]."""
        raise self._unseen("painted")

    def how_wrong(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Errors [b, h, w] of predictions in the size of a target without missing pixels, at the scale of
        `error_map`."""
        raise self._unseen("how_wrong")

    def _unseen(self, method: str) -> PolytaskError:
        return PolytaskError(
            f"{type(self).__name__} (task '{self.name}') does not say what its maps look like; a kind of map that "
            f"pictures and files are to be made of defines {method}"
        )

    def metrics(self) -> dict[str, Metric]:
        found = self.measures()
        return {name: found[name] for name in self.scored or found}

    def head(self, width: int) -> nn.Module:
        """The default head: a 1 x 1 convolution from a map of `width` channels."""
        return nn.Conv2d(width, self.outputs, 1)

    def repeated(self, constant: Tensor, target: Tensor) -> Tensor:
        """The network outputs that are this constant ([outputs]) at every pixel of a target."""
        return constant[:, None, None].expand(len(target), -1, *target.shape[-2:])

    def fitting(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The prediction in the size of the target, in float32 or float64."""
        prediction, size = in_single(prediction), target.shape[-2:]
        if prediction.shape[-2:] == size:
            return prediction
        return F.interpolate(prediction, size, mode="bilinear", align_corners=False)

    def columns(self, prediction: Tensor) -> dict[str, Any]:
        raise PolytaskError(
            f"predictions of task '{self.name}' are maps, which are no columns of a table; run `polytask predict` on a "
            "folder of images to get image files, or read them with decode or raster"
        )

    def picture(self, prediction: Tensor, inputs: Tensor | None = None) -> Tensor:
        """Network outputs [b, outputs, h, w] as pictures uint8 [b, h, w, 3], in the prediction's own size."""
        return self.painted(self.as_target(in_single(prediction)))

    def target_picture(self, target: Tensor, inputs: Tensor | None = None) -> Tensor:
        """Targets as pictures uint8 [b, h, w, 3] in the colours of `picture`; missing pixels grey."""
        there = pixels(target)
        painted = self.painted(torch.where(present(target), target, 0))
        return torch.where(there[..., None], painted, painted.new_tensor(MISSING_COLOUR))

    def error_map(self, prediction: Tensor, target: Tensor) -> Tensor:
        """How wrong every pixel is, floats [b, h, w]: 0 right, 1 as wrong as the scale goes or worse; missing: 0.

        The scale is fixed and said in the docstring of the task; the size is the target's.
        """
        known = in_single(target) if target.is_floating_point() else target
        wrong = self.how_wrong(self.fitting(prediction, target), torch.where(present(known), known, 0))
        return torch.where(pixels(target), wrong.float().clamp(0, 1), 0)


def in_single(x: Tensor) -> Tensor:
    """A tensor in float32, or as it is when it is float64: losses are summed in no less."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def pixels(target: Tensor) -> Tensor:
    """True where a pixel has a label, [b, h, w]: all channels of it."""
    there = present(target)
    return there if there.ndim == 3 else there.all(1)


def chosen(options: Mapping[str, T], task: Task, setting: str) -> T:
    """What a task's setting names; an error that shows what is allowed."""
    name = getattr(task, setting)
    if name not in options:
        raise PolytaskError(f"task '{task.name}': there is no {setting} '{name}'; {did_you_mean(str(name), options)}")
    return options[name]


def check_maps(task: Task, target: Tensor, channels: int | None = None) -> None:
    """The target is [n, h, w], or [n, channels, h, w]."""
    expected = "[n, h, w]" if channels is None else f"[n, {channels}, h, w]"
    shape = list(target.shape)
    if channels is None and target.ndim == 4 and 1 in (shape[1], shape[3]):
        hint = f"; take target[:, {'0' if shape[1] == 1 else ':, :, 0'}]"
    elif channels is not None and target.ndim == 4 and shape[3] == channels:
        hint = "; channels come second: target.permute(0, 3, 1, 2)"
    else:
        hint = ""
    fits = target.ndim == 3 if channels is None else target.ndim == 4 and shape[1] == channels
    if not fits:
        raise PolytaskError(f"task '{task.name}' expects targets of shape {expected}, got {shape}{hint}")


def check_floating(task: Task, target: Tensor, way_out: str) -> None:
    """The target holds floating-point numbers."""
    if not target.is_floating_point():
        raise PolytaskError(
            f"task '{task.name}' expects floating-point targets (missing: NaN), got {target.dtype}; {way_out}"
        )


def check_pixels(task: Task, wrong: Tensor, target: Tensor, expected: str, way_out: str) -> None:
    """No pixel is wrong ([n, h, w], true or false); else an error that says how many, where, and the way out."""
    if not bool(wrong.any()):
        return
    sample, row, column = (int(k) for k in torch.unravel_index(wrong.flatten().byte().argmax(), wrong.shape))
    value = target[sample, ..., row, column]
    said = f"{value.item():g}" if value.ndim == 0 else f"({', '.join(f'{each:g}' for each in value.tolist())})"
    images = int(wrong.flatten(1).any(1).sum())
    raise PolytaskError(
        f"task '{task.name}' expects {expected}; {int(wrong.sum())} of {wrong.numel()} pixels are not that, in "
        f"{images} of {len(wrong)} samples (first: {said} in sample {sample}, row {row}, column {column}); {way_out}"
    )


def check_labelled(task: Task, target: Tensor) -> None:
    """There is a label somewhere."""
    if not bool(present(target).any()):
        raise PolytaskError(
            f"task '{task.name}' has no labelled pixel at all in the training data ({len(target)} samples); "
            "drop the task, or give it labels (missing: NaN for numbers, -100 for classes)"
        )
