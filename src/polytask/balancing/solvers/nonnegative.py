"""Quadratic programs over the non-negative orthant: many right sides, one small matrix."""

import torch
from torch import Tensor

ROUNDS = 8
"""Exchanges of whole blocks before the interior point method takes over; up to six are used where C has full rank."""


@torch.no_grad()
def nonnegative_minimum(matrix: Tensor, linear: Tensor, free: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""argmin { x'Cx / 2 + q'x : x >= 0 } for every row q.

    The solution has x >= 0, y = Cx + q >= 0 and x'y = 0. Guess which x are free, solve for them, exchange every index
    whose x or y came out negative, and again (block principal pivoting: Judice and Pires 1994, "A block principal
    pivoting algorithm for large-scale strictly monotone linear complementarity problems"). That ends at the exact
    solution after a few rounds, but need not end where C is nearly singular: what is left after eight rounds is solved
    by Mehrotra's predictor-corrector method (1992), which always ends, with x and y within 1e-13 of
    complementary.

    Args:
        matrix: C, [k, k] positive definite with a diagonal of about 1, float64.
        linear: q, [b, k].
        free: [b, k] a guess which x are not 0; by default where q < 0.

    Returns:
        x and which of them are free, [b, k] each. Cost: a few factorisations of the free blocks, batched over rows.

    >>> import torch
    >>> c = torch.tensor([[1.0, -0.5], [-0.5, 1.0]], dtype=torch.float64)
    >>> nonnegative_minimum(c, torch.tensor([[-1.0, 0.5], [-1.0, 1.0]], dtype=torch.float64))[0]
    tensor([[1., 0.],
            [1., 0.]], dtype=torch.float64)
    """
    free = linear < 0 if free is None else free
    if len(linear) == 1:
        return _one_row(matrix, linear, free)
    found, support = torch.zeros_like(linear), free
    rows = torch.arange(len(linear))
    q = linear
    for _ in range(ROUNDS):
        x = solve_free(matrix, q, free)
        y = torch.addmm(q, x, matrix)
        limit = torch.maximum(x.abs().amax(1, keepdim=True), q.abs().amax(1, keepdim=True)) * -1e-12
        right = torch.where(free, x, y) >= limit  # false for NaN too
        done = right.all(1)
        if len(rows) == len(linear):
            found, support = x, free
        else:
            found[rows], support[rows] = x, free
        if bool(done.all()):
            return found.clamp_min_(0.0), support
        todo = ~done
        rows, q = rows[todo], q[todo]
        free = (free ^ ~right)[todo]
    x = _interior_point(matrix, q)
    found, support = found.clone(), support.clone()
    found[rows], support[rows] = x, x > 1e-9 * x.amax(1, keepdim=True)
    return found.clamp_min_(0.0), support


def _one_row(matrix: Tensor, q: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """The same for one q: a shorter way, as for few tasks it is calls that cost."""
    size = q.abs().max()
    for _ in range(ROUNDS):
        x = solve_free(matrix, q, free)
        wrong = torch.where(free, x, torch.addmm(q, x, matrix)) >= torch.maximum(x.abs().max(), size) * -1e-12
        wrong.logical_not_()  # so that NaN is wrong too
        if not bool(wrong.any()):
            return x.clamp_min_(0.0), free
        free = free ^ wrong
    x = _interior_point(matrix, q)
    return x, x > 1e-9 * x.max()


def solve_free(matrix: Tensor, q: Tensor, free: Tensor) -> Tensor:
    """x with x_F = -C_FF^-1 q_F and zeros elsewhere, for every row.

    Few tasks or one row: the rest of the matrix is overwritten by the identity. Otherwise the free ones are moved to
    the front and cut off at the largest block, as factorising is what costs.
    """
    rows, size = q.shape
    if rows == 1:
        kept = free[0].to(q.dtype)
        block = (matrix * kept).mul_(kept[:, None])
        block.diagonal().add_(1.0 - kept)
        return torch.cholesky_solve((q * -kept).T, torch.linalg.cholesky_ex(block).L).T
    if size <= 16:
        kept = free.to(q.dtype)
        block = matrix * kept[:, :, None] * kept[:, None, :]
        block.diagonal(dim1=1, dim2=2).add_(1.0 - kept)
        factor = torch.linalg.cholesky_ex(block).L
        return torch.cholesky_solve((q * kept).neg_().unsqueeze(2), factor).squeeze(2)
    widest = int(free.sum(1).max())
    if widest == 0:
        return torch.zeros_like(q)
    kept, index = free.to(q.dtype).sort(dim=1, descending=True, stable=True)
    kept, index = kept[:, :widest], index[:, :widest]
    block = matrix[index[:, :, None], index[:, None, :]].mul_(kept[:, :, None]).mul_(kept[:, None, :])
    block.diagonal(dim1=1, dim2=2).add_(1.0 - kept)
    factor = torch.linalg.cholesky_ex(block).L
    solved = torch.cholesky_solve((q.gather(1, index) * kept).neg_().unsqueeze(2), factor).squeeze(2)
    return torch.zeros_like(q).scatter_(1, index, solved.mul_(kept))


def _interior_point(matrix: Tensor, linear: Tensor) -> Tensor:
    """The same by Mehrotra's predictor-corrector, all rows in step."""
    size = linear.abs().amax(1, keepdim=True).clamp_min(torch.finfo(linear.dtype).tiny)
    q = linear / size
    x, y = torch.ones_like(q), torch.ones_like(q)
    for _ in range(60):
        residual = torch.addmm(q, x, matrix) - y
        gap = (x * y).mean(1, keepdim=True)
        if bool((gap.max() < 1e-13) & (residual.abs().max() < 1e-12 * x.max().clamp_min(1.0))):
            break
        factor = torch.linalg.cholesky_ex(matrix + torch.diag_embed(y / x)).L
        dx = torch.cholesky_solve((-residual - y).unsqueeze(2), factor).squeeze(2)  # predictor: aims at x y = 0
        dy = -y - y / x * dx
        step = torch.minimum(_to_boundary(x, dx), _to_boundary(y, dy)).clamp_max(1.0)
        reached = ((x + step * dx) * (y + step * dy)).mean(1, keepdim=True)
        wanted = (reached / gap) ** 3 * gap - dx * dy - x * y  # corrector: at a gap that can be had, second order
        dx = torch.cholesky_solve((wanted / x - residual).unsqueeze(2), factor).squeeze(2)
        dy = (wanted - y * dx) / x
        step = (0.99 * torch.minimum(_to_boundary(x, dx), _to_boundary(y, dy))).clamp_max(1.0)
        x, y = x + step * dx, y + step * dy
    return x * size


def _to_boundary(x: Tensor, dx: Tensor) -> Tensor:
    """The longest step for which x + step dx >= 0, [b, 1]; 2 where it never ends."""
    return torch.where(dx < 0, -x / dx, 2.0).amin(1, keepdim=True)
