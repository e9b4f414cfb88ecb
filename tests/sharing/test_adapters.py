"""Adapters per task: a start from the network as it is, few parameters, every one of which learns."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask import sharing, tasks
from polytask.errors import PolytaskError

VECTORS = [tasks.Regression("one"), tasks.MultiClass("two.of.three", 3)]
DENSE = [tasks.Segmentation("classes", classes=3), tasks.Depth("depth")]
MLP = sharing.MLP(5, widths=(6, 7))
CNN = sharing.SmallCNN(1, widths=(4, 6))
TINY: dict[str, Any] = {"num_channels": 1, "image_size": 32}
TRANSFORMERS: dict[str, Any] = {
    "swin": sharing.Transformers(
        "swin", **TINY, patch_size=4, embed_dim=8, depths=(1, 1), num_heads=(1, 1), window_size=4, drop_path_rate=0.0
    ),
    "dinov2": sharing.Transformers(
        "dinov2", **TINY, patch_size=16, hidden_size=8, num_hidden_layers=2, num_attention_heads=1
    ),
    "convnext": sharing.Transformers("convnext", num_channels=1, hidden_sizes=(4, 8), depths=(1, 1), num_stages=2),
}
RECIPES = [sharing.LoRA(rank=2), sharing.Bottleneck(width=3, norms=False), sharing.Bottleneck(width=3)]


@pytest.fixture(params=["mlp", "cnn", *TRANSFORMERS])
def backbone(request: pytest.FixtureRequest) -> Any:
    if request.param in TRANSFORMERS:
        pytest.importorskip("transformers")
    return {"mlp": MLP, "cnn": CNN, **TRANSFORMERS}[request.param]


def inputs_of(backbone: Any) -> Tensor:
    return torch.randn(4, 5) if backbone is MLP else torch.randn(4, 1, 32, 32)


def randomised(model: nn.Module) -> Any:
    """Also what starts at zero has a value."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def loss_of(predictions: dict[str, Tensor]) -> Tensor:
    return torch.stack([each.square().mean() for each in predictions.values()]).sum()


@pytest.mark.parametrize("by", RECIPES)
def test_training_starts_from_the_network_as_it_is(backbone: Any, by: Any) -> None:
    model = sharing.Adapters(backbone, VECTORS, by=by)
    hard = sharing.HardSharing(backbone, VECTORS)
    theirs = {**model.trunk.state_dict(), **{k.split("trunk.")[-1]: v for k, v in norms_of(model).items()}}
    hard.shared.load_state_dict(theirs)  # under the same names: a trained network loads as it is
    hard.heads.load_state_dict(model.heads.state_dict())
    x = inputs_of(backbone)
    for name, prediction in hard.eval()(x).items():
        torch.testing.assert_close(model.eval()(x)[name], prediction)


def norms_of(model: Any) -> dict[str, Tensor]:
    """The first task's norms, under the names that they had in the trunk."""
    from polytask.sharing._per_task import readable

    found = {}
    for place, module in model.own.of("one").named_children():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            found |= {f"{readable(place)}.{name}": each for name, each in module.state_dict().items()}
    return found


@pytest.mark.parametrize("by", RECIPES)
def test_what_a_task_has_is_seen_in_its_prediction_alone(backbone: Any, by: Any) -> None:
    model = randomised(sharing.Adapters(backbone, VECTORS, by=by)).eval()
    x = inputs_of(backbone)
    before = model(x)
    with torch.no_grad():
        for parameter in model.own.of("one").parameters():
            parameter.add_(0.5)
    after = model(x)
    assert not torch.allclose(after["one"], before["one"])
    assert torch.equal(after["two.of.three"], before["two.of.three"])


def test_lora_adds_a_product_to_the_weight() -> None:
    """W x + (alpha / r) B A x, against weights put together."""
    model = randomised(sharing.Adapters(MLP, VECTORS, by=sharing.LoRA(rank=2, alpha=6.0)))
    own, x = model.own.of("one"), torch.randn(4, 5)
    h = x
    for k, stage in enumerate(model.trunk.stages):
        mine = own.of(f"stages.{k}.linear")
        h = F.relu(F.linear(h, stage.linear.weight + 3.0 * mine.up @ mine.down, stage.linear.bias))
    torch.testing.assert_close(model(x)["one"], model.heads.of("one")(h))


