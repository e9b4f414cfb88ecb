"""Soft sharing: nothing tied is independent, tied hard is equal, and what is tied to what by which distance."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polytask import penalties, sharing, tasks
from polytask.errors import PolytaskError

BOTH = (tasks.Binary("A"), tasks.MultiClass("B", 3))
THREE = (*BOTH, tasks.Regression("C"))
MLP = sharing.MLP(4, widths=(6, 8))
CNN = sharing.SmallCNN(1, widths=(4, 6))
SEED = 1


def train(model: sharing.MultiTaskModel, steps: int = 5, rate: float = 0.1) -> sharing.MultiTaskModel:
    """A few steps of gradient descent on the sum of losses and penalty."""
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(SEED))
    optimizer = torch.optim.SGD(model.parameters(), rate)
    for _ in range(steps):
        losses = {name: (each - 1).square().mean() for name, each in model(inputs).items()}
        penalty = model.penalty(losses)
        optimizer.zero_grad()
        total = torch.stack(list(losses.values())).sum()
        (total if penalty is None else total + penalty).backward()
        optimizer.step()
    return model


def stacked(model: sharing.SoftSharing) -> list[Tensor]:
    return [
        torch.stack(layer) for layer in zip(*(each.parameters() for each in model.backbones().values()), strict=True)
    ]


@pytest.mark.parametrize("activations", [False, True])
def test_strength_0_is_independent_networks(activations: bool) -> None:
    states = []
    for make in (sharing.Independent, lambda *given: sharing.SoftSharing(*given, strength=0, activations=activations)):
        torch.manual_seed(0)
        model = train(make(MLP, BOTH))
        assert model.penalty({}) is None
        states.append(model.state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


@pytest.mark.parametrize("distance", ["squared_l2", "l1"])
def test_tied_hard_the_networks_become_equal(distance: str) -> None:
    torch.manual_seed(0)
    model = sharing.SoftSharing(MLP, THREE, strength=2.0, distance=distance)
    before = sum(penalties.squared_l2(each) for each in stacked(model))
    train(model, 150, 0.05 if distance == "squared_l2" else 0.004)
    after = sum(penalties.squared_l2(each) for each in stacked(model))
    assert after < 0.01 * before
    heads = [model.networks.of(name).head.weight for name in "AC"]
    assert not torch.allclose(*heads, atol=0.1)  # their own


@pytest.mark.parametrize("distance", penalties.DISTANCES)
def test_the_penalty_is_the_sum_over_layers(distance: str) -> None:
    torch.manual_seed(0)
    model = sharing.SoftSharing(CNN, THREE, strength=0.3, distance=distance)
    expected = sum(penalties.DISTANCES[distance](each) for each in stacked(model))
    torch.testing.assert_close(model.penalty({}), 0.3 * expected)
    model.penalty({}).backward()
    for name in "ABC":
        network = model.networks.of(name)
        assert all(each.grad is not None for each in network.backbone.parameters())
        assert all(each.grad is None for each in network.head.parameters())


def test_chosen_stages_are_tied_and_no_others() -> None:
    torch.manual_seed(0)
    model = sharing.SoftSharing(CNN, BOTH, strength=1.0, stages=(1,))
    model.penalty({}).backward()
    backbone = model.networks.of("A").backbone
    assert all(each.grad is None for each in backbone.stages[0].parameters())
    assert all(each.grad is not None for each in backbone.stages[1].parameters())


@pytest.mark.parametrize("family", ["swin", "resnet"])
def test_stages_of_a_library_backbone(family: str) -> None:
    pytest.importorskip("transformers")
    options: dict[str, Any] = {
        "swin": {"image_size": 32, "patch_size": 4, "embed_dim": 8, "num_heads": (1, 1), "window_size": 4},
        "resnet": {"embedding_size": 4, "hidden_sizes": (4, 8), "layer_type": "basic"},
    }
    recipe = sharing.Transformers(family, num_channels=1, depths=(1, 1), **options[family])
    torch.manual_seed(0)
    model = sharing.SoftSharing(recipe, BOTH, strength=1.0, stages=(1,))
    model.penalty({}).backward()
    tied = {name for name, each in model.networks.of("A").backbone.named_parameters() if each.grad is not None}
    assert tied
    assert not any(".0." in name.split("net.", 1)[1][:20] or "embed" in name for name in tied)


def test_activations_are_tied_where_asked() -> None:
    torch.manual_seed(0)
    model = sharing.SoftSharing(CNN, THREE, strength=0.5, activations=True, stages=(0,))
    inputs = torch.randn(5, 1, 16, 16)
    assert model.penalty({}) is None
    model(inputs)
    features = torch.stack([each.stages[0](inputs) for each in model.backbones().values()])
    torch.testing.assert_close(model.penalty({}), 0.5 * penalties.squared_l2(features) / (5 * 4 * 8 * 8))
    model(inputs, ["A", "C"])
    torch.testing.assert_close(model.penalty({}), 0.5 * penalties.squared_l2(features[[0, 2]]) / (5 * 4 * 8 * 8))
    model(inputs, ["B"])
    assert model.penalty({}) is None
    model(inputs)
    assert copy.deepcopy(model).penalty({}) is None
    model.eval()(inputs)
    assert model.penalty({}) is None


def test_tied_activations_become_equal() -> None:
    torch.manual_seed(0)
    model = sharing.SoftSharing(MLP, BOTH, strength=20.0, activations=True)
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(SEED))

    def apart() -> float:
        one, other = (each(inputs)[-1] for each in model.backbones().values())
        return ((one - other).square().mean() / one.square().mean()).item()

    before = apart()
    train(model, 200, 0.1)
    assert apart() < 0.1 * before


class NoWalk(sharing.Backbone):
    def __init__(self) -> None:
        super().__init__((3,))
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return [self.layer(inputs)]


def test_parameters_of_any_backbone_can_be_tied() -> None:
    assert sharing.SoftSharing(NoWalk, BOTH).penalty({}).item() > 0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: sharing.SoftSharing(MLP, BOTH[:1]), r"SoftSharing .*got one \('A'\)"),
        (lambda: sharing.SoftSharing(MLP, BOTH, strength=-0.1), "strength must be 0"),
        (lambda: sharing.SoftSharing(MLP, BOTH, distance="l2"), "no distance 'l2'; .*Allowed: squared_l2, l1"),
        (lambda: sharing.SoftSharing(MLP, BOTH, stages=(3,)), r"got \[3\]"),
        (lambda: sharing.SoftSharing(NoWalk, BOTH, activations=True), "NoWalk can't stop between its stages"),
    ],
)
def test_what_cannot_be_tied_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        make()
