"""How task gradients lie to each other, read off their Gramian."""

import torch
from torch import Tensor


def norms(gramian: Tensor) -> Tensor:
    """The length of every task's gradient, [t]."""
    return gramian.diagonal().clamp_min(0).sqrt()


def cosines(gramian: Tensor) -> Tensor:
    """cos(g_i, g_j) = G_ij / (|g_i| |g_j|), [t, t]; NaN where a gradient is zero.

    >>> import torch
    >>> cosines(torch.tensor([[1.0, -1.0], [-1.0, 4.0]]))
    tensor([[ 1.0000, -0.5000],
            [-0.5000,  1.0000]])
    """
    length = norms(gramian)
    found = gramian / torch.outer(length, length)
    found = found.clamp(-1, 1)
    return torch.where(torch.outer(length, length) > 0, found, torch.nan)


def magnitude_similarity(gramian: Tensor) -> Tensor:
    """2 |g_i| |g_j| / (|g_i|^2 + |g_j|^2), [t, t]: 1 for equal lengths, towards 0 for different ones.

    Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", definition 2.

    >>> import torch
    >>> magnitude_similarity(torch.diag(torch.tensor([1.0, 4.0])))[0, 1]
    tensor(0.8000)
    """
    length = norms(gramian)
    squares = length.square()
    return 2 * torch.outer(length, length) / (squares[:, None] + squares[None, :])