def test_lora_beside_a_convolution_is_a_convolution() -> None:
    model = randomised(sharing.Adapters(CNN, VECTORS, by=sharing.LoRA(rank=2))).eval()
    own, x = model.own.of("one"), torch.randn(2, 1, 16, 16)
    h = x
    for k, stage in enumerate(model.trunk.stages):
        mine = own.of(f"stages.{k}.convolution")
        weight = stage.convolution.weight + torch.einsum("or,rihw->oihw", mine.up, mine.down)
        h = F.relu(stage.norm(F.conv2d(h, weight, None, stride=2, padding=1)))
    torch.testing.assert_close(model(x)["one"], model.heads.of("one")(h.mean((2, 3))))


def test_a_bottleneck_stands_behind_every_sublayer_of_a_transformer() -> None:
    pytest.importorskip("transformers")
    for name, layers in {"dinov2": ("o_proj", "fc2"), "swin": ("o_proj", "fc2"), "convnext": ("pwconv2",)}.items():
        model = sharing.Adapters(TRANSFORMERS[name], VECTORS, by=sharing.Bottleneck(norms=False))
        places = [place for place, _ in model.own.of("one").named_children()]
        assert {place.rpartition("%2E")[2] for place in places} == set(layers)
        assert len(places) == 2 * len(layers)  # two blocks


def test_a_bottleneck_stands_behind_the_stages_of_other_networks() -> None:
    model = randomised(sharing.Adapters(CNN, VECTORS, by=sharing.Bottleneck(width=3, norms=False))).eval()
    own, h = model.own.of("one"), torch.randn(2, 1, 16, 16)
    images = h
    for k, stage in enumerate(model.trunk.stages):
        rows = stage(h).permute(0, 2, 3, 1)
        small = own.of(f"stage {k + 1}")
        h = (rows + small.up(F.gelu(small.down(rows)))).permute(0, 3, 1, 2)
    torch.testing.assert_close(model(images)["one"], model.heads.of("one")(h.mean((2, 3))))


@pytest.mark.parametrize("by", RECIPES)
def test_one_step_teaches_every_task(backbone: Any, by: Any) -> None:
    """All adapters have their gradient from one backward pass, also those of the task that ran first."""
    model = randomised(sharing.Adapters(backbone, VECTORS, by=by))
    loss_of(model(inputs_of(backbone))).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0 or not name.startswith("own"), name


@pytest.mark.parametrize("by", RECIPES)
def test_a_frozen_network_stays_as_it_is(backbone: Any, by: Any) -> None:
    model = sharing.Adapters(backbone, VECTORS, by=by, frozen=True)
    before = {name: each.clone() for name, each in model.trunk.named_parameters()}
    learned = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(learned, 0.01)
    x = inputs_of(backbone)
    seen = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = loss_of(model(x))
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < seen[0]
    assert all(torch.equal(each, before[name]) for name, each in model.trunk.named_parameters())
    assert sum(map(torch.Tensor.numel, learned)) == sum(
        part.parameters for part in sharing.describe(model).parts if part.module.startswith(("own", "heads"))
    )


def test_a_trained_network_can_be_given() -> None:
    trained = MLP()
    model = sharing.Adapters(lambda: copy.deepcopy(trained), VECTORS, frozen=True)
    x = torch.randn(4, 5)
    torch.testing.assert_close(model(x)["one"], model.heads.of("one")(trained(x)[-1]))


def test_layers_can_be_chosen_by_the_ends_of_their_names() -> None:
    pytest.importorskip("transformers")
    model = sharing.Adapters(TRANSFORMERS["dinov2"], VECTORS, by=sharing.LoRA(only=("q_proj", "v_proj")))
    assert len(list(model.own.of("one").children())) == 4
    with pytest.raises(PolytaskError, match="ends with 'q_prog'; did you mean 'q_proj'"):
        sharing.Adapters(TRANSFORMERS["dinov2"], VECTORS, by=sharing.LoRA(only=("q_prog",)))
    with pytest.raises(PolytaskError, match="'proj'"):
        sharing.Adapters(TRANSFORMERS["dinov2"], VECTORS, by=sharing.Bottleneck(only=("proj",)))


