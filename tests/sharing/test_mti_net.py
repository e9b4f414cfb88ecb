"""MTI-Net: exchange and propagation by hand, what is predicted at every scale, and which trunks will do."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask import sharing, tasks
from polytask.errors import PolytaskError
from polytask.sharing.decoders._scales import FeaturePropagation, SpatialAttention

WHAT, FAR, EDGE = tasks.Segmentation("what", classes=3), tasks.Depth("far"), tasks.Depth("edge", auxiliary=True)
RAIN = tasks.Binary("rain")
CNN = sharing.SmallCNN(2, widths=(4, 6, 5))
IMAGES = torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))


def nothing(line: str, mask: Tensor) -> None:
    pass


def zeroed(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def constant(*values: float) -> dict[str, Tensor]:
    return {name: torch.full((2, 1, 4, 4), float(value)) for name, value in zip("abc", values, strict=False)}


def test_messages_are_masked_by_what_the_sender_sees() -> None:
    """sigmoid(ln 3) = 3/4: a = 2 + 3/4 (10 ln 3) + 1/2 (100 * 8); b's mask looks at b, c's at nothing."""
    module = zeroed(SpatialAttention("a", "abc", 1))
    with torch.no_grad():
        module.masks.of("b").weight[0, 0, 1, 1] = 1
        module.messages.of("b").weight[0, 0, 1, 1] = 10
        module.messages.of("c").weight[0, 0, 1, 1] = 100
    seen: dict[str, Tensor] = {}
    total = module(constant(2, math.log(3), 8), seen.__setitem__)
    assert total[0, 0, 2, 2].item() == pytest.approx(2 + 7.5 * math.log(3) + 400)
    assert {line: mask[0, 0, 2, 2].item() for line, mask in seen.items()} == pytest.approx(
        {"b into a": 0.75, "c into a": 0.5}
    )
    assert all(mask.shape == (2, 1, 4, 4) for mask in seen.values())


def test_no_message_changes_nothing() -> None:
    features = {name: torch.randn(2, 1, 4, 4) for name in "abc"}
    assert torch.equal(zeroed(SpatialAttention("a", "abc", 1))(features, nothing), features["a"])


def test_propagation_by_hand() -> None:
    """Attention e^0 : e^ln 3 gives a 1/4 and b 3/4; joined 1 * 1/4 * 8 + 10 * 3/4 * 4 = 32; half of it to each."""
    module = zeroed(FeaturePropagation(("a", "b"), 1)).eval()
    with torch.no_grad():
        module.attention[1].bias.copy_(torch.tensor([0.0, math.log(3)]))
        module.joined[0].weight.copy_(torch.tensor([1.0, 10]).view(1, 2, 1, 1))
        nn.init.ones_(module.joined[1].weight)
    handed = module(constant(8, 4), ["b"])
    assert list(handed) == ["b"]
    torch.testing.assert_close(handed["b"], torch.full((2, 1, 4, 4), 4 + 0.5 * 32), rtol=1e-4, atol=0)


def test_propagation_is_its_formula() -> None:
    names = ("a", "b", "c")
    module = FeaturePropagation(names, 8).eval()
    own = {name: torch.randn(2, 8, 5, 5) for name in names}
    attention = module.attention(torch.cat(list(own.values()), 1)).exp()
    chunks = attention.chunk(3, 1)
    masks = [chunk / sum(chunks) for chunk in chunks]
    torch.testing.assert_close(sum(masks), torch.ones(2, 8, 5, 5))
    shared = module.joined(torch.cat([mask * each for mask, each in zip(masks, own.values(), strict=True)], 1))
    assert shared.shape == (2, 8, 5, 5)
    for name, handed in module(own, names).items():
        gate = module.gates.of(name).layers(shared.mean((2, 3)))
        assert gate.shape == (2, 8)
        torch.testing.assert_close(handed, own[name] + shared * gate[:, :, None, None])


def cut_off(model: sharing.MTINet) -> None:
    """Close all that leads from one task to another."""
    for scale in model.scales:
        for attention in scale.exchange.children():
            for mask in attention.masks.children():
                nn.init.constant_(zeroed(mask).bias, -1e4)
    for propagation in model.propagation:
        for gate in propagation.gates.children():
            nn.init.constant_(zeroed(gate.layers[2]).bias, -1e4)


def test_with_everything_closed_tasks_know_nothing_of_each_other() -> None:
    model = sharing.MTINet(CNN, [WHAT, FAR], channels=4).eval()
    for closed in (False, True):
        if closed:
            cut_off(model)
        before = model(IMAGES)["what"]
        with torch.no_grad():
            for scale in model.scales:
                for parameter in scale.initial.of("far").parameters():
                    parameter.add_(1)
        assert torch.equal(model(IMAGES)["what"], before) == closed


def test_coarse_scales_help_fine_ones() -> None:
    """The initial prediction at the finest scale hangs on the coarsest map, by way of the propagation."""
    model = sharing.MTINet(CNN, [WHAT, EDGE], channels=4)
    coarsest = [model.scales[2].initial.of("what"), model.propagation[1], model.propagation[0].attention]
    model(IMAGES)["edge"].sum().backward()
    assert all(parameter.grad is not None for module in coarsest for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in model.scales[0].initial.of("what").parameters())


def test_a_prediction_at_every_scale() -> None:
    model = sharing.MTINet(CNN, [WHAT, FAR, EDGE, RAIN], channels=4)
    predictions = model(IMAGES)
    more = model.intermediate()
    assert {name: [tuple(each.shape) for each in found] for name, found in more.items()} == {
        "what": [(3, 3, 16, 16)] * 3,
        "far": [(3, 1, 16, 16)] * 3,
        "edge": [(3, 1, 16, 16)] * 2,  # the finest is its prediction
    }
    assert {name: tuple(each.shape) for name, each in predictions.items()} == {
        "what": (3, 3, 16, 16),
        "far": (3, 1, 16, 16),
        "edge": (3, 1, 16, 16),
        "rain": (3, 1),
    }
    everything = [*predictions.values(), *(each for found in more.values() for each in found)]
    sum(each.square().sum() for each in everything).backward()
    assert not [name for name, each in model.named_parameters() if each.grad is None]
    model(IMAGES, ["rain", "far"])
    assert list(model.intermediate()) == ["far"]
    model.eval()(IMAGES)
    assert model.intermediate() == {}


def test_scales_are_those_of_the_trunk() -> None:
    """The coarsest initial prediction is made at 2 x 2, the finest at 8 x 8, and final ones read all at the finest."""
    model = sharing.MTINet(CNN, [WHAT, FAR], channels=4)
    sizes: list[tuple[int, ...]] = []
    for module in (*(scale.heads.of("far") for scale in model.scales), model.final.of("far").decoder):
        module.register_forward_hook(lambda module, args, output: sizes.append(tuple(args[0].shape[1:])))
    model(IMAGES)
    assert sorted(sizes) == [(4, 2, 2), (4, 4, 4), (4, 8, 8), (12, 8, 8)]


def test_the_last_layers_of_initial_predictions_serve_training_alone() -> None:
    users = sharing.MTINet(CNN, [WHAT, FAR, EDGE], channels=4).shared_by()
    alone = {name for name, tasks in users.items() if not tasks}
    assert alone == {
        f"scales.{scale}.heads.{name}.{each}"
        for scale in range(3)
        for name in ("what", "far", "edge")
        for each in ("weight", "bias")
        if (scale, name) != (0, "edge")
    }
    assert users["scales.0.heads.edge.weight"] == ("edge",)


def test_an_auxiliary_task_alone_needs_no_other_at_the_finest_scale() -> None:
    model = sharing.MTINet(CNN, [WHAT, FAR, EDGE], channels=4)
    ran: set[nn.Module] = set()
    for module in model.modules():
        module.register_forward_hook(lambda module, args, output: ran.add(module))
    model(IMAGES, ["edge"])
    finest = model.scales[0]
    assert finest.initial.of("edge") in ran
    idle = {finest.initial.of("far"), *finest.exchange.children(), *model.final.children()}
    assert not ran & (idle | {model.propagation[0].gates.of("far")})


def test_masks_can_be_followed_and_looked_at() -> None:
    model = sharing.MTINet(CNN, [WHAT, FAR, EDGE], channels=4)
    assert model.inside() == {}
    mask = model.scales[1].exchange.of("far").masks.of("what")
    nn.init.constant_(zeroed(mask).bias, math.log(3))
    model.keep_maps = True
    model(IMAGES)
    panels = model.inside()
    assert sorted(panels) == [f"attention masks, scale {scale}" for scale in (1, 2, 3)]
    assert panels["attention masks, scale 2"]["what into far"] == pytest.approx(0.75)
    assert "what into edge" in panels["attention masks, scale 2"]
    assert "what into edge" not in panels["attention masks, scale 1"]  # it is predicted before the exchange there
    shown = model.maps_inside()["attention masks, scale 2: what into far"]
    torch.testing.assert_close(shown, torch.full((3, 4, 4), 0.75))
    twin = copy.deepcopy(model)
    assert twin.intermediate() == {} == twin.maps_inside()


def stages(*strides: int) -> sharing.SequentialBackbone:
    return sharing.SequentialBackbone([nn.Conv2d(2, 2, 3, stride=s, padding=1) for s in strides], [2] * len(strides))


def test_neighbours_of_one_size_are_a_pyramid_still() -> None:
    """As in dilated residual networks."""
    model = sharing.MTINet(lambda: stages(2, 2, 1), [WHAT, FAR], channels=4)
    assert model(IMAGES)["far"].shape == (3, 1, 16, 16)


class _Decoding(sharing.SequentialBackbone):
    full_resolution = True

    def __init__(self) -> None:
        super().__init__([nn.Conv2d(2, 2, 2, stride=2), nn.ConvTranspose2d(2, 2, 2, stride=2)], [2, 2])


class _Growing(_Decoding):
    full_resolution = False


def test_what_is_no_pyramid() -> None:
    for trunk in (lambda: stages(2), _Decoding):
        with pytest.raises(PolytaskError, match=r"pyramid .*one stage alone, or decodes already: take sharing.PADNet"):
            sharing.MTINet(trunk, [WHAT, FAR])
    for trunk, sizes in ((lambda: stages(2, 1), "8 x 8, 8 x 8"), (_Growing, "8 x 8, 16 x 16")):
        with pytest.raises(
            PolytaskError, match=rf"maps that get smaller .*this one's are {sizes}: take sharing.PADNet"
        ):
            sharing.MTINet(trunk, [WHAT, FAR])(IMAGES)
    with pytest.raises(PolytaskError, match=r"needs maps \[b, c, h, w\] as features, got \[3, 4\]"):
        sharing.MTINet(sharing.MLP(2, widths=(4, 4)), [WHAT, FAR])(torch.zeros(3, 2))


def test_what_cannot_be() -> None:
    with pytest.raises(
        PolytaskError, match=r"MTINet lets tasks with maps .* two tasks or more of that kind, got .*'far'"
    ):
        sharing.MTINet(CNN, [FAR, RAIN])
    with pytest.raises(PolytaskError, match="got none"):
        sharing.MTINet(CNN, [RAIN, tasks.Binary("snow")])
    with pytest.raises(PolytaskError, match="at least one task not auxiliary"):
        sharing.MTINet(CNN, [EDGE, RAIN, tasks.Depth("other", auxiliary=True)])


def test_vectors_read_the_pooled_last_feature() -> None:
    model = sharing.MTINet(CNN, [WHAT, FAR, RAIN], channels=4).eval()
    expected = F.linear(
        model.shared(IMAGES)[-1].mean((2, 3)), model.vectors.of("rain").weight, model.vectors.of("rain").bias
    )
    torch.testing.assert_close(model(IMAGES, ["rain"])["rain"], expected)
