"""Metres to what every pixel shows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor
from torchmetrics import Metric

from polytask.errors import PolytaskError
from polytask.tasks.colours import range_colours
from polytask.tasks.dense import Dense, check_floating, check_labelled, check_pixels, chosen, in_single
from polytask.tasks.lowest import lowest
from polytask.tasks.map_metrics import MeanError, RootMeanSquare, Share
from polytask.tasks.task import present

DELTAS = {"delta1": 1.25, "delta2": 1.25**2, "delta3": 1.25**3}
AT_MOST = 1_000_000
"""How many labels the quantiles are taken of."""

IMAGES = 200
"""How many images a best constant is searched on."""


def _berhu(error: Tensor, count: Tensor, invariance: float) -> Tensor:
    size = error.abs()
    knee = (size.detach().amax((1, 2), keepdim=True) / 5).clamp_min(1e-12)
    return torch.where(size <= knee, size, (size.square() + knee.square()) / (2 * knee)).sum()


def _scale_invariant(error: Tensor, count: Tensor, invariance: float) -> Tensor:
    together = error.sum((1, 2)).square() / count.clamp_min(1)
    return error.square().sum() - invariance * together.sum()


@dataclass(frozen=True)
class Criterion:
    """A loss of depths.

    Args:
        total: errors [b, h, w] with 0 where there is no label, how many labels each image has [b], the setting
            `invariance` -> the sum over all labelled pixels.
        likelihood_scale: see `Task.likelihood_scale`.
        in_logs: the network predicts the logarithm of the depth, and errors are differences of logarithms.
        best: the constant that minimises it, of all labels at once; None where it has to be searched.
    """

    total: Callable[[Tensor, Tensor, float], Tensor]
    likelihood_scale: float = 1.0
    in_logs: bool = False
    best: Callable[[Tensor], Tensor] | None = None


CRITERIA = {
    "l1": Criterion(lambda error, count, invariance: error.abs().sum(), best=torch.median),
    "l2": Criterion(
        lambda error, count, invariance: error.square().sum(),
        likelihood_scale=0.5,
        best=lambda labels: labels.mean(dtype=torch.float64),
    ),
    "berhu": Criterion(_berhu),
    "scale_invariant": Criterion(
        _scale_invariant, likelihood_scale=0.5, in_logs=True, best=lambda labels: labels.log().mean(dtype=torch.float64)
    ),
}
"""The losses that `Depth` may have, by the name that its setting `criterion` takes."""


@dataclass(frozen=True)
class Depth(Dense):
    r"""Metres at every pixel: loss |e|, e = prediction - target, the mean over the pixels with a label.

    Other losses (`criterion`), x summed over the labelled pixels of an image, n of them:

    - "l2": e².
    - "berhu": |e| up to c, then (e² + c²) / (2c), with c = max |e| / 5 over the image, held fixed in the gradient
      (Laina et al. 2016).
    - "scale_invariant": d² - invariance / n (sum d)², d = log prediction - log target; the network predicts the
      *logarithm* of the depth (Eigen, Puhrsch, Fergus 2014).

    Targets are [b, h, w] floating point, metres above 0, NaN where there is none; network outputs [b, 1, h, w]: metres,
    or log metres for "scale_invariant". Metrics: absolute error |e| in metres, relative error |e| / target, RMSE, and
    delta1, delta2, delta3: the share of pixels with max(prediction / target, target / prediction) below 1.25, 1.25²,
    1.25³ (a prediction of 0 or less is never below). Error map: relative error, 1 from one half on. Raster: whole
    millimetres, uint16, 0 to 65,535 (so at most 65.5 m).

    Args:
        criterion: "l1" (the default, as in the MTAN protocol), "l2", "berhu" or "scale_invariant".
        invariance: λ of "scale_invariant", 0 (squared error of the logarithms) to 1 (the scale does not matter at
            all, and is not learned); the paper trains with 0.5.
        near, far: metres, the two ends of the colours in pictures. `fitted` learns them: the 2 % and 98 % quantiles
            of the training labels.
        unit: "m".
        scored: as in `Dense`. The MTAN protocol scores "absolute" and "relative".

    What differs: the papers write berHu and the scale-invariant loss for an image or a batch; here they belong to an
    image and are weighed by its number of labelled pixels, so that a batch can be cut in pieces. The MTAN code takes a
    depth of 0 for a missing one; here 0 is an error in `fitted`, and NaN is missing.

    `constant` minimises the loss: the median (L1), the mean (L2), the mean logarithm (scale-invariant); for berHu it is
    searched, on at most 200 evenly spaced images. `likelihood_scale` is 1/2 for squared errors (a Gaussian), 1 for L1
    and berHu: a Laplace density of scale σ has |e| / σ in its logarithm.

    Source: L1 and the two errors as in the MTAN protocol (Liu, Johns, Davison 2019); RMSE and the thresholds as in
    Eigen et al. 2014.

    Cost: a few passes over one map.

    >>> import torch
    >>> task = Depth("depth")
    >>> task.loss(torch.full((1, 1, 1, 3), 2.0), torch.tensor([[[1.0, 4.0, float("nan")]]]))  # (1 + 2) / 2
    tensor(1.5000)
    """

    criterion: str = field(default="l1", kw_only=True)
    invariance: float = field(default=0.5, kw_only=True)
    near: float = field(default=0.0, kw_only=True)
    far: float = field(default=10.0, kw_only=True)
    unit: str = field(default="m", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen(CRITERIA, self, "criterion")
        if not (0 <= self.invariance <= 1) or not self.near < self.far:
            raise PolytaskError(
                f"task '{self.name}' takes invariance from 0 to 1 and near below far, got invariance "
                f"{self.invariance:g}, near {self.near:g}, far {self.far:g}"
            )

    @property
    def outputs(self) -> int:
        return 1

    @property
    def _criterion(self) -> Criterion:
        return CRITERIA[self.criterion]

    @property
    def likelihood_scale(self) -> float:
        return self._criterion.likelihood_scale

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        shown = self.fitting(prediction, target)[:, 0]
        error = shown - (in_single(target).log() if self._criterion.in_logs else target)
        if complete:
            count = target.new_full((len(target),), float(target[0].numel()), dtype=error.dtype)
        else:
            there = present(target)
            error, count = torch.where(there, error, 0), there.sum((1, 2)).to(error.dtype)
        return self._criterion.total(error, count, self.invariance)

    def credit_sum(self, prediction: Tensor, target: Tensor) -> Tensor:
        """How many pixels are less than a factor of 1.25 off."""
        shown = self.decode(self.fitting(prediction, target))
        return (_factor(shown, target) < DELTAS["delta1"]).sum()  # NaN is not below

    def measures(self) -> dict[str, Metric]:
        return {
            "absolute": MeanError(self.unit),
            "relative": MeanError(),
            "rmse": RootMeanSquare(self.unit),
            **{name: Share() for name in DELTAS},
        }

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        there = present(target)
        shown, known = self.decode(self.fitting(prediction, target))[there], target[there].float()
        error, factor = (shown - known).abs(), _factor(shown, known)
        values = {"absolute": error, "relative": error / known, "rmse": error.square()}
        values |= {name: factor < largest for name, largest in DELTAS.items()}
        for name, metric in metrics.items():
            metric.update(values[name])

    def check(self, target: Tensor) -> None:
        self.check_form(target)
        check_floating(self, target, "give metres, say target.float() / 1000 for millimetres")
        check_pixels(
            self,
            (target <= 0) | target.isinf(),
            target,
            "depths above 0 m, and finite",
            "mark pixels without a depth missing: target = target.where((target > 0) & target.isfinite(), torch.nan)",
        )

    def fitted(self, target: Tensor) -> Self:
        self.check(target)
        check_labelled(self, target)
        some = self._labels(target)
        near, far = some[:: -(-len(some) // AT_MOST)].float().quantile(torch.tensor([0.02, 0.98])).tolist()
        return replace(self, near=near, far=max(far, near * 1.01))

    def decode(self, prediction: Tensor) -> Tensor:
        """Metres, [n, h, w]."""
        return prediction[:, 0].float().exp() if self._criterion.in_logs else prediction[:, 0].float()

    def constant(self, target: Tensor) -> Tensor:
        if self._criterion.best is not None:
            return self._criterion.best(self._labels(target).float()).float()[None]
        some = target[:: -(-len(target) // IMAGES)]
        labels = self._labels(some).float()
        return lowest(
            lambda value: self.loss_sum(self.repeated(value, some), some)[None], labels.min()[None], labels.max()[None]
        )

    def raster(self, prediction: Tensor) -> Tensor:
        millimetres = (self.decode(prediction) * 1000).nan_to_num(0.0).clamp(0, 65535).round()
        return millimetres.to(torch.int32).to(torch.uint16)

    def legend(self) -> dict[str, tuple[int, int, int]]:
        """The colours of near, middle and far."""
        places = (self.near, (self.near + self.far) / 2, self.far)
        colours = self.painted(torch.tensor(places)[None, None])[0, 0].tolist()
        return {f"{place:.3g} {self.unit}": (r, g, b) for place, (r, g, b) in zip(places, colours, strict=True)}

    def as_target(self, prediction: Tensor) -> Tensor:
        return self.decode(prediction)

    def painted(self, values: Tensor) -> Tensor:
        return range_colours((self.far - values) / (self.far - self.near))  # light is near

    def how_wrong(self, prediction: Tensor, target: Tensor) -> Tensor:
        return 2 * (self.decode(prediction) - target).abs() / target.clamp_min(1e-12)


def _factor(shown: Tensor, known: Tensor) -> Tensor:
    """By what factor, at least 1, depths are off; infinite for those of 0 or less."""
    return torch.where(shown > 0, torch.maximum(shown / known, known / shown), torch.inf)
