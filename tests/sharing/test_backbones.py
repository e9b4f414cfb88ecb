"""Backbones: split then join is the whole, and so is a walk; recipes survive JSON, wrong inputs are named."""

import copy
import dataclasses
import functools
import importlib
import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polytask import sharing
from polytask.errors import PolytaskError
from polytask.sharing.walking import walk_alone, walk_together

SMALL: dict[str, Any] = {"num_channels": 1, "image_size": 32}
VIT: dict[str, Any] = {
    **SMALL,
    "patch_size": 8,
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
}
FOUR: dict[str, Any] = {"depths": [1, 1, 1, 1], "num_channels": 1}
WINDOWS: dict[str, Any] = {**SMALL, "patch_size": 2, "embed_dim": 8, "depths": [1, 2, 1], "window_size": 4}
FAMILIES: dict[str, dict[str, Any]] = {
    "resnet": {**FOUR, "embedding_size": 4, "hidden_sizes": [4, 8, 12, 16]},
    "bit": {**FOUR, "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "num_groups": 2},
    "swin": {**WINDOWS, "num_heads": [1, 1, 1]},
    "swinv2": {**WINDOWS, "num_heads": [1, 1, 1]},
    "dinov2": VIT,
    "dinov3_vit": VIT,
    "hiera": {
        "num_channels": 1,
        "image_size": [32, 32],
        "patch_size": [3, 3],
        "patch_stride": [2, 2],
        "patch_padding": [1, 1],
        "embed_dim": 8,
        "depths": [1, 1, 1],
        "num_heads": [1, 1, 1],
        "query_stride": [2, 2],
        "num_query_pool": 2,
        "masked_unit_size": [4, 4],
        "masked_unit_attention": [True, True, False],
    },
    "convnext": {**FOUR, "image_size": 64, "hidden_sizes": [4, 8, 12, 16], "patch_size": 2},
    "focalnet": {**SMALL, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "hidden_sizes": [8, 16]},
    "beit": {**VIT, "intermediate_size": 8, "use_shared_relative_position_bias": True},
    "pvt_v2": {**FOUR, "image_size": 32, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 1, 1]},
    "segformer": {**FOUR, "hidden_sizes": [4, 8, 8, 16], "num_attention_heads": [1, 1, 2, 2]},
}


def make_network() -> nn.Module:
    """A network as others write them; what comes after `top.1` is no part of its features."""
    body = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(4, 5, 3), nn.Hardtanh(-9, 9)]
    top = [nn.AvgPool2d(2), nn.Conv2d(5, 6, 1), nn.Conv2d(6, 7, 1)]
    return nn.Sequential(OrderedDict(body=nn.Sequential(*body), top=nn.Sequential(*top)))


OURS: dict[str, Any] = {
    "mlp": sharing.MLP(5, widths=[6, 7, 8], dropout=0.1),  # type: ignore[arg-type]
    "table": sharing.MLP(sharing.TableInputs(2, (3, 4)), widths=(6, 7)),
    "cnn": sharing.SmallCNN(3, widths=(3, 4)),
    "fusion": sharing.Fusion({"note": sharing.Words(5, width=4), "photo": sharing.SmallCNN(3, (3, 4))}, widths=(5, 6)),
    "tcdcn": sharing.TCDCN(3, size=32, features=9),
    "segnet": sharing.SegNet(3, widths=(3, 4, 5), convolutions=(1, 2, 1)),
    "dilated resnet": sharing.DilatedResNet(3, layers=(2, 1, 1, 1), widths=(4, 4, 8, 8)),
    "bottlenecks": sharing.DilatedResNet(3, layers=(1, 1, 2), widths=(4, 8, 8), bottleneck=True),
    "named modules": sharing.OutputsOf(make_network, ("body.2", "body.5", "top.1"), shape=(3, 16, 16)),
}
ROWS: dict[str, Any] = {
    "tcdcn": torch.randn(4, 3, 32, 32),
    "mlp": torch.randn(4, 5),
    "table": {"numbers": torch.randn(4, 2), "categories": torch.tensor([[0, 3]] * 4)},
    "fusion": {"note": torch.tensor([[1, 2, 3, 4, 0]] * 4), "photo": torch.randint(0, 256, (4, 3, 9, 8)).byte()},
}


