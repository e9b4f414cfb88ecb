"""Backbones: split then join is the whole, recipes survive JSON, wrong inputs are named."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from polytask import sharing
from polytask.errors import PolytaskError

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
}
OURS: dict[str, Any] = {
    "mlp": sharing.MLP(5, widths=[6, 7, 8], dropout=0.1),  # type: ignore[arg-type]
    "table": sharing.MLP(sharing.TableInputs(2, (3, 4)), widths=(6, 7)),
    "cnn": sharing.SmallCNN(3, widths=(3, 4)),
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
    inputs = {
        "mlp": torch.randn(4, 5),
        "table": {"numbers": torch.randn(4, 2), "categories": torch.tensor([[0, 3]] * 4)},
        "cnn": torch.randn(4, 3, 16, 16),
    }
    check_every_split(OURS[name](), inputs[name])


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


@pytest.mark.parametrize("recipe", [*OURS.values(), sharing.Transformers("resnet", depths=[1, 1])])
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
