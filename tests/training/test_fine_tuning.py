"""Fine-tuning: what is loaded, what learns when and how fast, what stays, and the same after a stop."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_cases import data, flat, tasks, train

from polytask import balancing, sharing
from polytask.data import TensorData
from polytask.errors import PolytaskError
from polytask.tasks import Binary, Regression
from polytask.training import L2SP, Budget, Constant, FineTuned, FineTuning, evaluate, fit

EVERYTHING = FineTuning(thaw=1, factor=2.6, l2_sp=L2SP())
MLP = sharing.MLP(4, widths=(8, 8), dropout=0.3)
CNN = sharing.SmallCNN(1, widths=(4, 6))


def trained(recipe: Any = MLP, seed: int = 3, make: Any = sharing.HardSharing) -> sharing.MultiTaskModel:
    """As if trained on two of the tasks: its weights are no other model's."""
    torch.manual_seed(seed)
    model = make(recipe, tasks(data())[:2])
    with torch.no_grad():
        for each in model.parameters():
            each.add_(0.1)
    return model


def tuned(recipe: FineTuning = EVERYTHING, make: Any = sharing.HardSharing, backbone: Any = MLP) -> FineTuned:
    torch.manual_seed(5)
    return FineTuned(make(backbone, tasks(data())), trained(backbone).state_dict(), recipe)


def learning(model: FineTuned) -> list[str]:
    """Parts of the trunk that learn, and heads."""
    return sorted({".".join(n.split(".")[:3]) for n, p in model.model.named_parameters() if p.requires_grad})


STAGES = ["shared.stages.0", "shared.stages.1"]
HEADS = ["heads.kind.bias", "heads.kind.weight", "heads.number.bias", "heads.number.weight", "heads.yes.bias"]
HEADS += ["heads.yes.weight"]


def test_trunk_and_heads_of_the_same_tasks_are_loaded_and_the_new_head_is_not() -> None:
    source, model = trained().state_dict(), tuned().model.state_dict()
    assert all(torch.equal(model[name], each) for name, each in source.items())
    torch.manual_seed(5)
    fresh = sharing.HardSharing(MLP, tasks(data())).state_dict()
    assert all(torch.equal(model[name], fresh[name]) for name in set(model) - set(source))
    assert not torch.equal(fresh["heads.kind.weight"], model["heads.kind.weight"])


@pytest.mark.parametrize(
    "recipe, epochs",
    [
        (FineTuning(thaw=1), [HEADS, [*HEADS, STAGES[1]], [*HEADS, *STAGES], [*HEADS, *STAGES]]),
        (FineTuning(thaw=2), [HEADS, HEADS, [*HEADS, STAGES[1]], [*HEADS, STAGES[1]], [*HEADS, *STAGES]]),
        (FineTuning(thaw=1, freeze=(0,)), [HEADS, [*HEADS, STAGES[1]], [*HEADS, STAGES[1]]]),
        (FineTuning(freeze="all"), [HEADS, HEADS]),
        (FineTuning(freeze=(0,)), [[*HEADS, STAGES[1]]]),
        (FineTuning(), [[*HEADS, *STAGES]]),
        (FineTuning(load=(0,), thaw=1), [[*HEADS, STAGES[1]], [*HEADS, *STAGES]]),  # what is new learns at once
    ],
)
def test_one_more_group_learns_from_the_top(recipe: FineTuning, epochs: list[list[str]]) -> None:
    model = tuned(recipe)
    order = [*range(len(epochs)), 0, len(epochs) - 1]  # a function of the epoch alone, in whatever order
    for epoch in order:
        model.begin_epoch(epoch, epochs=9)
        assert learning(model) == sorted(epochs[epoch]), epoch


def test_in_fit_what_sleeps_stays_bit_for_bit_and_then_learns() -> None:
    model, seen = tuned(), []
    begun = {name: each.clone() for name, each in model.model.state_dict().items()}

    def note(epoch: dict[str, Any]) -> None:
        now = model.model.state_dict()
        names = {stage: f"{stage}.linear.weight" for stage in STAGES}
        seen.append([stage for stage, name in names.items() if not torch.equal(now[name], begun[name])])

    fit(model, tasks(data()), data(), data(30, 1), budget=Budget(epochs=3, batch_size=16), on_epoch=note)
    assert seen == [[], [STAGES[1]], STAGES]