def check_every_split(backbone: sharing.Backbone, inputs: Any) -> None:
    backbone.eval()
    whole = backbone(inputs)
    assert [each.shape[1] if each.ndim != 3 else each.shape[2] for each in whole] == list(backbone.widths)
    own = {id(each) for each in backbone.parameters()}
    for stage in range(len(backbone.widths) + 1):
        lower, upper = backbone.split(stage)
        joined = nn.ModuleList([lower, upper]).eval()
        torch.testing.assert_close(upper(lower(inputs)), whole)
        below, above = ({id(each) for each in part.parameters()} for part in (lower, upper))
        assert below | above == own
        assert (not below) == (stage == 0)
        assert (not above) == (stage == len(backbone.widths))
        for parameter in joined.parameters():
            parameter.grad = None
        sum(each.square().sum() for each in upper(lower(inputs))).backward()
        assert not [name for name, each in joined.named_parameters() if each.grad is None]


@pytest.mark.parametrize("name", OURS)
def test_split_of_ours(name: str) -> None:
    check_every_split(OURS[name](), ROWS.get(name, torch.randn(4, 3, 18, 16)))


@pytest.mark.parametrize("family", FAMILIES)
def test_split_of_transformers(family: str) -> None:
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    backbone = sharing.Transformers(family, FAMILIES[family])()
    check_every_split(backbone, torch.randn(2, *backbone.shape))


def test_parts_of_a_split_transformer_own_disjoint_parameters_and_states() -> None:
    pytest.importorskip("transformers")
    backbone = sharing.Transformers("resnet", FAMILIES["resnet"])()
    lower, upper = backbone.split(2)
    below, above = lower.state_dict(), upper.state_dict()
    assert not below.keys() & above.keys()
    assert below.keys() | above.keys() == backbone.state_dict().keys()


def test_training_statistics_of_a_split_transformer_are_kept_once() -> None:
    pytest.importorskip("transformers")
    backbone = sharing.Transformers("resnet", FAMILIES["resnet"])()
    before = {name: each.clone() for name, each in backbone.named_buffers() if "running_mean" in name}
    lower, upper = backbone.split(2)
    assert lower.training
    assert upper.training
    assert all(torch.equal(each, before[name]) for name, each in backbone.named_buffers() if name in before)
    upper(lower(torch.randn(4, *backbone.shape)))
    after = dict(backbone.named_buffers())
    moved = [name for name in before if not torch.equal(after[name], before[name])]
    assert moved == list(before)  # each by one part, and none was left out


