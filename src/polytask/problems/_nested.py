"""Classes of classes."""

import torch
from torch import Tensor

from polytask.errors import PolytaskError
from polytask.tasks import MISSING_CLASS


def members(fine: Tensor, coarse: Tensor) -> dict[int, list[int]]:
    """The fine classes of every coarse one.

    Args:
        fine, coarse: [n] class numbers.

    Raises:
        PolytaskError: a fine class is of two coarse ones.

    >>> members(torch.tensor([7, 3, 9, 7]), torch.tensor([0, 0, 1, 0]))
    {0: [3, 7], 1: [9]}
    """
    pairs = torch.stack([fine, coarse], 1).unique(dim=0)
    classes, times = pairs[:, 0].unique(return_counts=True)
    if bool((times > 1).any()):
        which = int(classes[times > 1][0])
        raise PolytaskError(
            f"fine class {which} is of the coarse classes {pairs[pairs[:, 0] == which, 1].tolist()}; to make a task of "
            "every coarse class, a fine class must be of one of them (else train on both labels: apart=False)"
        )
    return {int(group): pairs[pairs[:, 1] == group, 0].tolist() for group in coarse.unique()}


def own_classes(fine: Tensor, mine: list[int]) -> Tensor:
    """Class numbers counted from 0 among some classes; -100 for the others.

    >>> own_classes(torch.tensor([7, 3, 9, 7]), [3, 7]).tolist()
    [1, 0, -100, 1]
    """
    match = fine[:, None] == torch.tensor(mine)
    return torch.where(match.any(1), match.long().argmax(1), MISSING_CLASS)
