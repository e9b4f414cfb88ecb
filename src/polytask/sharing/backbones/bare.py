"""No trunk: heads read the inputs themselves."""

from collections.abc import Mapping
from dataclasses import dataclass

from polytask.errors import PolytaskError
from polytask.sharing.backbone import SequentialBackbone
from polytask.sharing.backbones.mlp import Flat
from polytask.sharing.backbones.table import TableEncoder, TableInputs


@dataclass(frozen=True)
class Bare:
    """The inputs as the only feature, so that linear heads are linear models: what a network has to beat.

    Args:
        inputs: the number of inputs, or the columns of a table (categories become learned vectors), as of `MLP`.

    >>> import torch
    >>> [tuple(each.shape) for each in Bare(10)()(torch.zeros(2, 10))]
    [(2, 10)]
    """

    inputs: int | TableInputs

    def __post_init__(self) -> None:
        if isinstance(self.inputs, Mapping):  # as read from JSON
            object.__setattr__(self, "inputs", TableInputs(**self.inputs))
        if isinstance(self.inputs, int) and self.inputs < 1:
            raise PolytaskError(f"Bare needs at least one input, got {self.inputs}")

    def __call__(self) -> SequentialBackbone:
        if isinstance(self.inputs, TableInputs):
            return SequentialBackbone([TableEncoder(self.inputs)], (self.inputs.width,))
        return SequentialBackbone([Flat(self.inputs)], (self.inputs,))
