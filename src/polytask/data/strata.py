"""Classes and ranges of numbers whose rows every split shall get its share of."""

import torch
from torch import Tensor

from polytask.tasks import present

NO_STRATUM = -1
"""The number of a row that is of no stratum of a column."""


def strata(target: Tensor, bins: int) -> Tensor:
    """The stratum of every row in every column of a target: [rows, columns] int64, -1 where there is none.

    * whole numbers [n] or [n, columns]: each class is a stratum;
    * floating-point numbers [n] or [n, columns]: `bins` quantiles of the labels there are; equal numbers share one;
    * maps [n, h, w] and the like: one stratum, of the samples with a label somewhere.

    >>> strata(torch.tensor([2.0, 9.0, float("nan"), 3.0]), bins=2).flatten().tolist()
    [0, 1, -1, 1]
    """
    if target.ndim > 2:
        labelled = present(target).flatten(1).any(1)
        return torch.where(labelled, 0, NO_STRATUM)[:, None]
    columns = target.reshape(len(target), -1).unbind(1)
    if target.is_floating_point():
        return torch.stack([_quantiles(column, bins) for column in columns], 1)
    return torch.stack([torch.where(present(column), column.long(), NO_STRATUM) for column in columns], 1)


def _quantiles(column: Tensor, bins: int) -> Tensor:
    there = present(column)
    labels = column[there].double()
    found = torch.full((len(column),), NO_STRATUM)
    if len(labels):
        edges = labels.sort().values[torch.arange(1, bins) * len(labels) // bins].unique()
        found[there] = torch.bucketize(labels, edges, right=True)
    return found
