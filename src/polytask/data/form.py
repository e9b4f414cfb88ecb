"""What one sample of a network's inputs looks like, without a sample."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from polytask.errors import PolytaskError


@dataclass(frozen=True)
class Form:
    """Type and shape of each input of one sample, by name; "" where the inputs are one tensor.

    Args:
        columns: type and shape.
        ranges: the lowest and the highest number seen in each, rounded outwards to thousandths.

    >>> form = Form.of({"x": torch.zeros(5, 2), "kind": torch.zeros(5, 1, dtype=torch.int32)})
    >>> form.columns
    {'x': ('float32', (2,)), 'kind': ('int32', (1,))}
    >>> {name: tuple(each.shape) for name, each in form.example(3).items()}
    {'x': (3, 2), 'kind': (3, 1)}
    >>> Form.from_json(form.to_json()) == form
    True
    """

    columns: Mapping[str, tuple[str, tuple[int, ...]]]
    ranges: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, inputs: Any) -> Self:
        """The form of a batch, as the network gets it."""
        named = inputs if isinstance(inputs, Mapping) else {"": inputs}
        columns = {name: (str(x.dtype).removeprefix("torch."), tuple(x.shape[1:])) for name, x in named.items()}
        return cls(columns, {name: _range(x) for name, x in named.items()})

    @property
    def images(self) -> tuple[int, int, int] | None:
        """(channels, height, width) where the inputs are one batch of images, else None."""
        _, shape = self.columns.get("", ("", ()))
        return (shape[0], shape[1], shape[2]) if len(shape) == 3 and set(self.columns) == {""} else None

    @property
    def of_pixels(self) -> bool:
        """Whether the inputs are one batch of images with numbers between 0 and 1, as pixels are given."""
        low, high = self.ranges.get("", (0.0, 0.0))
        return self.images is not None and low >= 0 and high <= 1

    def example(self, rows: int) -> Any:
        """Inputs of this form: noise between 0 and 1 for floating-point columns, 0 for others."""
        made: dict[str, Tensor] = {}
        generator = torch.Generator().manual_seed(0)
        for name, (dtype, shape) in self.columns.items():
            kind = getattr(torch, dtype)
            noise = torch.rand(rows, *shape, generator=generator)
            made[name] = noise.to(kind) if kind.is_floating_point else torch.zeros(rows, *shape, dtype=kind)
        return made[""] if set(made) == {""} else made

    def to_json(self) -> dict[str, Any]:
        """The form as plain data."""
        return {
            name: {"type": dtype, "shape": list(shape), "range": list(self.ranges[name])}
            for name, (dtype, shape) in self.columns.items()
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """The form that `to_json` wrote down.

        Raises:
            PolytaskError: the data are not of a form.
        """
        try:
            columns = {name: (str(each["type"]), tuple(map(int, each["shape"]))) for name, each in told.items()}
            return cls(columns, {name: (each["range"][0], each["range"][1]) for name, each in told.items()})
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
            raise PolytaskError(f"this does not describe the inputs of a network: {error!r}") from error


def _range(x: Tensor) -> tuple[float, float]:
    low, high = (float(each) for each in torch.aminmax(x)) if x.numel() else (0.0, 0.0)
    return math.floor(low * 1000) / 1000, math.ceil(high * 1000) / 1000
