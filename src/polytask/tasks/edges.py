"""Where the edges are."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor
from torchmetrics import Metric

from polytask.errors import PolytaskError
from polytask.tasks.binary_maps import YesNoMap
from polytask.tasks.edge_matching import OptimalF
from polytask.tasks.task import present


@dataclass(frozen=True)
class Edges(YesNoMap):
    r"""Edge or not at every pixel: class-balanced binary cross-entropy, and the ODS F-measure.

    One logit z per pixel, q = σ(z); the mean over the labelled pixels of

        -[β y log q + (1 - β)(1 - y) log(1 - q)],

    plus `dice` times the Dice loss of its image, 1 - 2 sum y q / (sum q² + sum y), which images without an edge do not
    have. Targets are [b, h, w] of 0 and 1, any type (missing: -100, or NaN when floating point; bool and uint8 have no
    missing ones); network outputs [b, 1, h, w]. Metric: "ods f", see `OptimalF` for its exact definition. Error map:
    |q - y|. Raster: 255 q rounded, uint8.

    Args:
        positive_weight: β between 0 and 1; by default (None) the share of non-edges among the labelled pixels of the
            image itself (Xie and Tu 2015). An image without edges then has weight 0. 0.95 for all images is the
            custom of ASTMT (Maninis et al. 2019) and what followed it.
        dice: how much the Dice loss counts (Milletari et al. 2016), 0 for none.
        tolerance, thresholds, thin: of "ods f".
        scored: as in `Dense`.

    What differs: Xie and Tu sum over the pixels of an image, here it is the mean.

    `constant`: with β by the image, probability 1/2 is the best whatever the labels are; with a fixed β it is
    β n1 / (β n1 + (1 - β) n0). Dice does not enter it.

    Source: Xie and Tu 2015, "Holistically-Nested Edge Detection", the class-balanced cross-entropy, at one output.

    Cost: of the loss, binary cross-entropy and a sum of the target for the balance; of the metric, see `OptimalF`.

    >>> import torch
    >>> task = Edges("edges", positive_weight=0.95)
    >>> task.loss(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]]))  # (0.95 + 0.05) / 2 * log 2
    tensor(0.3466)
    """

    tolerance: float = field(default=0.0075, kw_only=True)
    thresholds: int = field(default=99, kw_only=True)
    thin: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tolerance < 0 or self.thresholds < 2:
            raise PolytaskError(
                f"task '{self.name}' takes a tolerance of at least 0 and at least 2 thresholds, got "
                f"{self.tolerance:g} and {self.thresholds}"
            )

    def measures(self) -> dict[str, Metric]:
        return {"ods f": OptimalF(self.tolerance, self.thresholds, self.thin)}

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        chance = self.decode(self.fitting(prediction, target))
        for metric in metrics.values():
            metric.update(chance, target == 1, present(target))