def test_rates_fall_by_the_factor_from_the_heads_down() -> None:
    groups = tuned(FineTuning(factor=2.6)).parameter_groups(0.26)
    assert [group["lr"] for group in groups] == pytest.approx([0.26, 0.1, 0.1 / 2.6])
    model = tuned(FineTuning(factor=2.0, freeze=(1,)))
    names = {id(p): n.rpartition(".")[0] for n, p in model.model.named_parameters()}
    by_rate = {group["lr"]: {names[id(p)] for p in group["params"]} for group in model.parameter_groups(1.0)}
    assert by_rate == {1.0: {"heads.number", "heads.kind", "heads.yes"}, 0.5: {"shared.stages.0.linear"}}


def test_rates_of_a_model_s_own_groups_are_kept_and_divided() -> None:
    model = tuned(FineTuning(factor=2.0), sharing.CrossStitch)
    own = model.model.parameter_groups(1.0)
    units = {id(p) for p in own[1]["params"]}
    found = {group["lr"] for group in model.parameter_groups(1.0) if id(group["params"][0]) in units}
    assert found == {own[1]["lr"]}, "units are new: the top group"
    networks = {group["lr"] for group in model.parameter_groups(1.0) if id(group["params"][0]) not in units}
    assert networks == {1.0, 0.5, 0.25}


def test_gradient_steps_are_those_of_the_rates() -> None:
    """One step of plain gradient descent moves every group by its own rate times the gradient."""
    at = {}
    for factor in (1.0, 2.0):
        model = tuned(FineTuning(factor=factor), backbone=sharing.MLP(4, widths=(8, 8)))
        begun = {name: each.clone() for name, each in model.model.state_dict().items()}
        budget = Budget(1, 48, 0.1, 0.0, torch.optim.SGD, schedule=Constant())
        fit(model, tasks(data()), data(), data(30, 1), budget=budget)
        at[factor] = {name: each - begun[name] for name, each in model.model.state_dict().items()}
    for stage, share in ((None, 1.0), (1, 2.0), (0, 4.0)):
        name = "heads.yes.weight" if stage is None else f"shared.stages.{stage}.linear.weight"
        torch.testing.assert_close(at[2.0][name] * share, at[1.0][name], rtol=1e-4, atol=1e-7)


def test_l2_sp_is_the_penalty_written_out_by_hand() -> None:
    """A slow twin: two epochs of gradient descent on loss + alpha/2 |w - w0|^2 + beta/2 |v|^2, written out."""
    alpha, beta, rate = 0.7, 0.3, 0.05
    posed = [Regression("y")]
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    whole = TensorData(x, {"y": x.sum(1)})
    posed = [posed[0].fitted(whole.targets["y"])]
    backbone = sharing.MLP(3, widths=(5,))
    torch.manual_seed(0)
    source = sharing.HardSharing(backbone, [Regression("other")]).state_dict()
    torch.manual_seed(1)
    model = FineTuned(sharing.HardSharing(backbone, posed), source, FineTuning(l2_sp=L2SP(alpha, beta)))
    w, b, v, c = (each.detach().clone() for each in model.model.parameters())
    w0 = source["shared.stages.0.linear.weight"]
    budget = Budget(2, 12, rate, 0.5, torch.optim.SGD, schedule=Constant())  # a weight decay that L2-SP turns off
    fitted = fit(model, posed, whole, whole, budget=budget)
    scaled = (whole.targets["y"] - posed[0].mean) / posed[0].deviation
    penalties = []
    for _ in range(2):
        params = [each.requires_grad_() for each in (w, b, v, c)]
        loss = ((torch.relu(x @ w.T + b) @ v.T + c)[:, 0] - scaled).square().mean()
        penalty = alpha / 2 * (w - w0).square().sum() + beta / 2 * v.square().sum()
        penalties.append(penalty.item())
        grads = torch.autograd.grad(loss + penalty, params)
        w, b, v, c = (p.detach() - rate * g for p, g in zip(params, grads, strict=True))
    assert fitted.best_epoch == 2
    for mine, theirs in zip(model.model.parameters(), (w, b, v, c), strict=True):
        torch.testing.assert_close(mine.detach(), theirs)
    assert [epoch["penalty"] for epoch in fitted.epochs] == pytest.approx(penalties)
    assert penalties[1] > 0 and not torch.equal(w, w0)


