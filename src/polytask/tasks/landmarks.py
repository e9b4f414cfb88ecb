"""Where named points are in an image."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from polytask.errors import PolytaskError
from polytask.tasks.colours import class_colours
from polytask.tasks.dense import check_floating, chosen, in_single
from polytask.tasks.drawing import dotted
from polytask.tasks.lowest import lowest
from polytask.tasks.map_metrics import MeanError
from polytask.tasks.task import Task, present

WING_WIDTH, WING_BEND = 10 / 64, 2 / 64
"""w and ε of the wing loss, as shares of the image."""


def _wing(error: Tensor, deviation: float) -> Tensor:
    width, bend = WING_WIDTH / deviation, WING_BEND / deviation
    size = error.abs()
    near = width * torch.log1p(size / bend)
    return torch.where(size < width, near, size - width + width * math.log1p(width / bend))


@dataclass(frozen=True)
class Criterion:
    """A loss of coordinates.

    Args:
        of: errors in standard units, the deviation of the task -> losses.
        likelihood_scale: see `Task.likelihood_scale`.
        mean_is_best: the mean of the labels minimises it; else the best constant is searched.
    """

    of: Callable[[Tensor, float], Tensor]
    likelihood_scale: float = 1.0
    mean_is_best: bool = False


CRITERIA = {
    "squared": Criterion(lambda error, deviation: error.square(), likelihood_scale=0.5, mean_is_best=True),
    "smooth_l1": Criterion(lambda error, deviation: F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none")),
    "wing": Criterion(_wing),
}
"""The losses that `Landmarks` may have, by the name that its setting `criterion` takes."""


@dataclass(frozen=True)
class Landmarks(Task):
    r"""Points in an image: loss e², e = prediction - (y - mean) / deviation, the mean over the coordinates present.

    Targets are [b, points, 2] floating point, x and y as fractions of the width and the height of the image, from the
    left and the top; a point that can't be seen has NaN twice. Network outputs [b, 2 points] in standard units: x and
    y of the first point, x and y of the second, ... `decode` gives fractions [b, points, 2].

    Other losses (`criterion`): "smooth_l1", e² / 2 up to 1 and |e| - 1/2 beyond, in standard units; "wing" (Feng et al.
    2018), w log(1 + |e| / ε) where |e| < w and |e| - w + w log(1 + w / ε) beyond, with w = 10/64 and ε = 2/64 of the
    image, divided by `deviation`: the paper's 10 and 2 pixels of images of 64.

    Metrics: "nme", the normalised mean error: distances of the points that are there, averaged over the points of an
    image, divided by the image's own length d, averaged over the images; "failures": the share of images for which it
    is above `failure`. Images without a point, or without d, count for neither.

    Args:
        points: their names, or how many.
        between: d is the distance between these two of them (numbers from 0), say the eyes (Zhang et al. 2014). By
            default d = 1, the height of the image.
        aspect: width / height of the images, so that distances are right: 1 for square ones.
        failure: 0.1 is usual (Zhang et al. 2014).
        criterion: "squared" (the default), "smooth_l1" or "wing".
        mean: of each coordinate, [x1, y1, x2, ...]; empty for 0. `fitted` learns it from the training labels.
        deviation: root mean square distance of coordinates from their means; one for all, so that directions keep
            their meaning. `fitted` learns it.

    `constant` is the mean of each coordinate (a search for the best one for "smooth_l1" and "wing").

    Source: squared errors of landmarks and the two metrics as in TCDCN (Zhang, Luo, Loy, Tang 2014, "Facial Landmark
    Detection by Deep Multi-task Learning"); the standard units are ours, as in `Regression`.

    >>> import torch
    >>> task = Landmarks("eyes", ("left", "right"), between=(0, 1))
    >>> target = torch.tensor([[[0.25, 0.5], [0.75, 0.5]]])
    >>> metrics = task.metrics()
    >>> task.update(metrics, torch.tensor([[0.25, 0.6, 0.75, 0.5]]), target)  # one is 0.1 off; they are 0.5 apart
    >>> metrics["nme"].compute()
    tensor(0.1000, dtype=torch.float64)
    """

    points: tuple[str, ...] | int = 5
    between: tuple[int, int] | None = field(default=None, kw_only=True)
    aspect: float = field(default=1.0, kw_only=True)
    failure: float = field(default=0.1, kw_only=True)
    criterion: str = field(default="squared", kw_only=True)
    mean: tuple[float, ...] = field(default=(), kw_only=True)
    deviation: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen(CRITERIA, self, "criterion")
        count = len(self.labels)
        if count < 1 or len(self.mean) not in (0, 2 * count):
            raise PolytaskError(
                f"task '{self.name}' needs at least one point and a mean of 2 numbers for each, or none, got points "
                f"{self.points!r} and mean {self.mean!r}"
            )
        if self.between is not None and (
            len(set(self.between)) != 2 or any(not 0 <= each < count for each in self.between)
        ):
            raise PolytaskError(
                f"task '{self.name}' takes `between` as two of its points, by their numbers from 0 to {count - 1}, "
                f"got {self.between!r}"
            )
        if not (self.aspect > 0 and self.failure > 0 and self.deviation > 0):
            raise PolytaskError(
                f"task '{self.name}' takes aspect, failure and deviation above 0, got {self.aspect}, {self.failure} "
                f"and {self.deviation}"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the points; their numbers when they have no names."""
        return self.points if isinstance(self.points, tuple) else tuple(map(str, range(self.points)))

    @property
    def outputs(self) -> int:
        return 2 * len(self.labels)

    @property
    def shown(self) -> bool:
        return True

    @property
    def likelihood_scale(self) -> float:
        return CRITERIA[self.criterion].likelihood_scale

    def _standard(self, target: Tensor) -> Tensor:
        """Labels [b, points, 2] in standard units, [b, 2 points]."""
        flat = target.flatten(1)
        return (flat - flat.new_tensor(self.mean) if self.mean else flat) / self.deviation

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        error = in_single(prediction) - self._standard(target)
        known = error if complete else torch.where(present(target).flatten(1), error, 0)
        return CRITERIA[self.criterion].of(known, self.deviation).sum()

    def credit_sum(self, prediction: Tensor, target: Tensor) -> Tensor:
        """1 - squared error / variance of the training labels, summed over the coordinates."""
        error = prediction - self._standard(target)
        return torch.where(present(target).flatten(1), 1 - error.square(), 0).sum()

    def metrics(self) -> dict[str, Metric]:
        return {"nme": MeanError(), "failures": MeanError()}

    def metric_units(self) -> dict[str, str]:
        return {"nme": "", "failures": ""}

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        error = self._normalised(self.decode(prediction), target.float())
        values = {"nme": error, "failures": error > self.failure}
        for name, metric in metrics.items():
            metric.update(values[name])

    def _normalised(self, shown: Tensor, target: Tensor) -> Tensor:
        """The normalised mean error of every image that has one."""
        stretch = target.new_tensor([self.aspect, 1.0])  # both in heights
        there = present(target[..., 0])
        distances = torch.where(there, ((shown - target) * stretch).norm(dim=-1), 0)
        error = distances.sum(1) / there.sum(1)
        if self.between is not None:
            first, second = self.between
            error = error / ((target[:, first] - target[:, second]) * stretch).norm(dim=-1)
            measured = (target[:, first] != target[:, second]).any(-1) & there[:, first] & there[:, second]
        else:
            measured = there.any(1)
        return error[measured]

    def check(self, target: Tensor) -> None:
        expected = len(self.labels)
        if target.ndim != 3 or target.shape[1:] != (expected, 2):
            raise PolytaskError(
                f"task '{self.name}' expects targets of shape [n, {expected}, 2] (x and y of {expected} points), got "
                f"{list(target.shape)}"
            )
        check_floating(self, target, "give fractions of the width and the height, say points / torch.tensor([w, h])")
        there = present(target)
        self._refuse(
            there.any(2) & ~there.all(2), target, "two numbers or two NaN for every point", "give both, or none"
        )
        self._refuse(
            (target.abs() > 2).any(2),
            target,
            "fractions of the image (0 to 1, a little outside it at the most)",
            "divide x by the width and y by the height; mark points that can't be seen with NaN",
        )

    def fitted(self, target: Tensor) -> Self:
        self.check(target)
        self._labels(target)
        flat, there = target.flatten(1).double(), present(target)
        gone = there.flatten(1).sum(0) == 0
        if bool(gone.any()):
            which = self.labels[int(gone.nonzero()[0, 0]) // 2]
            raise PolytaskError(
                f"point '{which}' of task '{self.name}' is missing in all {len(target)} training rows; drop the point"
            )
        mean = flat.nanmean(0)
        deviation = (flat - mean).square().nanmean().sqrt().item()
        if deviation < 1e-9:
            raise PolytaskError(
                f"the points of task '{self.name}' are in one place in all {len(target)} training rows: there is "
                "nothing to learn; drop the task or look at its labels"
            )
        return replace(self, mean=tuple(mean.tolist()), deviation=deviation)

    def _refuse(self, wrong: Tensor, target: Tensor, expected: str, way_out: str) -> None:
        if bool(wrong.any()):
            sample, point = wrong.nonzero()[0].tolist()
            x, y = target[sample, point].tolist()
            raise PolytaskError(
                f"task '{self.name}' expects {expected}; {int(wrong.sum())} of {wrong.numel()} points are not that "
                f"(first: ({x:g}, {y:g}), point '{self.labels[point]}' of sample {sample}); {way_out}"
            )

    def decode(self, prediction: Tensor) -> Tensor:
        """Points as fractions of width and height, [n, points, 2]."""
        flat = prediction.float() * self.deviation
        return (flat + flat.new_tensor(self.mean) if self.mean else flat).unflatten(1, (-1, 2))

    def columns(self, prediction: Tensor) -> dict[str, Any]:
        found = self.decode(prediction)
        return {
            f"{self.name}: {axis} of {label}": found[:, k, number].tolist()
            for k, label in enumerate(self.labels)
            for number, axis in enumerate("xy")
        }

    def constant(self, target: Tensor) -> Tensor:
        known = self._standard(target.double())
        criterion = CRITERIA[self.criterion]
        if criterion.mean_is_best:
            return known.nanmean(0).float()
        low, high = known.nan_to_num(math.inf).amin(0), known.nan_to_num(-math.inf).amax(0)
        return lowest(lambda value: criterion.of(value - known, self.deviation).nansum(0), low, high).float()

    def legend(self) -> dict[str, tuple[int, int, int]]:
        """The colour of every point, by its name."""
        colours = class_colours(len(self.labels)).tolist()
        return {label: (r, g, b) for label, (r, g, b) in zip(self.labels, colours, strict=True)}

    def picture(self, prediction: Tensor, inputs: Tensor | None = None) -> Tensor:
        """The points as dots on the images (on grey of 96 x 96 without them), uint8 [b, h, w, 3]."""
        return dotted(self.decode(prediction), inputs)

    def target_picture(self, target: Tensor, inputs: Tensor | None = None) -> Tensor:
        """The same of labels; missing points are left out."""
        return dotted(target.float(), inputs)
