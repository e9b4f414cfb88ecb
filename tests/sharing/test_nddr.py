"""NDDR-CNN: what it starts as, what a layer computes, the shortcut version, and what is learned at which rate."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polytask import sharing, tasks
from polytask.errors import PolytaskError
from polytask.sharing.trunks.nddr import _Reduction

BOTH = (tasks.Binary("A"), tasks.MultiClass("B", 3))
THREE = (*BOTH, tasks.Regression("C"))
MLP = sharing.MLP(4, widths=(6, 8))
CNN = sharing.SmallCNN(1, widths=(4, 6))


def features_of(model: sharing.NDDR, inputs: Tensor) -> dict[str, list[Tensor]]:
    """Of every network by itself, without the others."""
    return {name: model.network(name).backbone(inputs) for name in model.names}


@pytest.mark.parametrize("given", [BOTH, THREE])
def test_the_diagonals_at_the_start(given: tuple[tasks.Task, ...]) -> None:
    model = sharing.NDDR(MLP, given, alpha=0.8, beta=0.3)
    others = len(given) - 1
    for stage, width in enumerate((6, 8)):
        for own, name in enumerate(model.names):
            blocks = model.units[str(stage)].of(name).weight.detach().chunk(len(given), 1)
            for k, block in enumerate(blocks):
                torch.testing.assert_close(block, torch.eye(width) * (0.8 if k == own else 0.3 / others))
    assert model.inside()["stage 1"]["A from A"] == pytest.approx(0.8)
    assert model.inside()["stage 1"]["A from B"] == pytest.approx(0.3 / others)


def test_independent_networks_are_a_special_case() -> None:
    torch.manual_seed(0)
    alone = sharing.Independent(CNN, BOTH)
    torch.manual_seed(0)
    model = sharing.NDDR(CNN, BOTH, alpha=1.0, beta=0.0, norm=False, relu=False)
    inputs = torch.randn(5, 1, 16, 16)
    torch.testing.assert_close(model(inputs), alone(inputs))


def test_cross_stitch_is_a_special_case() -> None:
    torch.manual_seed(0)
    stitched = sharing.CrossStitch(CNN, THREE)
    torch.manual_seed(0)
    model = sharing.NDDR(CNN, THREE, norm=False, relu=False)
    inputs = torch.randn(5, 1, 16, 16)
    torch.testing.assert_close(model(inputs), stitched(inputs))


def test_one_layer_is_convolution_norm_and_relu_over_all_channels() -> None:
    torch.manual_seed(0)
    model = sharing.NDDR(CNN, BOTH, stages=(1,))
    unit = model.units["1"].of("B")
    with torch.no_grad():
        unit.weight.normal_()
        unit.norm.weight.uniform_(0.5, 2)
        unit.norm.bias.normal_()
    inputs = torch.randn(5, 1, 16, 16)
    joined = torch.cat([each[-1] for each in features_of(model, inputs).values()], 1)
    reduced = torch.einsum("oc,bchw->bohw", unit.weight, joined)
    mean, deviation = reduced.mean((0, 2, 3)), reduced.var((0, 2, 3), unbiased=False).add(1e-5).sqrt()
    normed = (reduced - mean[:, None, None]) / deviation[:, None, None]
    after = F.relu(normed * unit.norm.weight[:, None, None] + unit.norm.bias[:, None, None])
    torch.testing.assert_close(model(inputs)["B"], model.networks.of("B").head(after.mean((2, 3))))


def test_maps_tokens_and_vectors_are_reduced_alike() -> None:
    torch.manual_seed(0)
    unit = _Reduction(torch.randn(3, 8), norm=True, relu=True)
    maps = torch.randn(4, 8, 2, 5)
    tokens = maps.flatten(2).mT
    rows = tokens.reshape(-1, 8)
    expected = unit(maps)
    torch.testing.assert_close(unit(tokens), expected.flatten(2).mT)
    torch.testing.assert_close(unit(rows), expected.flatten(2).mT.reshape(-1, 3))


def test_the_shortcut_joins_the_reductions_of_all_stages() -> None:
    torch.manual_seed(0)
    model = sharing.NDDR(CNN, BOTH, shortcut=True, norm=False, relu=False)
    shortcut = model.shortcuts.of("A").weight
    assert shortcut.shape == (6, 4 + 6)
    inputs = torch.randn(5, 1, 16, 16)
    x = dict.fromkeys("AB", inputs)
    own = []
    for stage in range(2):
        out = {name: model.networks.of(name).backbone.stages[stage](x[name]) for name in "AB"}
        x = {"A": 0.9 * out["A"] + 0.1 * out["B"], "B": 0.1 * out["A"] + 0.9 * out["B"]}
        own.append(x["A"])
    resized = [F.interpolate(own[0], (4, 4), mode="bilinear", align_corners=False), own[1]]
    joined = torch.einsum("oc,bchw->bohw", shortcut, torch.cat(resized, 1))
    torch.testing.assert_close(model(inputs)["A"], model.networks.of("A").head(joined.mean((2, 3))))


def test_the_shortcut_reads_fused_stages_only_and_ends_at_the_last_of_them() -> None:
    model = sharing.NDDR(sharing.MLP(4, widths=(6, 7, 8)), BOTH, stages=(0, 1), shortcut=True)
    assert model.shortcuts.of("A").weight.shape == (7, 6 + 7)
    assert model(torch.randn(5, 4))["A"].shape == (5, 1)


def test_every_reduction_has_the_higher_rate_and_the_weight_decay_of_all() -> None:
    model = sharing.NDDR(CNN, BOTH, shortcut=True, rate=10.0)
    rest, units = model.parameter_groups(1e-2)
    assert units["lr"] == pytest.approx(0.1)
    assert "weight_decay" not in units
    theirs = [*model.units.parameters(), *model.shortcuts.parameters()]
    assert {id(each) for each in units["params"]} == {id(each) for each in theirs}
    assert len(rest["params"]) + len(theirs) == len(list(model.parameters()))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: sharing.NDDR(MLP, BOTH[:1]), r"NDDR .*got one \('A'\)"),
        (lambda: sharing.NDDR(MLP, BOTH, stages=(0, 5)), r"got \[0, 5\]"),
    ],
)
def test_what_cannot_be_fused_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        make()


def test_a_shortcut_between_stages_of_different_numbers_of_tokens_is_refused() -> None:
    pytest.importorskip("transformers")
    swin = sharing.Transformers(
        "swin", num_channels=1, image_size=32, patch_size=4, embed_dim=8, depths=(1, 1), num_heads=(1, 1), window_size=4
    )
    model = sharing.NDDR(swin, BOTH, shortcut=True)
    with pytest.raises(PolytaskError, match=r"\[64, 16\] tokens; leave shortcut out"):
        model(torch.zeros(2, 1, 32, 32))