def test_weight_decay_is_off_with_l2_sp_alone() -> None:
    assert all(group["weight_decay"] == 0 for group in tuned(FineTuning(l2_sp=L2SP())).parameter_groups(1.0))
    assert not any("weight_decay" in group for group in tuned(FineTuning(thaw=1)).parameter_groups(1.0))


def test_what_sleeps_does_not_decay() -> None:
    model = tuned(FineTuning(thaw=1))
    begun = model.model.get_parameter("shared.stages.0.linear.weight").clone()
    budget = Budget(epochs=3, batch_size=48, weight_decay=0.5)
    seen = []

    def note(epoch: dict[str, Any]) -> None:
        seen.append(torch.equal(model.model.get_parameter("shared.stages.0.linear.weight"), begun))

    fit(model, tasks(data()), data(), data(30, 1), budget=budget, on_epoch=note)
    assert seen == [True, True, False]


def pictures(rows: int = 32, shift: float = 2.0) -> TensorData:
    x = torch.randn(rows, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + shift
    return TensorData(x, {"bright": (x.mean((1, 2, 3)) > shift).long()})


@pytest.mark.parametrize("adapt", [False, True])
def test_statistics_of_frozen_norms(adapt: bool) -> None:
    """They stay where the stage is constant, also after an evaluation, and follow the data where they shall."""
    task = Binary("bright")
    torch.manual_seed(0)
    source = sharing.HardSharing(CNN, [Binary("other")])
    model = FineTuned(sharing.HardSharing(CNN, [task]), source.state_dict(), FineTuning(freeze=(0,), adapt_norms=adapt))
    begun = {name: each.clone() for name, each in model.model.named_buffers()}
    assert len(begun) == 6, "two norms: mean, variance, number of batches"
    fit(model, [task], pictures(), pictures(), budget=Budget(epochs=2, batch_size=16))
    now = dict(model.model.named_buffers())
    for name, before in begun.items():
        frozen = name.startswith("shared.stages.0")
        assert torch.equal(before, now[name]) == (frozen and not adapt), name
    evaluate(model, [task], pictures())
    modes = {n: m.training for n, m in model.train().model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert [mode for name, mode in sorted(modes.items())] == [adapt, True]


def test_norms_wake_with_their_stage() -> None:
    torch.manual_seed(0)
    source = sharing.HardSharing(CNN, [Binary("other")]).state_dict()
    model = FineTuned(sharing.HardSharing(CNN, [Binary("bright")]), source, FineTuning(thaw=1)).train()
    modes = []
    for epoch in (0, 1, 2, 0):
        model.begin_epoch(epoch, 4)
        modes.append([m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d)])
    assert modes == [[False, False], [False, True], [True, True], [False, False]]


class Stop(Exception):
    """Something from outside that ends a training."""


@pytest.mark.parametrize("method", [balancing.Equal, balancing.MGDA], ids=lambda each: each.__name__)
def test_stopped_anywhere_it_ends_with_the_same_weights(
    method: Callable[[], balancing.Balancer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"budget": {"epochs": 3}, "checkpoint_every": 1}
    whole, _ = train(method(), tmp_path / "whole", tuned(), **options)
    for at in (2, 3, 4, 7, 8):  # epochs have three steps: within, at and after a thaw
        with monkeypatch.context() as patch:
            steps, original = iter(range(1, 100)), torch.optim.AdamW.step

            def step(optimizer: Any, *args: Any, steps: Any = steps, original: Any = original, at: int = at) -> Any:
                found = original(optimizer, *args)
                if next(steps) == at:
                    raise Stop
                return found

            patch.setattr(torch.optim.AdamW, "step", step)
            with pytest.raises(Stop):
                train(method(), tmp_path / str(at), tuned(), **options)
        torch.manual_seed(at)
        again, fitted = train(method(), tmp_path / str(at), tuned(), **options)
        assert fitted.steps == 9
        assert torch.equal(flat(again), flat(whole)), at


def test_a_folder_of_another_recipe_or_start_is_refused(tmp_path: Path) -> None:
    train(folder=tmp_path, net=tuned(), budget={"epochs": 3})
    with pytest.raises(PolytaskError, match=r"other settings .fine_tuning"):
        train(folder=tmp_path, net=tuned(FineTuning(thaw=1)), budget={"epochs": 3})
    other = FineTuned(tuned().model, trained(seed=4).state_dict(), EVERYTHING)
    with pytest.raises(PolytaskError, match=r"other settings .start"):
        train(folder=tmp_path, net=other, budget={"epochs": 3})


def test_its_checkpoint_is_that_of_the_model(tmp_path: Path) -> None:
    model, _ = train(folder=tmp_path, net=tuned(), budget={"epochs": 3})
    plain = sharing.HardSharing(MLP, tasks(data()))
    again = FineTuned(plain, tmp_path, FineTuning())  # the folder of a run is what to start from, too
    assert torch.equal(flat(again), flat(model))
    assert set(model.state_dict()) == set(plain.state_dict())


@pytest.mark.parametrize(
    "make",
    [
        partial(sharing.HardSharing, shared_stages=0),
        sharing.SoftSharing,
        sharing.CrossStitch,
        sharing.NDDR,
        sharing.Sluice,
        sharing.MTAN,
        sharing.Conditioned,
        sharing.ASTMT,
        sharing.Adapters,
        sharing.PADNet,
    ],
    ids=lambda each: getattr(each, "__name__", "nothing shared"),
)
def test_every_architecture_starts_from_one_trunk_and_thaws(make: Any) -> None:
    model = tuned(FineTuning(thaw=1, factor=2.6), make, sharing.MLP(4, widths=(8, 8)))
    trunk = trained(sharing.MLP(4, widths=(8, 8))).state_dict()["shared.stages.1.linear.weight"]
    same = [n for n, p in model.model.named_parameters() if p.shape == trunk.shape and torch.equal(p, trunk)]
    assert same
    model.begin_epoch(0, 9)
    assert not any(model.model.get_parameter(name).requires_grad for name in same)
    net, fitted = train(net=model, budget={"epochs": 3})
    assert fitted.steps == 9
    assert all(each.requires_grad for each in net.model.parameters())


def test_a_split_trunk_takes_the_shared_stages_of_a_whole_one_and_its_branches_the_others() -> None:
    make = partial(sharing.HardSharing, shared_stages=1)
    model, source = tuned(FineTuning(), make).model.state_dict(), trained().state_dict()
    assert torch.equal(model["shared.stages.0.linear.weight"], source["shared.stages.0.linear.weight"])
    for task in ("number", "kind", "yes"):
        assert torch.equal(model[f"branches.{task}.stages.0.linear.weight"], source["shared.stages.1.linear.weight"])


def test_of_a_split_trunk_only_what_is_shared_can_be_taken_by_a_new_task() -> None:
    make = partial(sharing.HardSharing, shared_stages=1)
    source = trained(make=make).state_dict()
    torch.manual_seed(5)
    with pytest.raises(PolytaskError, match=r"lacks stages\.1\.linear\.weight"):
        FineTuned(sharing.HardSharing(MLP, tasks(data())[2:]), source)
    model = FineTuned(sharing.HardSharing(MLP, tasks(data())[2:]), source, FineTuning(load=(0,))).model.state_dict()
    assert torch.equal(model["shared.stages.0.linear.weight"], source["shared.stages.0.linear.weight"])


def test_networks_of_tasks_can_be_tuned_as_well() -> None:
    alone = {task.name: sharing.HardSharing(MLP, [task]).state_dict() for task in tasks(data())}
    model = FineTuned(sharing.CrossStitch(MLP, tasks(data())), alone, FineTuning(thaw=1, factor=2.6))
    assert torch.equal(model.model.networks.of("kind").head.weight, alone["kind"]["heads.kind.weight"])
    model.begin_epoch(0, 5)
    assert not any(n.startswith("networks") and "backbone" in n for n in learning(model))


@pytest.mark.parametrize(
    "recipe, message",
    [
        (FineTuning(load=(2,)), r"load: expected \"all\" or numbers of stages from 0 .* to 1 .*got \(2,\)"),
        (FineTuning(freeze=(0, 5)), "freeze: expected"),
        (FineTuning(load=(0,), freeze=(0, 1)), r"stages \[1\] would stay as they were drawn"),
    ],
)
def test_recipes_that_do_not_fit_the_model(recipe: FineTuning, message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        tuned(recipe)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: FineTuning(thaw=0), "thaw is a number of epochs"),
        (lambda: FineTuning(factor=0.5), "factor divides"),
        (lambda: L2SP(alpha=-1.0), "alpha of L2SP"),
        (lambda: L2SP(beta="x"), "beta of L2SP is a strength, a number .*got 'x'"),
        (lambda: FineTuning(thaw=True), "thaw is a number of epochs.*got True"),
        (lambda: FineTuning(factor="x"), "factor divides .*got 'x'"),
        (lambda: FineTuning(factor=True), "factor divides .*got True"),
        (lambda: FineTuning(l2_sp=True), "l2_sp is an L2SP.*got True"),
        (lambda: FineTuning(freeze=0), r'freeze is "all" or numbers of stages, as in \(0, 1\); got 0'),
        (lambda: FineTuning(load="most"), "load is .*got 'most'"),
        (lambda: FineTuning(freeze=(0, "all")), "freeze is .*got"),
        (lambda: FineTuning(freeze=(True,)), "freeze is .*got"),
    ],
)
def test_settings_of_no_use(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        make()


def test_weights_that_do_not_fit_leave_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    model = sharing.HardSharing(MLP, tasks(data()))
    begun = flat(model)
    other = sharing.HardSharing(sharing.MLP(4, widths=(8, 9)), tasks(data())[:2]).state_dict()
    with pytest.raises(PolytaskError, match=r"the trained trunk has stages.1.linear.weight of shape \[9, 8\]"):
        FineTuned(model, other)
    two = sharing.Independent(MLP, tasks(data())[:2]).state_dict()
    with pytest.raises(PolytaskError, match="hold 2 trunks"):
        FineTuned(model, two)
    with pytest.raises(PolytaskError, match="no trunk like that"):
        FineTuned(model, {"weight": torch.zeros(2)})
    assert torch.equal(flat(model), begun)
    assert all(each.requires_grad for each in model.parameters())


def test_a_head_of_the_same_name_and_another_shape_is_refused_unless_heads_are_left_out() -> None:
    source = trained().state_dict() | {"heads.kind.weight": torch.zeros(7, 8)}
    torch.manual_seed(5)
    model = sharing.HardSharing(MLP, tasks(data()))
    with pytest.raises(PolytaskError, match=r"heads\.kind\.weight of shape .*heads=False"):
        FineTuned(model, source)
    FineTuned(model, source, FineTuning(heads=False))
    assert torch.equal(model.state_dict()["shared.stages.0.linear.weight"], source["shared.stages.0.linear.weight"])


def test_too_short_a_training_is_refused_before_its_first_step() -> None:
    with pytest.raises(PolytaskError, match="give at least 3 epochs"):
        train(net=tuned(), budget={"epochs": 2})


def test_balancing_at_features_that_sleep_is_refused_by_name() -> None:
    with pytest.raises(PolytaskError, match="nothing to balance at the shared features"):
        train(balancing.MGDA(), net=tuned(), at_features=True, budget={"epochs": 3})


def test_no_balancer_sees_the_penalty() -> None:
    """With weights w0 = 0 and a huge beta the balanced weights are those without it."""
    found = []
    for sp in (None, L2SP(0.0, 100.0)):
        balancer = balancing.MGDA()
        _, fitted = train(balancer, net=tuned(FineTuning(l2_sp=sp)), budget={"epochs": 1, "batch_size": 48})
        found.append([fitted.epochs[0]["train"][name]["weight"] for name in ("number", "kind", "yes")])
    assert found[0] == pytest.approx(found[1])


def tensors(model: nn.Module) -> list[Tensor]:
    return [each.detach().clone() for each in model.parameters()]


def test_everything_loaded_and_learning_is_the_training_that_start_from_begins() -> None:
    torch.manual_seed(5)
    plain = sharing.start_from(sharing.HardSharing(MLP, tasks(data())), trained().state_dict())
    one, _ = train(net=tuned(FineTuning()))
    other, _ = train(net=plain)
    for mine, theirs in zip(tensors(one), tensors(other), strict=True):
        assert torch.equal(mine, theirs)


def test_the_memory_told_is_that_of_the_widest_thaw() -> None:
    options = {"budget": {"epochs": 3}}
    (_, thawed), (_, awake), (_, frozen) = (
        train(net=tuned(recipe), **options) for recipe in (FineTuning(thaw=1), FineTuning(), FineTuning(freeze="all"))
    )
    assert thawed.memory_mib == pytest.approx(awake.memory_mib)
    assert frozen.memory_mib < awake.memory_mib
