"""The Gramian of the *unit* gradients: what every solver works on."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from polytask.errors import PolytaskError


@dataclass(frozen=True)
class Cosines:
    """A Gramian taken apart into the lengths of the gradients and the cosines between them.

    Args:
        matrix: [k, k] cosines of the tasks whose gradient is not zero; float64, symmetric, ones on the diagonal.
        lengths: [k] of their gradients.
        there: [t] which tasks these are.
        ridge: what makes `matrix + ridge * I` positive definite to the eyes of a Cholesky factorisation.
        like: the Gramian it was made from.
    """

    matrix: Tensor
    lengths: Tensor
    there: Tensor
    ridge: float
    like: Tensor

    @property
    def ridged(self) -> Tensor:
        """`matrix + ridge * I`."""
        ridged = self.matrix.clone()
        ridged.diagonal().add_(self.ridge)
        return ridged

    def spread(self, weights: Tensor, elsewhere: float = 0.0) -> Tensor:
        """Weights [k] as weights [t] of the dtype and device of the Gramian; `elsewhere` for zero gradients."""
        if len(weights) != len(self.there):
            every = torch.full((len(self.there),), elsewhere, dtype=weights.dtype)
            every[self.there] = weights
            weights = every
        return weights.to(self.like)


@torch.no_grad()
def cosines(gramian: Tensor) -> Cosines:
    r"""Scale a Gramian to a unit diagonal: C_ij = G_ij / (|g_i| |g_j|), |g_i| = sqrt(G_ii).

    A task counts as zero if its gradient is 1e-20 times the longest one or shorter. The ridge starts at the rounding
    of the Gramian (1e-12 for float64, t eps for narrower types) and grows only where that is not enough.

    Args:
        gramian: [t, t], positive semidefinite up to rounding.

    Raises:
        PolytaskError: a gradient is NaN or infinite.

    >>> import torch
    >>> c = cosines(torch.tensor([[4.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    >>> c.matrix, c.lengths, c.there.tolist()
    (tensor([[1.0000, 0.5000],
            [0.5000, 1.0000]], dtype=torch.float64), tensor([2., 1.], dtype=torch.float64), [True, True, False])
    """
    g = gramian.detach().to("cpu", torch.float64)
    squares = g.diagonal()
    finite = squares.isfinite()
    if not math.isfinite(squares.sum().item()) and not bool(finite.all()):
        raise PolytaskError(
            f"the gradients of the tasks at rows {(~finite).nonzero()[:, 0].tolist()} of the Gramian are NaN or "
            "infinite; look at the losses and labels of this batch, lower the learning rate or clip the gradients"
        )
    there = squares > squares.max() * 1e-40
    if not bool(there.all()):
        g = g[there][:, there]
    lengths = g.diagonal().sqrt()
    matrix = g / lengths / lengths[:, None]
    matrix = (matrix + matrix.T) / 2
    matrix.diagonal().fill_(1.0)
    ridge = max(1e-12, len(squares) * torch.finfo(gramian.dtype).eps)
    if gramian.dtype == torch.float64:
        ridge = 1e-12
    found = Cosines(matrix, lengths, there, ridge, gramian)
    while int(torch.linalg.cholesky_ex(found.ridged).info):
        found = Cosines(matrix, lengths, there, found.ridge * 10, gramian)
    return found
