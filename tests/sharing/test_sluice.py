"""Sluice networks: subspaces mixed, layers mixed, subspaces kept apart; each by hand."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polytask import sharing, tasks
from polytask.errors import PolytaskError
from polytask.sharing.trunks.sluice import STARTS

BOTH = (tasks.Binary("A"), tasks.MultiClass("B", 3))
THREE = (*BOTH, tasks.Regression("C"))
MLP = sharing.MLP(4, widths=(6, 8))
CNN = sharing.SmallCNN(1, widths=(4, 6))


def test_alpha_mixes_subspaces_of_all_tasks_and_beta_all_stages() -> None:
    torch.manual_seed(0)
    model = sharing.Sluice(MLP, BOTH)
    with torch.no_grad():
        for name, each in model.named_parameters():
            if "units" in name or "beta" in name:
                each.normal_()
    inputs = torch.randn(5, 4)
    x = dict.fromkeys("AB", inputs)
    stages: dict[str, list[Tensor]] = {name: [] for name in "AB"}
    for stage in range(2):
        out = {name: model.networks.of(name).backbone.stages[stage](x[name]) for name in "AB"}
        half = out["A"].shape[1] // 2
        parts = [[each[:, :half], each[:, half:]] for each in out.values()]
        for name in "AB":
            alpha = model.units[str(stage)].of(name).weight
            mixed = [sum(alpha[i, u, j] * parts[u][j] for u in range(2) for j in range(2)) for i in range(2)]
            x[name] = torch.cat(mixed, 1)
            stages[name].append(x[name])
    for name, found in model(inputs).items():
        layers = model.layers.of(name)
        projected = stages[name][0] @ layers.projections[0].weight.T
        read = layers.beta.weight[0] * projected + layers.beta.weight[1] * stages[name][1]
        torch.testing.assert_close(found, model.networks.of(name).head(read))


@pytest.mark.parametrize("count, subspaces", [(2, 1), (2, 2), (3, 2), (3, 3)])
def test_starts(count: int, subspaces: int) -> None:
    own, one_source, balanced = (STARTS[name](count, subspaces) for name in ("own", "one_source", "balanced"))
    for alphas in (own, one_source, balanced):
        assert alphas.shape == (count, subspaces, count, subspaces)
    torch.testing.assert_close(own.sum((2, 3)), torch.ones(count, subspaces))
    torch.testing.assert_close(balanced.sum((2, 3)), torch.ones(count, subspaces))
    for t in range(count):
        for i in range(subspaces):
            assert own[t, i, t, i] == pytest.approx(0.9)
    if subspaces == 2:  # the authors' numbers: the first task from the second half, the second task from the first
        assert one_source[0, 0].tolist() == one_source[0, 1].tolist() == [pytest.approx([0.05, 0.95])] * count
        assert one_source[1, 0].tolist() == [pytest.approx([0.95, 0.05])] * count


def test_with_one_subspace_alpha_is_cross_stitch() -> None:
    torch.manual_seed(0)
    stitched = sharing.CrossStitch(CNN, THREE)
    torch.manual_seed(0)
    model = sharing.Sluice(CNN, THREE, subspaces=1)
    with torch.no_grad():
        for name in model.names:
            model.layers.of(name).beta.weight.copy_(torch.tensor([0.0, 1.0]))
    inputs = torch.randn(5, 1, 16, 16)
    torch.testing.assert_close(model(inputs), stitched(inputs))
    assert model.penalty({}) is None
    assert {k: v for k, v in model.inside().items() if "layers" not in k} == stitched.inside()


@pytest.mark.parametrize("dense", [False, True])
def test_what_the_head_reads_of_maps(dense: bool) -> None:
    """Pooled features for one output per sample; for maps, the maps in the size of the last one."""
    torch.manual_seed(0)
    given = (tasks.Segmentation("A", classes=3) if dense else BOTH[0], BOTH[1])
    model = sharing.Sluice(CNN, given, decoder=sharing.LastMap()).eval()
    layers = model.layers.of("A")
    low, last = torch.randn(2, 4, 8, 8), torch.randn(2, 6, 4, 4)
    found = layers([low, last])
    if dense:
        low = F.interpolate(torch.einsum("oc,bchw->bohw", layers.projections[0].weight, low), (4, 4), mode="bilinear")
        torch.testing.assert_close(found, 0.1 * low + 0.9 * last)
    else:
        low = low.mean((2, 3)) @ layers.projections[0].weight.T
        torch.testing.assert_close(found, 0.1 * low + 0.9 * last.mean((2, 3)))
    assert model(torch.zeros(2, 1, 16, 16))["A"].shape == ((2, 3, 16, 16) if dense else (2, 1))


def test_stages_as_wide_as_the_last_one_are_not_projected() -> None:
    model = sharing.Sluice(sharing.MLP(4, widths=(8, 6, 8)), BOTH)
    assert [sum(p.numel() for p in each.parameters()) for each in model.layers.of("A").projections] == [0, 48, 0]


def test_the_penalty_by_hand() -> None:
    torch.manual_seed(0)
    model = sharing.Sluice(CNN, BOTH, stages=(0,), strength=0.5)
    inputs = torch.randn(5, 1, 16, 16)
    assert model.penalty({}) is None  # before the first pass
    model(inputs, ["A"])  # every network is needed, whichever task is asked for
    expected = torch.zeros(())
    for name in "AB":
        feature = model.networks.of(name).backbone.stages[0](inputs).mean((2, 3))
        expected = expected + (feature[:, :2].T @ feature[:, 2:]).square().mean() / 25
    torch.testing.assert_close(model.penalty({}), 0.5 * expected)


def test_the_penalty_is_of_the_last_training_pass_and_keeps_subspaces_apart() -> None:
    torch.manual_seed(0)
    model = sharing.Sluice(MLP, BOTH)
    inputs = torch.randn(32, 4)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    values = []
    for _ in range(50):
        model(inputs)
        optimizer.zero_grad()
        penalty = model.penalty({})
        penalty.backward()
        optimizer.step()
        values.append(penalty.item())
    assert values[-1] < 0.1 * values[0]
    model.eval()(inputs)
    assert model.penalty({}) is None
    model.train()(inputs)
    twin = copy.deepcopy(model)
    assert twin.penalty({}) is None
    torch.testing.assert_close(twin(inputs), model(inputs))
    assert sharing.Sluice(MLP, BOTH, strength=0).penalty({}) is None


def test_alpha_and_beta_have_no_weight_decay_but_projections_do() -> None:
    model = sharing.Sluice(MLP, BOTH, rate=5.0)
    _, learned = model.parameter_groups(1e-2)
    assert learned["lr"] == pytest.approx(0.05) and learned["weight_decay"] == 0
    named = {id(each): name for name, each in model.named_parameters()}
    found = {named[id(each)] for each in learned["params"]}
    assert found == {name for name in named.values() if name.startswith("units") or ".beta." in name}


def test_inside() -> None:
    model = sharing.Sluice(MLP, BOTH)
    assert list(model.inside()) == ["stage 1", "stage 2", "layers of A", "layers of B"]
    told = model.inside()
    assert told["layers of A"] == {"stage 1": pytest.approx(0.1), "stage 2": pytest.approx(0.9)}
    assert told["stage 1"]["A from A"] == pytest.approx(0.9 + 0.1 / 3, abs=1e-5)
    assert told["stage 1"]["A from B"] == pytest.approx(0.2 / 3, abs=1e-5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: sharing.Sluice(MLP, BOTH[:1]), r"Sluice .*got one \('A'\)"),
        (lambda: sharing.Sluice(MLP, BOTH, subspaces=4), r"\[6, 8\] channels can't be cut into 4; take a divisor"),
        (lambda: sharing.Sluice(MLP, BOTH, subspaces=0), "can't be cut into 0"),
        (lambda: sharing.Sluice(MLP, BOTH, start="balance"), "no start 'balance'; did you mean 'balanced'"),
        (lambda: sharing.Sluice(MLP, BOTH, strength=-1.0), "strength must be 0"),
    ],
)
def test_what_cannot_be_a_sluice_network_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        make()


def test_stages_that_are_not_mixed_need_not_be_divisible() -> None:
    assert sharing.Sluice(sharing.MLP(4, widths=(7, 8)), BOTH, stages=(1,))(torch.zeros(2, 4))["A"].shape == (2, 1)
