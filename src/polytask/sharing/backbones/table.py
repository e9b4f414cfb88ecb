"""The inputs of a table: numbers as they are, categories as learned vectors."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from polytask.errors import PolytaskError


@dataclass(frozen=True)
class TableInputs:
    """What the columns of a table are: {"numbers": float [b, numbers], "categories": integer [b,
    categories]}.

    Args:
        numbers: how many columns of numbers (standardised, without missing values).
        cardinalities: for each categorical column, how many different codes it has, those for missing and
            unknown included: the codes are 0 to cardinality - 1.

    >>> TableInputs(numbers=3, cardinalities=(2, 40)).width  # 3 numbers, vectors of 1 and 20
    24
    """

    numbers: int
    cardinalities: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "cardinalities", tuple(self.cardinalities))
        if self.numbers < 0 or any(each < 1 for each in self.cardinalities):
            raise PolytaskError(f"expected numbers >= 0 and every cardinality >= 1, got {self}")
        if not self.width:
            raise PolytaskError("a table needs at least one column of numbers or categories, got none")

    @property
    def embedding_widths(self) -> tuple[int, ...]:
        """The length of each categorical column's vectors: half its cardinality, at most 50."""
        return tuple(min(50, (each + 1) // 2) for each in self.cardinalities)

    @property
    def width(self) -> int:
        """How many numbers describe a row once the categories are vectors."""
        return self.numbers + sum(self.embedding_widths)

    def __call__(self) -> "TableEncoder":
        """A fresh module that reads such rows."""
        return TableEncoder(self)


class TableEncoder(nn.Module):
    """A row of a table as one vector: its numbers, then a learned vector for each of its categories.

    Args:
        inputs: what the columns are.

    >>> import torch
    >>> encoder = TableEncoder(TableInputs(numbers=1, cardinalities=(4, 6)))
    >>> rows = {"numbers": torch.zeros(2, 1), "categories": torch.tensor([[0, 5], [3, 1]])}
    >>> encoder(rows).shape  # 1 + 2 + 3
    torch.Size([2, 6])
    """

    whole_rows = True
    """It reads the dict of all inputs, not one of them."""

    def __init__(self, inputs: TableInputs) -> None:
        super().__init__()
        self.inputs = inputs
        self.width = inputs.width
        self.embeddings = nn.ModuleList(
            nn.Embedding(codes, width)
            for codes, width in zip(inputs.cardinalities, inputs.embedding_widths, strict=True)
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        numbers, categories = self._columns(inputs)
        try:
            vectors = [each(categories[:, k]) for k, each in enumerate(self.embeddings)]
        except IndexError:
            raise self._unknown_code(categories) from None
        return torch.cat([numbers, *vectors], 1)

    def _columns(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        expected = [self.inputs.numbers, len(self.embeddings)]
        if not isinstance(inputs, Mapping) or not {"numbers", "categories"} <= inputs.keys():
            came = f"keys {sorted(inputs)}" if isinstance(inputs, Mapping) else type(inputs).__name__
            raise PolytaskError(f'expected a table as {{"numbers": [b, f], "categories": [b, c]}}, got {came}')
        numbers, categories = inputs["numbers"], inputs["categories"]
        if [numbers.shape[1], categories.shape[1]] != expected:
            raise PolytaskError(
                f"expected a table of {expected[0]} numbers and {expected[1]} categories, "
                f"got {numbers.shape[1]} numbers and {categories.shape[1]} categories"
            )
        return numbers, categories

    def _unknown_code(self, categories: Tensor) -> PolytaskError:
        for k, codes in enumerate(self.inputs.cardinalities):
            low, high = categories[:, k].min().item(), categories[:, k].max().item()
            if low < 0 or high >= codes:
                break
        return PolytaskError(
            f"categorical column {k} has codes {low} to {high}, expected 0 to {codes - 1} "
            "(codes for missing and unknown included in its cardinality)"
        )
