"""Which data set every row came from, and rows by what they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polytask.errors import PolytaskError


@dataclass(frozen=True, eq=False)
class Sources:
    """The data sets that the rows of one came from.

    Args:
        names: of the data sets.
        of_row: [n] integers, the number of each row's data set in `names`.
        one_task: a row shows the label of one task only, the one that its source is called after.

    Raises:
        PolytaskError: a name that is there twice, or a number without a name.

    >>> import torch
    >>> Sources(("books", "films"), torch.tensor([0, 1, 1])).rows()["films"]
    tensor([1, 2])
    """

    names: tuple[str, ...]
    of_row: Tensor
    one_task: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if not self.names or len(set(self.names)) < len(self.names):
            raise PolytaskError(f"sources need names, each once, got {list(self.names)}")
        if len(self.of_row):
            low, high = (int(each) for each in torch.aminmax(self.of_row))
            if low < 0 or high >= len(self.names):
                raise PolytaskError(
                    f"of_row must hold numbers from 0 to {len(self.names) - 1} (of {len(self.names)} names), got "
                    f"{low} to {high}"
                )

    def __len__(self) -> int:
        return len(self.of_row)

    def select(self, rows: Tensor) -> "Sources":
        """Those of some rows; the names stay."""
        return Sources(self.names, self.of_row[rows], self.one_task)

    def rows(self) -> dict[str, Tensor]:
        """The row numbers of every source that has rows."""
        found = zip(self.names, grouped(self.of_row, len(self.names)), strict=True)
        return {name: rows for name, rows in found if len(rows)}


def grouped(numbers: Tensor, groups: int) -> Sequence[Tensor]:
    """Where each of the numbers 0 to groups - 1 is, in order.

    >>> import torch
    >>> [places.tolist() for places in grouped(torch.tensor([1, 0, 1]), 3)]
    [[1], [0, 2], []]
    """
    counts = torch.bincount(numbers, minlength=groups).tolist()
    return numbers.argsort(stable=True).split(counts)
