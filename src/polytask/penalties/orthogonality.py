"""Two spaces that shall hold different things."""

from jaxtyping import Float
from torch import Tensor


def orthogonality(s: Float[Tensor, "n d"], h: Float[Tensor, "n e"]) -> Float[Tensor, ""]:
    """The squared Frobenius norm ||S'H||_F^2 of the products of all columns of S with all columns of H.

    0 where every column of S is orthogonal to every column of H: over these n rows, no feature of the one space says
    linearly what a feature of the other says.

    Args:
        s: n rows (samples, or positions) of d features.
        h: of the same n rows, e features.

    Returns:
        A scalar, which grows with n^2: divide both by sqrt(n) for a mean over rows.

    Source: Bousmalis et al. 2016, Domain Separation Networks (shared and private encoders); Ruder et al. 2019, Latent
    Multi-task Architecture Learning (subspaces of a layer).

    Cost: n d e multiply-adds.

    >>> import torch
    >>> s = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> orthogonality(s, torch.tensor([[0.0], [3.0]]))  # S'H = (0, 6)
    tensor(36.)
    """
    return (s.mT @ h).square().sum()
