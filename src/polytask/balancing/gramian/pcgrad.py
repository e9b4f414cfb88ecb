"""Projecting conflicting gradients (Yu et al. 2020)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from polytask.balancing.balancer import GramianBalancer, Randomised, Step


def pcgrad_weights(gramian: Tensor, orders: Tensor) -> Tensor:
    r"""The weights of the sum of all projected gradients.

    Every g_i meets the others in the order of row i of `orders` and loses its part along each *original* g_j that
    it conflicts with at that moment: g_i -= (g_i . g_j) / |g_j|^2 g_j if g_i . g_j < 0. All of it happens in the
    coefficients c of g_i = sum_k c_ik g_k, where g_i . g_j = (c G)_ij.

    Args:
        gramian: [t, t].
        orders: [t, t], row i a permutation of the tasks (i itself is skipped).

    >>> import torch
    >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]])
    >>> pcgrad_weights(gramian, torch.tensor([[0, 1], [0, 1]]))  # g_0 + g_1/4 and g_1 + g_0
    tensor([2.0000, 1.2500])
    """
    size = len(gramian)
    rows = torch.arange(size, device=gramian.device)
    squares = gramian.diagonal()
    coefficients = torch.eye(size, dtype=gramian.dtype, device=gramian.device)
    for other in orders.T:
        along = (coefficients * gramian[other]).sum(1)
        removed = torch.where(
            (along < 0) & (other != rows),
            along / squares[other].clamp_min(torch.finfo(gramian.dtype).tiny),
            0,
        )
        coefficients[rows, other] -= removed
    return coefficients.sum(0)


@dataclass(eq=False, repr=False)
class PCGrad(Randomised, GramianBalancer):
    """Each task's gradient loses what points against another task's; the step is the *sum* of what is left.

    Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", Algorithm 1: projection on the normal plane of the
    original gradients, in an order drawn anew for every task and step; the sum over tasks (several codes take the
    mean: then the learning rate means something else). For more than two tasks the result may still conflict
    with one. A task with a zero gradient neither projects nor is projected.

    Cost: one backward pass per task, t^3 arithmetic on the Gramian.

    Args:
        seed: of the random order; the generator is saved with the state.

    >>> import torch
    >>> PCGrad().weights(torch.tensor([[1.0, -1.0], [-1.0, 4.0]]))
    tensor([2.0000, 1.2500])
    """

    seed: int = 0

    def weights(self, gramian: Tensor, step: Step | None = None) -> Tensor:
        draws = torch.rand(gramian.shape, generator=self._generator)
        return pcgrad_weights(gramian, draws.argsort(1).to(gramian.device))
