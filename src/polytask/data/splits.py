"""Train, validation and test rows that never share a sample or a group."""

from collections.abc import Mapping

import torch
from torch import Tensor

from polytask.errors import PolytaskError

DEFAULT_FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}


def split(
    rows: int,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    groups: Tensor | None = None,
) -> dict[str, Tensor]:
    """Rows of each split, chosen at random; a group is never divided.

    Args:
        rows: how many there are.
        fractions: share of every split; they sum to 1.
        seed: chooses the split.
        groups: [rows] integers; rows of one group stay together (the shares are then met as nearly as whole
            groups allow).

    Returns:
        The sorted row numbers of every split.

    Raises:
        PolytaskError: when fractions do not sum to 1 or a split would be empty.

    >>> {name: len(rows) for name, rows in split(100).items()}
    {'train': 70, 'validation': 15, 'test': 15}
    """
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) <= 0:
        raise PolytaskError(f"the shares of the splits must be positive and sum to 1, got {dict(fractions)}")
    generator = torch.Generator().manual_seed(seed)
    if groups is None:
        owner, order = torch.arange(rows), torch.randperm(rows, generator=generator)
    else:
        _, owner = torch.unique(groups, return_inverse=True)
        order = torch.randperm(int(owner.max()) + 1, generator=generator)
    sizes = torch.bincount(owner, minlength=len(order))[order]
    # A group goes to the split in whose share of the rows its middle lies.
    middle = (sizes.cumsum(0) - sizes / 2) / rows
    edges = torch.tensor(list(fractions.values()), dtype=torch.float64).cumsum(0)[:-1]
    place = torch.empty(len(order), dtype=torch.long)
    place[order] = torch.bucketize(middle.double(), edges)
    found = {name: (place[owner] == k).nonzero()[:, 0] for k, name in enumerate(fractions)}
    empty = [name for name, found_rows in found.items() if not len(found_rows)]
    if empty:
        raise PolytaskError(
            f"the {' and '.join(empty)} split would be empty: {rows} rows in {len(order)} groups are too few for "
            f"the shares {dict(fractions)}; give more rows or other shares"
        )
    return found
