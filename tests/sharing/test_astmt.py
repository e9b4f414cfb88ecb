"""ASTMT: modules of the task that a pass runs for, and a discriminator that double backward works against."""

import copy
import math
from collections.abc import Generator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask import balancing, sharing, tasks
from polytask.errors import PolytaskError

DENSE = [tasks.Segmentation("classes", classes=3), tasks.Depth("depth")]
VECTORS = [tasks.Regression("one"), tasks.Binary("two"), tasks.MultiClass("three", 3)]
MLP = sharing.MLP(5, widths=(6, 7))
CNN = sharing.SmallCNN(1, widths=(4, 6))
RESNET = sharing.DilatedResNet(1, layers=(1, 1), widths=(4, 8))
BARE: dict[str, Any] = {"squeeze_encoder": False, "squeeze_decoder": False, "norms": False, "discriminator": None}


def randomised(model: nn.Module) -> Any:
    """Also what starts at zero has a value."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def losses_of(predictions: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: (each - 0.3).square().mean() for name, each in predictions.items()}


def test_gates_by_hand() -> None:
    """pool = (2, 4), W1 = (1, -1/4): 1, ReLU 1, W2 = (ln 3, -ln 3): sigmoid gives 3/4 and 1/4."""
    model: Any = sharing.ASTMT(
        lambda: sharing.SequentialBackbone([nn.Identity()], (2,)), VECTORS[:1], reduction=2, adapters=False
    )
    gate = model.own.of("one").of("stage 1").gate
    with torch.no_grad():
        gate.squeeze.weight.copy_(torch.tensor([[1.0, -0.25]]))
        gate.excite.weight.copy_(torch.tensor([[math.log(3.0)], [-math.log(3.0)]]))
        for layer in (gate.squeeze, gate.excite):
            layer.bias.zero_()
        model.heads.of("one").weight.copy_(torch.tensor([[1.0, 10.0]]))
        model.heads.of("one").bias.zero_()
    x = torch.tensor([[[[1.0, 3.0]], [[0.0, 8.0]]]])  # means 2 and 4
    torch.testing.assert_close(model(x)["one"], torch.tensor([[0.75 * 2 + 10 * 0.25 * 4]]))


def test_in_a_residual_block_gate_and_adapter_are_beside_the_branch() -> None:
    """relu(shortcut(x) + s(g(x)) g(x) + W x), with x averaged where g has a stride."""
    model = randomised(sharing.ASTMT(RESNET, VECTORS, norms=False, discriminator=None)).eval()
    images = torch.randn(2, 1, 16, 16)
    own = model.own.of("two")
    x = model.trunk.stages[0][0](images)
    for stage, k in ((0, 1), (1, 0)):
        block = model.trunk.stages[stage][k]
        mine = own.of(f"stages.{stage}.{k}.residual")
        y = block.residual(x)
        squeezed = F.relu(mine.gate.squeeze(y.mean((2, 3))))
        gate = torch.sigmoid(mine.gate.excite(squeezed))[:, :, None, None]
        seen = F.avg_pool2d(x, x.shape[-1] // y.shape[-1])
        beside = torch.einsum("oc,bchw->bohw", mine.adapter.weight, seen)
        x = F.relu(block.shortcut(x) + gate * y + beside)
    torch.testing.assert_close(model(images)["two"], model.heads.of("two")(x.mean((2, 3))))


@pytest.mark.parametrize("backbone", [CNN, RESNET, MLP])
def test_without_gates_and_norms_training_starts_from_hard_sharing(backbone: Any) -> None:
    model = sharing.ASTMT(backbone, VECTORS, **BARE)
    hard = sharing.HardSharing(backbone, VECTORS)
    hard.shared.load_state_dict(model.trunk.state_dict())  # under the same names
    hard.heads.load_state_dict(model.heads.state_dict())
    x = torch.randn(4, 5) if backbone is MLP else torch.randn(4, 1, 16, 16)
    for name, prediction in hard.eval()(x).items():
        torch.testing.assert_close(model.eval()(x)[name], prediction)


def test_every_task_has_its_own_norms() -> None:
    model = sharing.ASTMT(CNN, DENSE)
    assert not [module for module in model.trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    before = {name: copy.deepcopy(model.own.of(name).state_dict()) for name in ("classes", "depth")}
    model(torch.randn(4, 1, 16, 16), tasks=["depth"])
    moved = {
        name: [
            key for key, value in model.own.of(name).state_dict().items() if not torch.equal(value, before[name][key])
        ]
        for name in before
    }
    assert not moved["classes"]
    assert sum("running_mean" in key for key in moved["depth"]) == 3  # of the trunk's two, and of the decoder


def test_tasks_whose_predictions_are_maps_share_the_decoder() -> None:
    model = sharing.ASTMT(CNN, [*DENSE, VECTORS[0]])
    users = model.shared_by()
    assert {users[name] for name in users if name.startswith("decoder.")} == {("classes", "depth")}
    assert {users[name] for name in users if name.startswith("trunk.")} == {("classes", "depth", "one")}
    assert {users[name] for name in users if name.startswith("discriminator.")} == {()}
    predictions = model(torch.randn(2, 1, 16, 16))
    assert predictions["classes"].shape == (2, 3, 16, 16)
    assert predictions["one"].shape == (2, 1)


# --- the discriminator -----------------------------------------------------------------------------------------------


def adversarial(backbone: Any = MLP, strength: float = 0.5) -> tuple[Any, Tensor]:
    discriminator = sharing.GradientDiscriminator(width=4, strength=strength)
    model = sharing.ASTMT(backbone, VECTORS, reduction=2, discriminator=discriminator)
    x = torch.randn(6, 5) if backbone is MLP else torch.randn(6, 1, 8, 8)
    return randomised(model).double(), x.double()


def plain_cross_entropy(model: Any, x: Tensor) -> Tensor:
    """What the discriminator says of the gradients, written down anew and without any reversal."""
    model(x)
    features = dict(model._last.features)
    logits, labels = [], []
    for label, task in enumerate(VECTORS):
        feature = features[task.name]
        loss = losses_of({task.name: model.heads.of(task.name)(feature)})[task.name]
        (gradient,) = torch.autograd.grad(loss, feature, create_graph=True)
        unit = gradient / gradient.square().mean(1, keepdim=True).sqrt()
        hidden = F.relu(unit @ model.discriminator.hidden.weight.flatten(1).T + model.discriminator.hidden.bias)
        logits.append(model.discriminator.guess(hidden))
        labels.append(torch.full((len(x),), label))
    return F.cross_entropy(torch.cat(logits), torch.cat(labels))


def test_the_discriminator_minimises_what_the_network_maximises() -> None:
    model, x = adversarial(strength=0.5)
    penalty = model.penalty(losses_of(model(x)))
    plain = plain_cross_entropy(model, x)
    torch.testing.assert_close(penalty, plain)
    parameters = dict(model.named_parameters())
    came, expected = (
        torch.autograd.grad(each, list(parameters.values()), allow_unused=True) for each in (penalty, plain)
    )
    reached = 0
    for name, one, other in zip(parameters, came, expected, strict=True):
        factor = 1.0 if name.startswith("discriminator") else -0.5
        assert (one is None) == (other is None), name
        if one is not None:
            torch.testing.assert_close(one, factor * other, msg=name)
            reached += name.startswith("trunk")
    assert reached  # through the second derivative alone: the losses' own are not in it


def test_the_second_derivative_is_that_of_finite_differences() -> None:
    model, x = adversarial()
    weight = model.heads.of("three").weight
    (gradient,) = torch.autograd.grad(plain_cross_entropy(model, x), weight)
    step = torch.zeros_like(weight)
    step[1, 2] = 1e-6
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(sign * step)
        values.append(plain_cross_entropy(model, x).item())
        with torch.no_grad():
            weight.sub_(sign * step)
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(gradient[1, 2].item(), rel=1e-4)


def test_a_sample_without_a_gradient_is_not_guessed_from() -> None:
    model, x = adversarial(CNN)
    predictions = model(x)
    losses = losses_of(predictions)
    losses["one"] = (predictions["one"][:2] - 0.3).square().sum()  # two of six samples have a label
    found = model.penalty(losses)
    (gradient,) = torch.autograd.grad(losses["one"], model._last.features["one"], retain_graph=True)
    assert gradient[2:].abs().sum() == 0
    gradients = {
        name: torch.autograd.grad(loss, model._last.features[name], retain_graph=True)[0]
        for name, loss in losses.items()
    }
    gradients["one"] = gradients["one"][:2]
    torch.testing.assert_close(found, model.discriminator(gradients))
    for each in torch.autograd.grad(found, list(model.trunk.parameters())):
        assert torch.isfinite(each).all()


def test_an_absent_task_is_absent() -> None:
    model, x = adversarial()
    losses = losses_of(model(x))
    del losses["two"]
    assert torch.isfinite(model.penalty(losses))
    assert model.penalty({}) is None


def test_in_evaluation_without_a_discriminator_and_with_one_task_there_is_no_penalty() -> None:
    model, x = adversarial()
    assert model.eval().penalty(losses_of(model(x))) is None
    for other in (sharing.ASTMT(MLP, VECTORS, discriminator=None), sharing.ASTMT(MLP, VECTORS[:1])):
        assert other.discriminator is None
        assert other.penalty(losses_of(other(x.float()))) is None


def test_no_balancer_feels_the_penalty() -> None:
    """Made before the balanced backward pass, it leaves that as it is."""
    model, x = adversarial()
    results = []
    for penalised in (True, False):
        model.zero_grad()
        losses = losses_of(model(x))
        if penalised:
            torch.autograd.grad(model.penalty(losses), list(model.parameters()), retain_graph=True, allow_unused=True)
        balancing.backward(losses, balancing.UPGrad())
        results.append([each.grad for each in model.parameters() if each.grad is not None])
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_a_game_is_played() -> None:
    """A step of the discriminator lowers the cross-entropy, a step of the network raises it."""
    for mine, lower in ((True, True), (False, False)):
        model, x = adversarial(strength=1.0)
        before = model.penalty(losses_of(model(x)))
        learned = [each for name, each in model.named_parameters() if name.startswith("discriminator") == mine]
        gradients = torch.autograd.grad(before, learned, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(learned, gradients, strict=True):
                if gradient is not None:
                    parameter.sub_(1e-3 * gradient)
        after = model.penalty(losses_of(model(x)))
        assert (after < before) == lower


def test_a_transformer_is_trained_against_it() -> None:
    pytest.importorskip("transformers")
    recipe = sharing.Transformers(
        "dinov2",
        num_channels=1,
        image_size=32,
        patch_size=16,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=1,
    )
    model = sharing.ASTMT(recipe, VECTORS[:2])
    model.penalty(losses_of(model(torch.randn(2, 1, 32, 32)))).backward()  # type: ignore[union-attr]
    assert all(each.grad is not None for each in model.trunk.parameters() if each.requires_grad)


# --- places ----------------------------------------------------------------------------------------------------------


def test_a_norm_of_a_feature_that_a_task_does_not_read_is_not_its_own() -> None:
    pytest.importorskip("transformers")
    swin = sharing.Transformers(
        "swin",
        num_channels=1,
        image_size=32,
        patch_size=4,
        embed_dim=8,
        depths=(1, 1),
        num_heads=(1, 1),
        window_size=4,
    )
    model = sharing.ASTMT(swin, [DENSE[1], VECTORS[0]], discriminator=None)
    sum(losses_of(model(torch.randn(2, 1, 32, 32))).values()).backward()  # type: ignore[union-attr]
    assert not [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]


def test_blocks_can_be_chosen() -> None:
    model = sharing.ASTMT(CNN, VECTORS, norms=False, blocks=lambda trunk: [trunk.stages[1]])  # type: ignore[attr-defined]
    assert [name for name, _ in model.own.of("one").named_children()] == ["stages%2E1"]
    with pytest.raises(PolytaskError, match="at least one"):
        sharing.ASTMT(CNN, VECTORS, blocks=lambda trunk: [])
    with pytest.raises(PolytaskError, match="ReLU has none"):
        sharing.ASTMT(CNN, VECTORS, blocks=lambda trunk: [trunk.stages[1].relu])  # type: ignore[attr-defined]


def test_the_channels_of_a_linear_layer_are_last() -> None:
    """ConvNeXt has its maps as [b, h, w, c] there, and a gate closes a channel, not a row."""
    pytest.importorskip("transformers")
    convnext = sharing.Transformers("convnext", num_channels=1, num_stages=2, hidden_sizes=(4, 8), depths=(1, 1))
    model = sharing.ASTMT(
        convnext,
        VECTORS,
        blocks=lambda made: [each for name, each in made.named_modules() if name.endswith("pwconv2")],
        discriminator=None,
    )
    seen: dict[str, Tensor] = {}
    first = next(name for name, _ in model.trunk.named_modules() if name.endswith("pwconv2"))
    gate = next(iter(model.own.of("one").values())).gate
    nn.init.zeros_(gate.excite.weight)
    with torch.no_grad():
        gate.excite.bias.copy_(torch.tensor([1e3, -1e3, 1e3, 1e3]))  # the second channel alone is closed
    # A hook that is registered last sees what the task's own module made.
    model.trunk.get_submodule(first).register_forward_hook(lambda module, args, output: seen.update(y=output))
    model(torch.randn(2, 1, 16, 16), tasks=["one"])
    assert seen["y"].shape == (2, 4, 4, 4)  # as many rows as channels
    assert seen["y"].abs().sum((0, 1, 2)).gt(0).tolist() == [True, False, True, True]


def test_the_trunk_alone_says_that_it_needs_a_task() -> None:
    with pytest.raises(PolytaskError, match="run the whole model"):
        sharing.ASTMT(CNN, VECTORS).trunk(torch.randn(2, 1, 8, 8))


def test_gates_and_discriminator_can_be_followed() -> None:
    model = sharing.ASTMT(CNN, DENSE)
    assert model.inside() == {}
    model.penalty(losses_of(model(torch.randn(2, 1, 16, 16))))
    inside = model.inside()
    assert set(inside) == {"gates of classes", "gates of depth", "discriminator"}
    assert set(inside["gates of depth"]) == {"stage 1", "stage 2", "decoder of maps"}
    assert inside["discriminator"]["of guessing"] == pytest.approx(math.log(2))


def test_a_model_can_be_copied_in_the_middle_of_training() -> None:
    model = sharing.ASTMT(RESNET, DENSE)
    images = torch.randn(2, 1, 32, 32)
    model(images)
    twin = copy.deepcopy(model)
    for name, prediction in model.eval()(images).items():
        torch.testing.assert_close(twin.eval()(images)[name], prediction)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(PolytaskError, match="positive strength"):
        sharing.GradientDiscriminator(strength=0.0)
    with pytest.raises(PolytaskError, match="recipe"):
        sharing.ASTMT(CNN, DENSE, discriminator=sharing.GradientDiscriminator)  # type: ignore[arg-type]
    with pytest.raises(PolytaskError, match="reduction"):
        sharing.ASTMT(CNN, DENSE, reduction=0)


def test_a_trunk_may_have_a_part_named_decoder() -> None:
    """Its norms are not those of the decoder of maps."""

    own = sharing.ASTMT(Named, DENSE, decoder=sharing.FPN(8), discriminator=None).own.of("depth")
    assert sorted(each.num_features for each in own.modules() if isinstance(each, nn.BatchNorm2d)) == [4, 8]


class Named(sharing.Backbone):
    def __init__(self) -> None:
        super().__init__((4,))
        self.encoder = nn.Conv2d(1, 4, 3, padding=1)
        self.decoder = nn.ModuleDict({"norm": nn.BatchNorm2d(4)})

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return [self.decoder["norm"](self.encoder(inputs))]

    def walk(self, inputs: Tensor) -> Generator[Tensor, Tensor, list[Tensor]]:
        return [(yield self(inputs)[0])]
