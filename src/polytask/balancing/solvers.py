"""Small exact solvers on t x t matrices, in float64."""

import torch
from torch import Tensor


def min_norm_point(gramian: Tensor, tolerance: float = 1e-12) -> Tensor:
    r"""argmin { w'Gw : w >= 0, sum w = 1 } for a positive semidefinite G.

    Wolfe 1976, "Finding the nearest point in a polytope": the active set grows by the vertex that lies lowest along
    the current point and shrinks where its affine minimiser leaves the simplex; it ends after finitely many
    steps at a point with (Gw)_i >= w'Gw (1 - tolerance) for all i.

    Args:
        gramian: [t, t].
        tolerance: relative to the largest diagonal entry.

    Returns:
        [t] weights on the simplex, of the dtype and device of `gramian`.

    >>> import torch
    >>> min_norm_point(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))  # opposite gradients
    tensor([0.5000, 0.5000])
    """
    size = len(gramian)
    scale = gramian.diagonal().max()
    g = gramian.detach().double().cpu() / scale.double().cpu().clamp_min(torch.finfo(torch.float64).tiny)
    g = (g + g.T) / 2
    active = [int(g.diagonal().argmin())]
    w = torch.zeros(size, dtype=torch.float64)
    w[active] = 1.0
    for _ in range(10 * size * size + 10):
        slope = g @ w
        lowest = int(slope.argmin())
        if slope[lowest] >= w @ slope - tolerance or lowest in active:
            break
        active.append(lowest)
        while True:
            target = _affine_minimiser(g[active][:, active])
            current = w[active]
            if bool((target > 0).all()):
                w.zero_()
                w[active] = target
                break
            leaving = target <= 0
            share = (current[leaving] / (current[leaving] - target[leaving]).clamp_min(1e-300)).min()
            moved = current + share * (target - current)
            moved[leaving & (moved <= 1e-15)] = 0.0
            if bool((moved[leaving] > 0).all()):  # rounding kept all of them: drop the smallest
                moved[leaving.nonzero()[:, 0][moved[leaving].argmin()]] = 0.0
            w.zero_()
            w[active] = moved / moved.sum()
            active = [each for each, weight in zip(active, moved.tolist(), strict=True) if weight > 0]
    return w.to(gramian)


def _affine_minimiser(g: Tensor) -> Tensor:
    """argmin { w'Gw : sum w = 1 } without the sign constraint, by its optimality system."""
    size = len(g)
    system = torch.zeros(size + 1, size + 1, dtype=g.dtype)
    system[:size, :size], system[:size, size], system[size, :size] = g, 1.0, 1.0
    wanted = torch.zeros(size + 1, dtype=g.dtype)
    wanted[size] = 1.0
    return torch.linalg.lstsq(system, wanted[:, None], driver="gelsd").solution[:size, 0]