RECIPES = [
    *(each for each in OURS.values() if not isinstance(each, sharing.OutputsOf | sharing.Fusion)),  # they hold others
    sharing.DilatedResNet(layers=50),
    sharing.Transformers("resnet", depths=[1, 1]),
    sharing.Transformers("resnet", pretrained="microsoft/resnet-50"),
    sharing.Torchvision("resnet18", progress=False),
    sharing.Timm("resnet18", channels=1, out_indices=(1, 2)),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_values(recipe: Any) -> None:
    again = type(recipe)(**json.loads(json.dumps(dataclasses.asdict(recipe))))
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert repr(again) == repr(recipe)


def test_default_configurations_with_tuples_work() -> None:
    pytest.importorskip("transformers")
    recipe = sharing.Transformers("convnext", num_channels=1, hidden_sizes=(4, 8, 8, 8), drop_path_rate=0.1)
    as_dict = {"num_channels": 1, "hidden_sizes": [4, 8, 8, 8], "drop_path_rate": 0.1}
    assert recipe == sharing.Transformers("convnext", as_dict)
    assert recipe().widths == (4, 8, 8, 8)  # depths: the family's default, a tuple


def test_unused_parameters_of_transformers_are_constants() -> None:
    pytest.importorskip("transformers")
    backbone = sharing.Transformers("swin", FAMILIES["swin"])()
    norms = {name for name, _ in backbone.named_parameters() if "hidden_states_norms" in name}
    assert len(norms) == 6
    backbone.keep_only([2])
    left = {name for name, _ in backbone.named_parameters() if "hidden_states_norms" in name}
    assert left == {name for name in norms if "stage3" in name}


def test_importing_sharing_does_not_import_transformers() -> None:
    files = list(Path(sharing.__file__).parent.rglob("*.py"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if "import" in line and " transformers" in line]
    assert not [line for line in lines if line.startswith(("import transformers", "from transformers"))]


def test_without_transformers_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PolytaskError, match=r"pip install 'polytask\[transformers\]'"):
        sharing.Transformers("resnet")()


@pytest.mark.parametrize(
    "family, options, message",
    [
        ("resnett", {}, "did you mean 'resnet'"),
        ("resnet", {"hiden_sizes": [4]}, "did you mean 'hidden_sizes'"),
        ("resnet", {"depths": [1, 1], "hidden_sizes": [4]}, "transformers cannot build resnet"),
        ("resnet", {"depths": []}, "resnet"),
        ("vit", {"hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}, "no features of its stages"),
    ],
)
def test_wrong_transformers_are_refused(family: str, options: dict[str, Any], message: str) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(PolytaskError, match=message):
        sharing.Transformers(family, options)()


@pytest.mark.parametrize(
    "name, wrong, message",
    [
        ("mlp", torch.zeros(2, 4), r"shape \[b, 5\], got \[2, 4\]"),
        ("mlp", {"numbers": torch.zeros(2, 5)}, r"shape \[b, 5\], got dict"),
        ("table", torch.zeros(2, 4), "got Tensor"),
        ("table", {"numbers": torch.zeros(2, 2)}, r"keys \['numbers'\]"),
        ("table", {"numbers": torch.zeros(2, 3), "categories": torch.zeros(2, 2).int()}, "got 3 numbers"),
        ("table", {"numbers": torch.zeros(2, 2), "categories": torch.tensor([[0, 4]])}, "column 1 .* 4 to 4"),
        ("cnn", torch.zeros(2, 1, 8, 8), r"shape \[b, 3, h, w\], got \[2, 1, 8, 8\]"),
        ("cnn", torch.zeros(2, 64), r"got \[2, 64\]"),
        ("segnet", torch.zeros(2, 1, 16, 16), r"shape \[b, 3, h, w\], got \[2, 1, 16, 16\]"),
        ("segnet", torch.zeros(2, 3, 16, 7), r"too small .* of \[4, 1\]"),
        ("dilated resnet", torch.zeros(2, 8), r"got \[2, 8\]"),
        ("named modules", torch.zeros(2, 8), r"got \[2, 8\]"),
    ],
)
def test_wrong_inputs_are_named(name: str, wrong: Any, message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        OURS[name]()(wrong)


def test_images_are_flattened_for_an_mlp() -> None:
    assert sharing.MLP(16, widths=(3,))()(torch.zeros(2, 1, 4, 4))[0].shape == (2, 3)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: sharing.MLP(4, widths=())(), "has no stages"),
        (lambda: sharing.MLP(0), "at least one input"),
        (lambda: sharing.MLP(4, dropout=1.0), "dropout"),
        (lambda: sharing.SequentialBackbone([nn.ReLU()], (0,)), "widths must be positive"),
        (lambda: sharing.SmallCNN(0), "at least one channel"),
        (lambda: sharing.TableInputs(0), "at least one column"),
        (lambda: sharing.TableInputs(1, (0,)), "cardinality >= 1"),
        (lambda: sharing.SequentialBackbone([nn.ReLU()], (1, 2)), "one width per stage"),
        (lambda: sharing.SegNet(0), "at least one channel"),
        (lambda: sharing.SegNet(widths=(4, 8)), "one width and one number of convolutions"),
        (lambda: sharing.SegNet(widths=(4, 8), convolutions=(1, 0)), r"convolutions \(1, 0\)"),
        (lambda: sharing.DilatedResNet(0), "at least one channel"),
        (lambda: sharing.DilatedResNet(layers=19), "18, 34, 50, 101, 152 or the number of blocks .* got 19"),
        (lambda: sharing.DilatedResNet(layers=(1, 1), widths=(4,)), "one width and at least one block"),
        (lambda: sharing.DilatedResNet(layers=()), r"blocks \(\)"),
        (lambda: sharing.DilatedResNet(stride=4), "one of 8, 16, 32, got 4"),
        (lambda: sharing.DilatedResNet(layers=(1,), widths=(6,), bottleneck=True), "a quarter of the channels"),
        (lambda: sharing.OutputsOf(make_network, ("bodi",))(), "no module 'bodi'; its outermost are body, top"),
        (lambda: sharing.OutputsOf(make_network, ())(), "at least one module"),
        (lambda: sharing.OutputsOf(make_network, ("top.1", "body.2"))(), r"in this order.* ran: body.2 \(Tensor\)"),
        (lambda: sharing.MLP(4)().split(3), "from 0 .* to 2 .*, got 3"),
    ],
)
def test_wrong_backbones_are_refused(make: Any, message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        make()


def test_tables_without_numbers_or_without_categories() -> None:
    rows = {"numbers": torch.zeros(3, 0), "categories": torch.zeros(3, 1, dtype=torch.int32)}
    assert sharing.MLP(sharing.TableInputs(0, (5,)), widths=(4,))()(rows)[0].shape == (3, 4)
    rows = {"numbers": torch.zeros(3, 2), "categories": torch.zeros(3, 0, dtype=torch.int32)}
    assert sharing.MLP(sharing.TableInputs(2), widths=(4,))()(rows)[0].shape == (3, 4)


def test_a_batch_of_one_is_predicted_as_in_a_large_batch() -> None:
    backbone = sharing.SmallCNN()()
    images = torch.randn(8, 1, 16, 16)
    backbone(images)
    backbone.eval()
    torch.testing.assert_close(backbone(images[:1])[-1], backbone(images)[-1][:1])


# --- the networks of papers -----------------------------------------------------------------------------------------


def test_segnet_has_the_thirteen_convolutions_of_vgg_16_twice() -> None:
    with torch.device("meta"):
        backbone = sharing.SegNet()()
    assert backbone.widths == (64, 128, 256, 512, 512, 512, 256, 128, 64, 64)
    kernels = [each for each in backbone.parameters() if each.ndim == 4]
    assert [len(kernels), sum(each.numel() for each in kernels[:13])] == [26, 14_710_464]  # VGG-16's, without biases
    shapes = [tuple(each.shape[:2]) for each in kernels]  # (above, below)
    assert shapes[24:12:-1] == [(below, above) for above, below in shapes[1:13]]  # the decoder mirrors the encoder


def test_segnet_puts_values_back_where_the_maxima_were() -> None:
    backbone = sharing.SegNet(1, widths=(1,), convolutions=(1,))().eval()
    encode, decode = backbone.stages
    encode.convolutions = decode.convolutions = nn.Identity()
    image = torch.tensor([[[[1.0, 2.0, 0.0], [4.0, 3.0, 0.0], [9.0, 9.0, 9.0]]]])  # the odd row and column are left out
    pooled, restored = backbone(image)
    assert pooled.tolist() == [[[[4.0]]]]
    assert restored.tolist() == [[[[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]]


@pytest.mark.parametrize(
    "layers, parameters", [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160)]
)
def test_residual_networks_have_the_published_number_of_parameters(layers: int, parameters: int) -> None:
    with torch.device("meta"):
        backbone = sharing.DilatedResNet(layers=layers)()
    assert sum(each.numel() for each in backbone.parameters()) == parameters  # of the networks for ImageNet less fc


@pytest.mark.parametrize("bottleneck", [True, False])
@pytest.mark.parametrize("stride", [8, 16])
def test_dilation_computes_what_strides_compute_and_what_lies_between(stride: int, bottleneck: bool) -> None:
    settings: Any = {"layers": (2, 2, 2, 2), "widths": (8, 8, 16, 16), "bottleneck": bottleneck}
    dilated = sharing.DilatedResNet(1, **settings, stride=stride)().eval()
    ordinary = sharing.DilatedResNet(1, **settings, stride=32)().eval()
    ordinary.load_state_dict(dilated.state_dict())
    images = torch.randn(2, 1, 64, 96)
    for k, (wide, narrow) in enumerate(zip(dilated(images), ordinary(images), strict=True)):
        every = max(4 * 2**k // stride, 1)
        assert wide.shape[2:] == (64 // min(4 * 2**k, stride), 96 // min(4 * 2**k, stride))
        torch.testing.assert_close(wide[..., ::every, ::every], narrow)


def test_trained_weights_come_from_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    recipe = sharing.Transformers("resnet", FAMILIES["resnet"])
    trained = recipe()
    trained.net.save_pretrained(tmp_path)
    again = sharing.Transformers("resnet", pretrained=str(tmp_path))().eval()
    images = torch.randn(2, *again.shape)
    torch.testing.assert_close(again(images), trained.eval()(images), rtol=0, atol=0)
    with pytest.raises(PolytaskError, match="holds a resnet, not a swin"):
        sharing.Transformers("swin", pretrained=str(tmp_path))()
    with pytest.raises(PolytaskError, match=r"with the weights .* give a folder that save_pretrained wrote, or a name"):
        sharing.Transformers("resnet", pretrained=str(tmp_path / "nothing here"))()


@pytest.mark.parametrize("recipe", [sharing.Timm("resnet18", channels=1), sharing.Torchvision("resnet18")])
def test_networks_of_other_libraries(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    library = type(recipe).__name__.lower()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, library, None)
        with pytest.raises(PolytaskError, match=f"needs {library}: pip install {library}"):
            recipe()
    try:
        importlib.import_module(library)
    except Exception as error:
        pytest.skip(f"{library} can't be imported here ({type(error).__name__})")
    backbone = recipe()
    assert backbone.widths[-4:] == (64, 128, 256, 512)
    assert backbone.walk_widths == backbone.widths
    check_every_split(backbone, torch.randn(2, *backbone.shape))
    with pytest.raises(PolytaskError, match=f"{library} cannot build resnet_of_nobody"):
        dataclasses.replace(recipe, name="resnet_of_nobody")()


# --- walking ---------------------------------------------------------------------------------------------------------

UNWALKABLE = {"beit": "a bias of all its layers goes up beside the tokens"}
WALKED: dict[str, Any] = {
    **OURS,
    **{name: sharing.Transformers(name, options) for name, options in FAMILIES.items() if name not in UNWALKABLE},
}


@functools.cache
def _made(name: str) -> sharing.Backbone:
    torch.manual_seed(0)
    if name in FAMILIES:
        pytest.importorskip("transformers")
    return WALKED[name]()


@pytest.fixture(params=WALKED)
def walked(request: pytest.FixtureRequest) -> tuple[sharing.Backbone, Any]:
    backbone = copy.deepcopy(_made(request.param))
    return backbone, ROWS.get(request.param, torch.randn(2, *getattr(backbone, "shape", (3, 18, 16))))


def unchanged(stage: int, output: Tensor) -> Tensor:
    return output


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_sending_back_what_came_is_the_forward_pass(
    walked: tuple[sharing.Backbone, Any], training: bool, autocast: bool
) -> None:
    backbone, inputs = walked
    twin = copy.deepcopy(backbone.train(training))  # before and, below, after the walk was found out
    results, gradients = [], []
    for each, run in ((backbone, lambda: backbone(inputs)), (twin, lambda: walk_alone(twin, inputs, unchanged))):
        torch.manual_seed(1)  # dropout
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            results.append(run())
        sum(feature.float().square().sum() for feature in results[-1]).backward()  # type: ignore[union-attr]
        gradients.append([parameter.grad for parameter in each.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3 if autocast else 1e-4, atol=1e-4)
    for (name, a), b in zip(backbone.named_buffers(), twin.buffers(), strict=True):  # statistics of a batch count once
        assert torch.equal(a, b), name
    assert copy.deepcopy(twin).walk_widths == twin.walk_widths


def test_what_is_sent_is_all_that_is_above(walked: tuple[sharing.Backbone, Any]) -> None:
    """A constant sent in place of a stage's output: nothing below has a gradient from this feature and those above."""
    backbone, inputs = walked
    backbone.eval()
    whole = backbone(inputs)
    for at, width in enumerate(backbone.walk_widths):
        sent: list[Tensor] = []
        below: list[Tensor] = []

        def change(stage: int, output: Tensor, at: int = at, sent: Any = sent, below: Any = below) -> Tensor:
            if stage != at:
                return output
            below.append(output)
            sent.append(torch.randn_like(output).requires_grad_())
            return sent[0]

        features = walk_alone(backbone, inputs, change)
        assert below[0].shape[1 if below[0].ndim != 3 else 2] == width
        feeding = [each for each in backbone.parameters() if each.requires_grad]
        own = torch.autograd.grad(below[0].sum(), feeding, retain_graph=True, allow_unused=True)
        for k, feature in enumerate(features):
            reached = torch.autograd.grad(feature.sum(), [sent[0], *feeding], retain_graph=True, allow_unused=True)
            assert (reached[0] is not None) == (k >= at)
            if k >= at:
                assert not [1 for a, b in zip(own, reached[1:], strict=True) if a is not None and b is not None]
                assert not torch.allclose(feature, whole[k])
            else:
                torch.testing.assert_close(feature, whole[k], rtol=0, atol=0)


def test_walks_may_take_turns() -> None:
    pytest.importorskip("transformers")
    backbone = copy.deepcopy(_made("swin")).eval()
    one, two = torch.randn(2, *backbone.shape), torch.randn(2, *backbone.shape)
    walks = backbone.walk(one), backbone.walk(two)
    outputs = [next(walk) for walk in walks]
    results: list[Any] = []
    while len(results) < 2:
        came, outputs = outputs, []
        for walk, output in zip(walks, came, strict=True):
            try:
                outputs.append(walk.send(output))
            except StopIteration as end:
                results.append(end.value)
        backbone(one)  # nothing of a walk that waits is left in the network
    torch.testing.assert_close(results, [backbone(one), backbone(two)], rtol=0, atol=0)


def test_backbones_that_walk_together_can_stop_one_by_one() -> None:
    torch.manual_seed(0)
    both = {name: sharing.MLP(3, widths=(4, 5))() for name in "ab"}
    inputs = torch.randn(2, 3)

    def swap(stage: int, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"a": outputs["b"], "b": outputs["a"]} if stage == 0 else {"a": outputs["a"]}

    features = walk_together(both, inputs, swap)
    lower = {name: each(inputs)[0] for name, each in both.items()}
    assert list(features) == ["a"]
    torch.testing.assert_close(features["a"], [lower["b"], both["a"].stages[1](lower["b"])], rtol=0, atol=0)


def test_a_family_in_which_more_than_the_tokens_go_up_cannot_be_walked() -> None:
    pytest.importorskip("transformers")
    backbone = sharing.Transformers("beit", FAMILIES["beit"])()
    with pytest.raises(PolytaskError, match="BeitBackbone can't stop between its stages"):
        backbone.walk(torch.zeros(2, *backbone.shape))
    private = {**VIT, "intermediate_size": 8, "use_relative_position_bias": True}
    assert sharing.Transformers("beit", private)().walk_widths == (8, 8, 8)


def test_a_backbone_of_ones_own_says_that_it_cannot_be_walked() -> None:
    class Own(sharing.Backbone):
        def forward(self, inputs: Tensor) -> list[Tensor]:
            return [inputs]

    with pytest.raises(PolytaskError, match="Own can't stop between its stages, as this architecture asks"):
        Own((3,)).walk(torch.zeros(2, 3))


class Walking(nn.Module):
    """The last feature, of a walk that halves what every stage gives, and of two parts one after the other."""

    def __init__(self, backbone: sharing.Backbone) -> None:
        super().__init__()
        self.walked = backbone
        self.lower, self.upper = copy.deepcopy(backbone).split(1)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return walk_alone(self.walked, inputs, lambda stage, x: x / 2)[-1], self.upper(self.lower(inputs))[-1]


@pytest.mark.parametrize("name", ["resnet", "named modules"])
def test_walks_and_parts_can_be_exported(name: str) -> None:
    model = Walking(copy.deepcopy(_made(name))).eval()
    shape = getattr(model.walked, "shape", (3, 16, 16))
    exported = torch.export.export(model, (torch.randn(2, *shape),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    images = torch.randn(5, *shape)
    torch.testing.assert_close(exported.module()(images), model(images))