def test_vectors_and_maps_together_on_a_network_whose_features_are_normed() -> None:
    """A vector reads the last feature alone: the norms of the others are no part of its own."""
    pytest.importorskip("transformers")
    model = sharing.Adapters(TRANSFORMERS["swin"], [DENSE[0], VECTORS[0]], by=sharing.Bottleneck())
    loss_of(model(torch.randn(2, 1, 32, 32))).backward()
    assert not [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]


def test_dense_tasks_are_adapted_too() -> None:
    model = sharing.Adapters(CNN, DENSE, by=sharing.LoRA(rank=2))
    assert model(torch.randn(2, 1, 16, 16))["classes"].shape == (2, 3, 16, 16)


@pytest.mark.parametrize("by", RECIPES)
def test_a_copy_has_its_own_hooks(by: Any) -> None:
    model = randomised(sharing.Adapters(CNN, VECTORS, by=by)).eval()
    x = torch.randn(2, 1, 16, 16)
    before = model(x)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.own.parameters():
            parameter.add_(0.5)
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)
    assert not torch.allclose(twin(x)["one"], before["one"])


class Encoder(nn.Module):
    """A layer of torch, whose attention reads the weights of its projection without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x + self.attention(x, x, x)[0])


def test_a_layer_that_is_never_called_is_not_adapted() -> None:
    model = sharing.Adapters(lambda: sharing.SequentialBackbone([Encoder()], (8,)), VECTORS, by=sharing.LoRA(rank=2))
    sum(each.sum() for each in model(torch.randn(2, 5, 8)).values()).backward()  # type: ignore[union-attr]
    assert not [name for name, each in model.named_parameters() if each.grad is None]
    with pytest.raises(PolytaskError, match="out_proj"):
        sharing.Adapters(
            lambda: sharing.SequentialBackbone([Encoder()], (8,)), VECTORS, by=sharing.LoRA(only=("out_proj",))
        )


@pytest.mark.parametrize("by", [sharing.Bottleneck(width=2), sharing.LoRA(rank=2, norms=True)])
def test_torchs_own_transformer_layers_do_not_go_around_a_tasks_norms(by: Any) -> None:
    """In evaluation they may compute everything at once, from the weights of their parts."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = sharing.Adapters(lambda: sharing.SequentialBackbone([layer], (8,)), VECTORS, by=by)
    for each in model.own.parameters():
        nn.init.normal_(each)
    x = torch.randn(2, 5, 8)
    expected = model(x)["one"]
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x)["one"], expected)


class Empty(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_what_cannot_be_adapted_is_refused() -> None:
    with pytest.raises(PolytaskError, match="has none"):
        sharing.Adapters(lambda: sharing.SequentialBackbone([Empty()], (5,)), VECTORS)
    with pytest.raises(PolytaskError, match="recipe"):
        sharing.Adapters(MLP, VECTORS, by=sharing.LoRA)  # type: ignore[arg-type]
    with pytest.raises(PolytaskError, match="rank"):
        sharing.LoRA(rank=0)
    with pytest.raises(PolytaskError, match="rank"):
        sharing.LoRA(rank=2.5)  # type: ignore[arg-type]
    with pytest.raises(PolytaskError, match="width"):
        sharing.Bottleneck(width=0)


def test_with_the_library_only_the_last_task_would_learn() -> None:
    """Why LoRA is not peft's: exchanging an adapter for another takes its gradient away."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["0"])
    model = peft.get_peft_model(nn.Sequential(nn.Linear(4, 4)), config, adapter_name="one")
    model.add_adapter("two", config)
    loss = torch.zeros(())
    for name in ("one", "two"):
        model.set_adapter(name)
        loss = loss + (model(torch.ones(2, 4)) - 1).square().mean()
    loss.backward()
    learned = {name.split(".")[-2] for name, each in model.named_parameters() if each.grad is not None}
    assert learned == {"two"}
