"""Cascades: later heads read earlier predictions, by hand; gradients flow back, or not."""

import pytest
import torch
from torch import Tensor, nn

from polytask import sharing, tasks
from polytask.errors import PolytaskError

A, B, C = tasks.Regression("a"), tasks.Regression("b"), tasks.Regression("c")
FAR, WHAT = tasks.Depth("far"), tasks.Segmentation("what", classes=3)
MLP = sharing.MLP(1, widths=(1,))
CNN = sharing.SmallCNN(2, widths=(4, 6))
IMAGES = torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))


def by_hand(model: sharing.Cascade) -> sharing.Cascade:
    """Trunk x, heads of task a: y = 3 e; b: e = 1 h + 10 s_a, y = 2 e; c: e = 1 h + 10 s_a + 100 s_b, y = 5 e."""
    weights = {
        "shared.stages.0.linear.weight": [1],
        "joins.b.0.weight": [1, 10],
        "joins.c.0.weight": [1, 10, 100],
        "heads.a.weight": [3],
        "heads.b.weight": [2],
        "heads.c.weight": [5],
    }
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.tensor(weights.get(name, [0.0] * parameter.numel())).view_as(parameter))
    return model


def told(model: nn.Module, **options: object) -> dict[str, float]:
    return {name: each.item() for name, each in model(torch.tensor([[2.0]]), **options).items()}


@pytest.mark.parametrize("differentiable", [True, False])
def test_predictions_go_down_the_cascade(differentiable: bool) -> None:
    """x = 2: a = 3 * 2 = 6; b = 2 (2 + 10 * 6) = 124; c = 5 (2 + 60 + 12400) = 62310."""
    model = by_hand(sharing.Cascade(MLP, [A, B, C], differentiable=differentiable))
    assert told(model) == {"a": 6, "b": 124, "c": 62310}


def test_features_go_down_the_cascade() -> None:
    """x = 2: e_a = 2, e_b = 2 + 20 = 22, e_c = 2 + 20 + 2200 = 2222; the heads read them times 3, 2 and 5."""
    assert told(by_hand(sharing.Cascade(MLP, [A, B, C], features=True))) == {"a": 6, "b": 44, "c": 11110}


def test_the_order_can_be_given() -> None:
    """With c, a, b in place of a, b, c: what the first says goes into the second, and both into the third."""
    model = sharing.Cascade(MLP, [A, B, C], order=["c", "a", "b"])
    weights = {"shared.stages.0.linear.weight": 1, "heads.c.weight": 3, "heads.a.weight": 2, "heads.b.weight": 5}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            nn.init.constant_(parameter, weights.get(name, 0))
        model.joins.of("a")[0].weight.copy_(torch.tensor([1.0, 10]).view(1, 2, 1, 1))
        model.joins.of("b")[0].weight.copy_(torch.tensor([1.0, 10, 100]).view(1, 3, 1, 1))
    assert told(model) == {"a": 124, "b": 62310, "c": 6}  # answers in the order of the tasks
    assert told(model, tasks=["a"]) == {"a": 124}
    assert model.shared_by()["heads.c.weight"] == ("a", "b", "c")


def gradients(prediction: Tensor, model: nn.Module) -> set[str]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(prediction.sum(), parameters, allow_unused=True, retain_graph=True)
    return {name for name, each in zip(names, found, strict=True) if each is not None}


@pytest.mark.parametrize("features", [True, False])
@pytest.mark.parametrize("given", [(A, B, C), (FAR, WHAT, A)])
def test_a_detached_cascade_gives_earlier_heads_no_gradient(features: bool, given: tuple[tasks.Task, ...]) -> None:
    first, *_, last = (task.name for task in given)
    for differentiable in (True, False):
        torch.manual_seed(0)
        model = sharing.Cascade(CNN, given, differentiable=differentiable, features=features)
        reached = gradients(model(IMAGES)[last], model)
        expected = {f"heads.{first}.weight"} if differentiable and not features else set()
        assert {name for name in reached if name.startswith(f"heads.{first}")} >= expected
        assert (f"heads.{first}.weight" in reached) == bool(expected)
        assert any(name.startswith("read.far") for name in reached) == (differentiable and FAR in given)
        assert any(name.startswith("shared") for name in reached)


