"""Penalties: values checked by hand, slow twins, gradients, and what they are zero for."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from polytask import penalties
from polytask.errors import PolytaskError


def layer(tasks: int = 3, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(tasks, *(shape or (4, 3, 2, 2)), dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_distances_are_sums_over_pairs(tasks: int) -> None:
    stacked = layer(tasks)
    pairs = list(combinations(stacked, 2))
    squared = sum(((a - b).square().sum() for a, b in pairs), torch.zeros(()))
    absolute = sum(((a - b).abs().sum() for a, b in pairs), torch.zeros(()))
    torch.testing.assert_close(penalties.squared_l2(stacked), squared.double())
    torch.testing.assert_close(penalties.l1(stacked), absolute.double())


def test_squared_distance_draws_every_task_to_the_mean() -> None:
    stacked = layer().requires_grad_()
    (gradient,) = torch.autograd.grad(penalties.squared_l2(stacked), stacked)
    torch.testing.assert_close(gradient, 2 * 3 * (stacked - stacked.mean(0)))


def test_absolute_distance_does_not_move_what_is_equal() -> None:
    stacked = torch.ones(3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(penalties.l1(stacked), stacked)
    assert not gradient.any()


def test_trace_norm_by_hand() -> None:
    """Columns (3, 0) and (0, 4): singular values 3 and 4. Twice the same column c: one singular value |c| sqrt(2)."""
    apart = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    torch.testing.assert_close(penalties.trace_norm(apart), torch.tensor(7.0))
    same = torch.tensor([[3.0, 4.0], [3.0, 4.0]])
    torch.testing.assert_close(penalties.trace_norm(same), torch.tensor(50.0).sqrt())
    numbers = torch.tensor([3.0, 4.0])  # a tensor of one number per task is a row
    torch.testing.assert_close(penalties.trace_norm(numbers), torch.tensor(5.0))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_trace_norm_of_numbers_of_half_precision(kind: torch.dtype) -> None:
    apart = torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=kind, requires_grad=True)
    penalties.trace_norm(apart).backward()
    torch.testing.assert_close(apart.grad, torch.eye(2, dtype=kind), rtol=0, atol=1e-2)


@pytest.mark.parametrize("unfolding, matrices", [("laf", 1), ("tucker", 5), ("tt", 4)])
def test_a_tensor_of_rank_one_has_rank_one_in_every_unfolding(unfolding: str, matrices: int) -> None:
    vectors = [layer(length, 1).flatten() for length in (3, 4, 3, 2, 2)]  # tasks, out, in, h, w
    stacked = torch.einsum("a,b,c,d,e->abcde", *vectors)
    torch.testing.assert_close(penalties.trace_norm(stacked, unfolding), matrices * stacked.norm())


def test_unfoldings_are_those_named() -> None:
    stacked = layer()  # tasks 3, then 4, 3, 2, 2
    last = stacked.movedim(0, -1)
    norm = torch.linalg.matrix_norm
    laf = norm(stacked.reshape(3, -1), "nuc")
    tucker = sum(norm(last.transpose(0, axis).reshape(last.shape[axis], -1), "nuc") for axis in range(5))
    tt = sum(norm(last.reshape(rows, -1), "nuc") for rows in (4, 12, 24, 48))
    for unfolding, expected in (("laf", laf), ("tucker", tucker), ("tt", tt)):
        torch.testing.assert_close(penalties.trace_norm(stacked, unfolding), expected)


@pytest.mark.parametrize("kind", penalties.DISTANCES)
def test_distances_do_not_depend_on_the_order_of_tasks_and_have_gradients(kind: str) -> None:
    distance = penalties.DISTANCES[kind]
    stacked = layer(3, 4, 2)
    torch.testing.assert_close(distance(stacked.flip(0)), distance(stacked))
    assert torch.autograd.gradcheck(distance, (stacked.requires_grad_(),))
    for degenerate in (torch.zeros(2, 3), torch.ones(2, 3), torch.ones(2)):
        x = degenerate.requires_grad_()
        (gradient,) = torch.autograd.grad(distance(x), x)
        assert gradient.isfinite().all()


def test_trace_norm_leads_to_low_rank() -> None:
    """Going down the norm alone takes as much from every singular value, and the smallest one is 0 first."""
    stacked = layer(3, 6).requires_grad_()
    before = torch.linalg.svdvals(stacked.detach())
    for _ in range(100):
        (gradient,) = torch.autograd.grad(penalties.trace_norm(stacked), stacked)
        stacked = (stacked - 0.01 * gradient).detach().requires_grad_()
    expected = (before - 1.0).clamp(min=0)
    assert expected[-1] == 0 < expected[0]
    torch.testing.assert_close(torch.linalg.svdvals(stacked.detach()), expected, rtol=0, atol=0.02)


def test_an_unknown_unfolding_asks_did_you_mean() -> None:
    with pytest.raises(PolytaskError, match="no unfolding 'Tucker'; did you mean 'tucker'"):
        penalties.trace_norm(layer(), "Tucker")


def test_orthogonality_by_hand_and_of_orthogonal_columns() -> None:
    s = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    h = torch.tensor([[1.0], [1.0]])
    assert penalties.orthogonality(s, h) == 4.0**2 + 6.0**2
    basis, _ = torch.linalg.qr(layer(6, 6))
    torch.testing.assert_close(
        penalties.orthogonality(basis[:, :2], basis[:, 2:]), torch.zeros((), dtype=torch.float64)
    )
    assert torch.autograd.gradcheck(
        penalties.orthogonality, (layer(4, 2).requires_grad_(), layer(4, 3).requires_grad_())
    )
