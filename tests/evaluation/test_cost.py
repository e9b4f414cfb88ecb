"""What a forward pass costs: counts that can be checked by hand."""

import pytest
import torch
from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.evaluation import forward_cost, latencies


class Net(nn.Module):
    """A convolution for all, and one of two linear layers by name."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.heads = nn.ModuleDict({"a": nn.Linear(8, 5), "b": nn.Linear(8, 7)})

    def forward(self, x: Tensor, names: tuple[str, ...] = ("a", "b")) -> dict[str, Tensor]:
        feature = self.trunk(x).mean((2, 3))
        return {name: self.heads[name](feature) for name in names}


def test_multiply_adds_and_parameters_by_hand() -> None:
    images = torch.zeros(4, 3, 16, 16)
    both = forward_cost(Net(), images)
    assert both.multiply_adds == 16 * 16 * 3 * 8 * 9 + 8 * 5 + 8 * 7
    assert both.parameters == 3 * 8 * 9 + 8 * 5 + 5 + 8 * 7 + 7
    one = forward_cost(Net(), images, ("a",))
    assert one.multiply_adds == 16 * 16 * 3 * 8 * 9 + 8 * 5
    assert one.parameters == 3 * 8 * 9 + 8 * 5 + 5


def test_multiply_adds_are_per_sample_and_memory_is_of_the_batch() -> None:
    small, large = (forward_cost(Net(), torch.zeros(rows, 3, 16, 16)) for rows in (2, 8))
    assert small.multiply_adds == large.multiply_adds
    assert large.memory_mib == pytest.approx(4 * small.memory_mib)
    # At its peak: the map of the convolution, and the feature made from it.
    assert large.memory_mib * 2**20 == 4 * (8 * 8 * 16 * 16 + 8 * 8)


def test_memory_that_is_given_back_does_not_count() -> None:
    class Chain(nn.Module):
        def __init__(self, layers: int) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(layers))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    assert (
        forward_cost(Chain(2), torch.zeros(8, 64)).memory_mib == forward_cost(Chain(9), torch.zeros(8, 64)).memory_mib
    )


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval(), nn.Dropout()).train()
    model[1].eval()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    forward_cost(model, torch.randn(2, 3, 8, 8))
    assert [each.training for each in model] == [True, False, True]
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert not any(each._forward_pre_hooks for each in model.modules())


def test_no_sample_is_refused() -> None:
    with pytest.raises(PolytaskError, match="at least one sample"):
        forward_cost(nn.Linear(2, 2), torch.zeros(0, 2))


def test_calls_take_turns() -> None:
    order: list[str] = []
    latencies({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["b", "a", "a", "b", "b", "a", "a", "b"]


class Mixing(nn.Module):
    """Gives a view of a parameter from a module of its own, as mixtures of networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(2, 3))])
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.rows = _Rows()

    def forward(self, x: Tensor) -> Tensor:
        first, _ = self.rows(self.weights[0])
        return self.frozen(x) * first


class _Rows(nn.Module):
    def forward(self, weight: Tensor) -> tuple[Tensor, ...]:
        return weight.unbind()


def test_views_of_parameters_are_no_obstacle_and_what_was_trainable_stays_so() -> None:
    model = Mixing()
    assert forward_cost(model, torch.zeros(2, 3)).multiply_adds == 9
    assert [each.requires_grad for each in (model.weights[0], model.frozen.weight)] == [True, False]