def test_detaching_changes_gradients_alone() -> None:
    one = sharing.Cascade(CNN, [FAR, WHAT]).eval()
    two = sharing.Cascade(CNN, [FAR, WHAT], differentiable=False).eval()
    two.load_state_dict(one.state_dict())
    for name, prediction in one(IMAGES).items():
        assert torch.equal(two(IMAGES)[name], prediction)


@pytest.mark.parametrize("given", [(A, B, C), (FAR, WHAT), (FAR, A), (A, FAR)])
def test_shared_gradients_of_a_detached_cascade_pass_through_the_features(given: tuple[tasks.Task, ...]) -> None:
    model = sharing.Cascade(CNN, given, differentiable=False).eval().double()
    predictions, features = model.forward_with_features(IMAGES.double())
    shared = list(model.shared.parameters())
    cut = features if isinstance(features, list) else [features]
    for prediction in predictions.values():
        loss = prediction.square().sum()
        direct = torch.autograd.grad(loss, shared, retain_graph=True)
        at = torch.autograd.grad(loss, cut, retain_graph=True, allow_unused=True)
        known = {each: gradient for each, gradient in zip(cut, at, strict=True) if gradient is not None}
        through = torch.autograd.grad(list(known), shared, list(known.values()), retain_graph=True)
        torch.testing.assert_close(through, direct)


def test_features_are_none_where_heads_are_shared_too() -> None:
    assert sharing.Cascade(CNN, [FAR, WHAT]).forward_with_features(IMAGES)[1] is None


def test_only_what_comes_before_is_computed() -> None:
    model = sharing.Cascade(CNN, [FAR, WHAT, A], features=True)
    ran: set[nn.Module] = set()
    for module in model.modules():
        module.register_forward_hook(lambda module, args, output: ran.add(module))
    model(IMAGES, ["what"])
    assert {model.read.of("far"), model.read.of("what"), model.heads.of("what")} <= ran
    assert not ran & {model.heads.of("far"), model.read.of("a"), model.heads.of("a")}
    assert model(IMAGES, []) == {}


def test_maps_are_read_as_means_by_vectors_and_vectors_everywhere_by_maps() -> None:
    """What the second head is shown beside its own feature: the mean of the map, or the vector at every position."""
    shown: list[Tensor] = []
    for given in ((FAR, A), (A, FAR)):
        model = sharing.Cascade(CNN, given).eval()
        second = given[1].name
        model.joins.of(second).register_forward_pre_hook(lambda module, args: shown.append(args[0][:, -1]))
        predictions = model(IMAGES)
        if second == "a":
            said = model.heads.of("far")(model.read.of("far")(model.shared(IMAGES)))
            torch.testing.assert_close(shown.pop(), said.mean((2, 3)).view(3, 1, 1))
        else:
            torch.testing.assert_close(shown.pop(), predictions["a"][:, :, None].expand(-1, 8, 8))


def test_a_batch_of_one_row_can_be_trained_on() -> None:
    assert sharing.Cascade(sharing.MLP(4), [A, B])(torch.zeros(1, 4))["b"].shape == (1, 1)


def test_what_cannot_be() -> None:
    with pytest.raises(PolytaskError, match=r"Cascade feeds .* two tasks or more .*'a'; train it alone with"):
        sharing.Cascade(MLP, [A])
    for order in (["a"], ["a", "a"], ["a", "b", "c"], []):
        with pytest.raises(PolytaskError, match=r"order of a Cascade names every task once \(a, b\), got"):
            sharing.Cascade(MLP, [A, B], order=order)
