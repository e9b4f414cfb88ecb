"""Fully connected layers, for vectors and tables."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing.backbone import SequentialBackbone
from polytask.sharing.backbones.table import TableEncoder, TableInputs


@dataclass(frozen=True)
class MLP:
    """Fully connected layers with ReLU, one stage per layer; reads vectors, or tables with categories.

    Args:
        inputs: the number of inputs (anything of that many numbers per sample is flattened), or the columns
            of a table, whose categories become learned vectors in the first stage.
        widths: the width of each layer.
        dropout: the probability with which an output of a layer is left out in training.

    Called, it makes a fresh backbone with weights from torch's global generator.

    >>> import torch
    >>> [tuple(each.shape) for each in MLP(10, widths=(64, 32))()(torch.zeros(2, 10))]
    [(2, 64), (2, 32)]
    >>> table = MLP(TableInputs(numbers=2, cardinalities=(7,)), widths=(64,))
    >>> rows = {"numbers": torch.zeros(5, 2), "categories": torch.zeros(5, 1, dtype=torch.int32)}
    >>> [tuple(each.shape) for each in table()(rows)]
    [(5, 64)]
    """

    inputs: int | TableInputs
    widths: tuple[int, ...] = (64, 64)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if isinstance(self.inputs, Mapping):  # as read from JSON
            object.__setattr__(self, "inputs", TableInputs(**self.inputs))
        if isinstance(self.inputs, int) and self.inputs < 1:
            raise PolytaskError(f"an MLP needs at least one input, got {self.inputs}")
        if not 0 <= self.dropout < 1:
            raise PolytaskError(f"dropout must be from 0 to below 1, got {self.dropout}")

    def __call__(self) -> SequentialBackbone:
        if isinstance(self.inputs, TableInputs):
            return layers(TableEncoder(self.inputs), self.inputs.width, self.widths, self.dropout)
        return layers(Flat(self.inputs), self.inputs, self.widths, self.dropout)


def layers(inputs: nn.Module, width: int, widths: Sequence[int], dropout: float = 0.0) -> SequentialBackbone:
    """A backbone of fully connected layers with ReLU, a stage each, on what a module makes of the inputs.

    Args:
        inputs: gives [b, width]; it is part of the first stage.
        width, widths: of what it gives, and of the layers.
        dropout: after every layer.
    """
    stages: list[nn.Module] = []
    for below, above in pairwise((width, *widths)):
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if not stages:
            parts["inputs"] = inputs
        parts["linear"] = nn.Linear(below, above)
        parts["relu"] = nn.ReLU(inplace=True)
        if dropout:
            parts["dropout"] = nn.Dropout(dropout)
        stages.append(nn.Sequential(parts))
    return SequentialBackbone(stages, widths)


class Flat(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, inputs: Tensor) -> Tensor:
        if not isinstance(inputs, Tensor) or prod(inputs.shape[1:]) != self.width or inputs.ndim < 2:
            came = list(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
            raise PolytaskError(f"expected inputs of shape [b, {self.width}], got {came}")
        return inputs.flatten(1)
