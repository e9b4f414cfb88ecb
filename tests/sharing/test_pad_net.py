"""PAD-Net: its three distillation modules by hand, what is predicted twice, and who uses what."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask import sharing, tasks
from polytask.errors import PolytaskError

WHAT, FAR, EDGE = tasks.Segmentation("what", classes=3), tasks.Depth("far"), tasks.Depth("edge", auxiliary=True)
RAIN, HOURS = tasks.Binary("rain"), tasks.Regression("per.hour")
CNN = sharing.SmallCNN(2, widths=(4, 6))
IMAGES = torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))
KINDS = (sharing.ConcatenationDistillation(), sharing.MessagePassing(), sharing.AttentionGated())


@pytest.fixture(params=KINDS, ids=lambda kind: type(kind).__name__)
def kind(request: pytest.FixtureRequest) -> sharing.Distillation:
    return request.param


def distilling(kind: sharing.Distillation, **dense: bool) -> nn.Module:
    """A module that every task sends to and receives from, with one channel and weights of zero."""
    module = kind(dense, tuple(dense), 1)
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def centre(convolution: nn.Module, value: float) -> None:
    """Make a convolution of one channel the multiplication with a number."""
    middle = convolution.weight.shape[-1] // 2
    with torch.no_grad():
        convolution.weight[0, 0, middle, middle] = value


def constant(*values: float) -> dict[str, Tensor]:
    return {name: torch.full((2, 1, 4, 4), float(value)) for name, value in zip("abc", values, strict=False)}


def test_module_a_is_all_features_one_after_the_other() -> None:
    module = distilling(sharing.ConcatenationDistillation(), a=True, b=True, c=True)
    distilled = module(constant(1, 2, 3), ["b"])
    assert list(distilled) == ["b"]
    assert distilled["b"][0, :, 0, 0].tolist() == [1, 2, 3]
    assert sharing.ConcatenationDistillation().width(3, 5) == 15


@pytest.mark.parametrize("kind", KINDS[1:], ids=lambda kind: type(kind).__name__)
def test_messages_of_zero_change_nothing(kind: sharing.Distillation) -> None:
    features = {name: torch.randn(2, 1, 4, 4) for name in "abc"}
    distilled = distilling(kind, a=True, b=True, c=True)(features, list(features))
    assert all(torch.equal(distilled[name], features[name]) for name in features)


def test_module_b_has_a_message_of_its_own_for_every_ordered_pair() -> None:
    """a = 1 + 10 * 2 + 100 * 3; b = 2 + 1000 * 1; c hears nothing."""
    module = distilling(sharing.MessagePassing(), a=True, b=True, c=True)
    centre(module.hearing.of("a").messages.of("b"), 10)
    centre(module.hearing.of("a").messages.of("c"), 100)
    centre(module.hearing.of("b").messages.of("a"), 1000)
    distilled = module(constant(1, 2, 3), ["a", "b", "c"])
    assert [each[0, 0, 2, 2].item() for each in distilled.values()] == [321, 1002, 3]


def test_module_c_gates_with_what_the_receiver_sees() -> None:
    """sigmoid(ln 3) = 3/4: a = ln 3 + 3/4 (10 * 4 + 100 * 8), and b, whose gate does not look at a, half of it."""
    module = distilling(sharing.AttentionGated(), a=True, b=True, c=True)
    centre(module.gates.of("a"), 1)
    for name, value in {"a": 1, "b": 10, "c": 100}.items():
        centre(module.messages.of(name), value)
    seen: dict[str, Tensor] = {}
    distilled = module(constant(math.log(3), 4, 8), ["a", "b"], seen.__setitem__)
    assert distilled["a"][0, 0, 2, 2].item() == pytest.approx(math.log(3) + 0.75 * 840)
    assert distilled["b"][0, 0, 2, 2].item() == pytest.approx(4 + 0.5 * (math.log(3) + 800))
    assert {name: gate[0, 0, 2, 2].item() for name, gate in seen.items()} == pytest.approx({"a": 0.75, "b": 0.5})


def test_a_closed_gate_lets_nothing_through() -> None:
    module = distilling(sharing.AttentionGated(), a=True, b=True)
    for name in "ab":
        centre(module.messages.of(name), 1)
        nn.init.constant_(module.gates.of(name).bias, -1e4)
    features = {name: torch.randn(2, 1, 4, 4) for name in "ab"}
    assert torch.equal(module(features, ["a"])["a"], features["a"])


def test_vectors_hear_means_and_are_heard_everywhere() -> None:
    """The map 0, 1, 2, 3 has the mean 3/2; the vector is 5."""
    features = {"map": torch.arange(4.0).view(1, 1, 2, 2), "vector": torch.full((1, 1, 1, 1), 5.0)}
    passing = distilling(sharing.MessagePassing(), map=True, vector=False)
    centre(passing.hearing.of("map").messages.of("vector"), 1)
    centre(passing.hearing.of("vector").messages.of("map"), 1)
    distilled = passing(features, ["map", "vector"])
    assert distilled["map"].flatten().tolist() == [5, 6, 7, 8]
    assert distilled["vector"].flatten().tolist() == [6.5]
    joined = distilling(sharing.ConcatenationDistillation(), map=True, vector=False)(features, ["map", "vector"])
    assert joined["map"][0, :, 1, 1].tolist() == [3, 5]
    assert joined["vector"].flatten().tolist() == [1.5, 5]


def by_the_formula(model: sharing.PADNet, images: Tensor) -> dict[str, Tensor]:
    """Final predictions with module C, in evaluation, from the weights alone."""

    def normed(layer: nn.Sequential, x: Tensor) -> Tensor:
        norm = layer[1]
        x = F.conv2d(x, layer[0].weight, padding=layer[0].padding)
        mean, spread = norm.running_mean[:, None, None], (norm.running_var[:, None, None] + norm.eps).sqrt()
        return torch.relu((x - mean) / spread * norm.weight[:, None, None] + norm.bias[:, None, None])

    def padded(convolution: nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(x, convolution.weight, convolution.bias, padding=1)

    names = [task.name for task in model.tasks]
    trunk = model.shared(images)
    y = {name: model.first.of(name).head(model.first.of(name).feature.decoder(trunk)) for name in names}
    f = {name: normed(model.lifts.of(name), y[name]) for name in names}
    found = {}
    for name in model.main:
        gate = 1 / (1 + (-padded(model.distillation.gates.of(name), f[name])).exp())
        heard = sum(padded(model.distillation.messages.of(other), f[other]) for other in names if other != name)
        final = model.final.of(name)
        z = final.head(normed(final.decoder, f[name] + gate * heard))
        found[name] = F.interpolate(z, images.shape[-2:], mode="bilinear", align_corners=False)
    return found


def test_the_whole_network_is_its_formula() -> None:
    model = sharing.PADNet(CNN, [WHAT, FAR, EDGE])
    for _ in range(3):  # statistics that are not those of the start
        model(IMAGES)
    model.eval()
    predictions = model(IMAGES)
    for name, expected in by_the_formula(model, IMAGES).items():
        torch.testing.assert_close(predictions[name], expected)


def test_main_tasks_are_predicted_twice_and_auxiliary_ones_once(kind: sharing.Distillation) -> None:
    model = sharing.PADNet(CNN, [WHAT, FAR, EDGE], kind)
    predictions = model(IMAGES)
    more = model.intermediate()
    assert {name: [tuple(each.shape) for each in found] for name, found in more.items()} == {
        "what": [(3, 3, 16, 16)],
        "far": [(3, 1, 16, 16)],
    }
    assert not torch.equal(more["far"][0], predictions["far"])
    first = model.first.of("edge")(model.shared(IMAGES))
    torch.testing.assert_close(predictions["edge"], F.interpolate(first, (16, 16), mode="bilinear"))
    model(IMAGES, ["far", "edge"])
    assert list(model.intermediate()) == ["far"]
    model.eval()(IMAGES)
    assert model.intermediate() == {}


def test_deep_supervision_trains_what_comes_before_the_distillation() -> None:
    model = sharing.PADNet(CNN, [WHAT, FAR])
    model(IMAGES)
    model.intermediate()["far"][0].sum().backward()
    assert all(each.grad is not None for each in [*model.shared.parameters(), *model.first.of("far").parameters()])
    assert all(each.grad is None for each in [*model.lifts.parameters(), *model.final.parameters()])


def test_who_uses_what(kind: sharing.Distillation) -> None:
    users = sharing.PADNet(CNN, [WHAT, FAR, EDGE], kind).shared_by()
    assert users["first.edge.head.weight"] == ("what", "far", "edge")
    assert users["first.far.head.weight"] == ("what", "far")
    assert users["lifts.edge.0.weight"] == ("what", "far")
    assert users["final.what.head.weight"] == ("what",)


def test_an_auxiliary_task_alone_needs_nothing_of_others() -> None:
    model = sharing.PADNet(CNN, [WHAT, FAR, EDGE])
    ran: set[nn.Module] = set()
    for module in model.modules():
        module.register_forward_hook(lambda module, args, output: ran.add(module))
    model(IMAGES, ["edge"])
    idle = [model.distillation, model.first.of("far"), *model.lifts.children(), *model.final.children()]
    assert model.first.of("edge") in ran
    assert not ran.intersection(idle)


def test_features_are_none_because_more_than_the_trunk_is_shared(kind: sharing.Distillation) -> None:
    assert sharing.PADNet(CNN, [WHAT, EDGE], kind).forward_with_features(IMAGES)[1] is None


@pytest.mark.parametrize("given", [(RAIN, HOURS), (WHAT, RAIN), (RAIN, FAR, WHAT)])
def test_vectors_alone_and_with_maps(kind: sharing.Distillation, given: tuple[tasks.Task, ...]) -> None:
    model = sharing.PADNet(CNN, given, kind)
    predictions = model(IMAGES[:1] if not any(task.dense for task in given) else IMAGES)  # no norm over a batch of one
    for task in given:
        assert predictions[task.name].shape[1:] == ((task.outputs, 16, 16) if task.dense else (task.outputs,))
    sum(each.sum() for each in predictions.values()).backward()
    assert not [name for name, each in model.named_parameters() if each.grad is None]


def test_gates_can_be_followed_and_looked_at() -> None:
    model = sharing.PADNet(CNN, [WHAT, FAR, EDGE, RAIN])
    assert model.inside() == {}
    for name, bias in {"what": 0.0, "far": math.log(3), "rain": -math.log(3)}.items():
        nn.init.zeros_(model.distillation.gates.of(name).weight)
        nn.init.constant_(model.distillation.gates.of(name).bias, bias)
    model(IMAGES)
    assert model.maps_inside() == {}
    lines = {"into what": 0.5, "into far": 0.75, "into rain": 0.25}
    assert model.inside()["attention gates"] == pytest.approx(lines)
    model.keep_maps = True
    model.eval()(IMAGES)
    maps = model.maps_inside()
    assert list(maps) == ["attention gates: into what", "attention gates: into far"]  # vectors have no map
    torch.testing.assert_close(maps["attention gates: into far"], torch.full((3, 8, 8), 0.75))
    assert not any(each.requires_grad for each in maps.values())
    assert list(model.inside()) == ["attention gates"]  # of the training, still


def test_a_copy_made_between_forward_and_backward_has_no_past() -> None:
    model = sharing.PADNet(CNN, [WHAT, FAR])
    model(IMAGES)
    twin = copy.deepcopy(model)
    assert twin.intermediate() == {} != model.intermediate()
    assert twin.inside() == {}


def test_what_cannot_be() -> None:
    with pytest.raises(PolytaskError, match=r"PADNet lets .* two tasks or more .*'far'; train it alone with"):
        sharing.PADNet(CNN, [FAR])
    with pytest.raises(PolytaskError, match="at least one task not auxiliary"):
        sharing.PADNet(CNN, [EDGE, tasks.Depth("other", auxiliary=True)])
    with pytest.raises(PolytaskError, match="channels of 1 or more, got 0"):
        sharing.PADNet(CNN, [WHAT, FAR], channels=0)
    with pytest.raises(PolytaskError, match="expected a recipe"):
        sharing.PADNet(CNN, [WHAT, FAR], distillation=sharing.MessagePassing)  # type: ignore[arg-type]
