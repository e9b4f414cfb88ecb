"""Penalties, intermediate predictions, groups of parameters and what a model tells of its inside."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from objective_cases import Deep, Penalised
from torch import Tensor, nn
from training_cases import CASES, balancer, data, flat, model, train

from polytask import balancing
from polytask.balancing import Balancer
from polytask.errors import PolytaskError
from polytask.tasks import losses
from polytask.training import Budget, TrainingError, make_optimizer
from polytask.training.steps import Steps

WHOLE = torch.arange(16)


def written(net: nn.Module, method: Balancer, missing: float = 0.0, scale: float = 1.0, **options: Any) -> Tensor:
    """The gradient of one step, of all parameters side by side; 0 where there is none."""
    learns = data(missing=missing)
    method.bind(net.tasks)
    steps = Steps(net, net.tasks, learns, method, **options)
    torch.manual_seed(3)
    steps.gradients(WHOLE, scale)
    found = [torch.zeros_like(each) if each.grad is None else each.grad for each in net.parameters()]
    for each in net.parameters():
        each.grad = None
    return torch.cat([each.reshape(-1) for each in found])


def plain(net: nn.Module, objective: Any, missing: float = 0.0) -> Tensor:
    """The gradient of objective(net, losses) by autograd."""
    batch = data(missing=missing).gather(WHOLE)
    predictions = net(batch.inputs)
    found = losses(net.tasks, predictions, batch.targets)
    grads = torch.autograd.grad(objective(net, found, batch), list(net.parameters()), allow_unused=True)
    zero = (torch.zeros_like(each) for each in net.parameters())
    return torch.cat([(z if g is None else g).reshape(-1) for z, g in zip(zero, grads, strict=True)])


def without(net: Penalised) -> Penalised:
    other = Penalised()
    other.load_state_dict(net.state_dict())
    other.penalty = lambda losses: None  # type: ignore[method-assign]
    return other


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_penalty_is_added_to_the_sum_of_the_losses(pieces: int) -> None:
    net = Penalised()
    expected = plain(net, lambda net, found, batch: sum(found.values()) + net.penalty(found))
    torch.testing.assert_close(written(net, balancing.Equal(), accumulate=pieces), expected, rtol=1e-5, atol=1e-6)
    assert expected[-9:].abs().sum() > 0, "the judge, which no task has, learns from the penalty"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_balancer_sees_the_penalty(case) -> None:
    """The balanced gradient and the penalty's, whatever balances."""
    net = Penalised()
    penalty = plain(net, lambda net, found, batch: net.penalty(found))
    pieces = 2  # of halves; as many for all
    options = {} if getattr(balancer(case), "only_at_features", False) else {"accumulate": pieces}
    both = written(net, balancer(case), **options)
    alone = written(without(net), balancer(case), **options)
    torch.testing.assert_close(both, alone + penalty, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"way": "sequential"},
        {"way": "batched"},
        {"way": "layerwise"},
        {"way": "two-pass"},
        {"at_features": True},
        {"estimate": balancing.LastLayers(0.5)},
    ],
    ids=str,
)
def test_every_way_to_make_gradients_goes_with_a_penalty(options: dict[str, Any]) -> None:
    net = Penalised()
    penalty = plain(net, lambda net, found, batch: net.penalty(found))
    both = written(net, balancing.MGDA(), missing=0.2, **options)
    alone = written(without(net), balancing.MGDA(), missing=0.2, **options)
    torch.testing.assert_close(both, alone + penalty, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [balancing.Equal, balancing.MGDA])
def test_penalty_is_scaled_with_the_losses(method: type[Balancer]) -> None:
    net = Penalised()
    torch.testing.assert_close(written(net, method(), scale=8.0), 8 * written(net, method()), rtol=1e-5, atol=1e-6)


def test_a_penalty_may_look_at_the_gradients_of_the_losses() -> None:
    """Double backward, as a gradient discriminator needs it: the graph is still there for the balanced pass."""
    net = Penalised()

    def penalty(found: dict[str, Tensor]) -> Tensor:
        grads = torch.autograd.grad(sum(found.values()), [net.seen], create_graph=True)
        return net.judge(grads[0]).square().sum()

    net.penalty = penalty  # type: ignore[method-assign]
    expected = plain(net, lambda net, found, batch: sum(found.values()) + net.penalty(found))
    torch.testing.assert_close(written(net, balancing.Equal()), expected, rtol=1e-5, atol=1e-6)
    gramian = written(net, balancing.PCGrad(), way="layerwise")
    torch.testing.assert_close(gramian, written(net, balancing.PCGrad(), way="sequential"), rtol=1e-4, atol=1e-5)


def test_penalty_of_every_epoch_is_told_and_survives_a_stop(tmp_path: Path) -> None:
    net, fitted = train(net=Penalised())
    told = [epoch["penalty"] for epoch in fitted.epochs]
    assert all(0 < each < 100 for each in told) and told[1] < told[0]
    assert "penalty" not in train(net=model())[1].epochs[0]

    class Stopped(Exception):
        pass

    def stop(net: Penalised) -> None:
        real, calls = Penalised.penalty, []

        def penalty(found: dict[str, Tensor]) -> Tensor:
            calls.append(1)
            if len(calls) == 3:
                raise Stopped
            return real(net, found)

        net.penalty = penalty  # type: ignore[method-assign]

    first = Penalised()
    stop(first)
    with pytest.raises(Stopped):
        train(folder=tmp_path, net=first, checkpoint_every=1)
    again, resumed = train(folder=tmp_path, net=Penalised(), checkpoint_every=1)
    assert torch.equal(flat(again), flat(net))
    assert [epoch["penalty"] for epoch in resumed.epochs] == told


@pytest.mark.parametrize("bad, what", [(math.nan, "value"), (math.inf, "value")])
def test_a_penalty_that_is_not_finite_is_named(bad: float, what: str) -> None:
    net = Penalised()
    net.strength = bad
    before = flat(net).clone()
    with pytest.raises(TrainingError, match=f"{what} of 'penalty' became {bad} at step 1 .epoch 1.; no step came"):
        train(net=net)
    assert torch.equal(flat(net), before)
    _, fitted = train(net=net, budget={"non_finite": "skip"})
    assert fitted.skipped == fitted.steps == 6
    assert torch.equal(flat(net), before)


def test_a_gradient_of_the_penalty_that_is_not_finite_is_named() -> None:
    """The root of 0: a finite value without a finite gradient."""
    net = Penalised()
    net.penalty = lambda losses: (net.judge.weight - net.judge.weight).square().sum().sqrt()  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="the gradient of 'penalty' became nan at step 1"):
        train(net=net)
    assert torch.isfinite(flat(net)).all()


def test_a_loss_that_is_not_finite_is_named_before_the_penalty_it_makes_so() -> None:
    learns = data()
    learns.targets["number"][3] = math.inf
    net = Penalised()
    net.penalty = lambda losses: sum(losses.values())  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="the loss of 'number' became inf"):
        train(net=net, train=learns)


@pytest.mark.parametrize("came", [torch.ones(2), 0.5])
def test_a_penalty_is_a_scalar(came: Any) -> None:
    net = Penalised()
    net.penalty = lambda losses: came  # type: ignore[method-assign]
    with pytest.raises(PolytaskError, match="penalty of Penalised must be a scalar tensor"):
        train(net=net)


@pytest.mark.parametrize("method", [balancing.Equal, balancing.MGDA])
def test_mixed_precision_and_clipping_go_with_a_penalty(method: type[Balancer]) -> None:
    for options in ({"precision": "bf16"}, {"precision": "fp16"}, {"clip": 0.1}):
        net, fitted = train(method(), net=Penalised(), budget=options)
        assert torch.isfinite(flat(net)).all() and fitted.epochs[1]["penalty"] > 0


@pytest.mark.parametrize("pieces", [1, 2])
def test_intermediate_predictions_add_the_task_s_own_loss(pieces: int) -> None:
    """Over the same labels: with missing ones, the pieces are still those of the whole batch."""

    def objective(net: Deep, found: dict[str, Tensor], batch: Any) -> Tensor:
        return sum(found.values()) + sum(losses(net.tasks[:2], {k: v[0] for k, v in net.further.items()}, {
            name: batch.targets[name] for name in net.further
        }).values())  # fmt: skip

    net = Deep()
    expected = plain(net, objective, missing=0.3)
    found = written(net, balancing.Equal(), missing=0.3, accumulate=pieces)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert expected[-19:].abs().sum() > 0


def test_a_balancer_sees_the_losses_with_the_intermediate_ones() -> None:
    """They are the task's: what weighs tasks weighs both."""
    seen: list[Tensor] = []

    def weigh(gramian: Tensor) -> Tensor:
        seen.append(gramian)
        return torch.tensor([2.0, 0.0, 1.0])

    net = Deep()
    found = written(net, balancing.Weighing(weigh))
    assert seen[0].shape == (3, 3)
    early = dict(zip(dict(net.named_parameters()), found.split([p.numel() for p in net.parameters()]), strict=True))
    assert early["early.number.weight"].abs().sum() > 0, "its own parameters get its plain gradient"


def test_training_tells_the_losses_with_the_intermediate_ones() -> None:
    """And validation scores those of the predictions alone."""
    net = Deep()
    rest = copy.deepcopy(net)
    rest.early = nn.ModuleDict()
    budget = {"epochs": 1, "batch_size": 48}
    _, deep = train(net=net, budget=budget)
    _, usual = train(net=rest, budget=budget)
    more = {name: deep.epochs[0]["train"][name]["loss"] - usual.epochs[0]["train"][name]["loss"] for name in
            ("number", "kind", "yes")}  # fmt: skip
    assert more["number"] > 0.1 and more["kind"] > 0.1 and abs(more["yes"]) < 1e-6
    assert deep.epochs[0]["validation"]["number"]["mae"] == pytest.approx(
        usual.epochs[0]["validation"]["number"]["mae"]
    )


def test_a_balancer_that_looks_again_sees_them_too() -> None:
    net, fitted = train(balancing.FAMO(), net=Deep())
    assert torch.isfinite(flat(net)).all() and len(fitted.epochs) == 2


def test_what_is_inside_is_told_every_epoch() -> None:
    net, fitted = train(net=Penalised(), budget={"epochs": 3})
    told = [epoch["inside"]["judge"]["bias"] for epoch in fitted.epochs]
    assert len(set(told)) == 3
    assert told[fitted.best_epoch - 1] == float(net.judge.bias)
    assert "inside" not in train(net=model())[1].epochs[0]


class Grouped(Penalised):
    """The judge learns ten times as fast, the first group of all."""

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        judge = list(self.judge.parameters())
        rest = [each for each in self.parameters() if all(each is not own for own in judge)]
        return [{"params": judge, "lr": 10 * learning_rate, "weight_decay": 0.0}, {"params": rest}]


def test_groups_of_the_model_keep_their_rates_under_a_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[float]] = []
    real = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self, *a: (seen.append([g["lr"] for g in self.param_groups]), real(self, *a))
    )
    _, fitted = train(balancing.Uncertainty(), net=Grouped())
    assert len(seen[0]) == 3, "the model's two, and what the balancer learns"
    for rates in seen:
        assert rates[0] == pytest.approx(10 * rates[1])
    assert seen[-1][1] < 0.5 * max(rates[1] for rates in seen), "the schedule went down"
    assert fitted.epochs[-1]["learning_rate"] == pytest.approx(seen[-1][1])


def test_groups_that_leave_a_parameter_out_are_refused() -> None:
    class Forgetful(Penalised):
        def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
            return [{"params": self.shared.parameters()}]

    with pytest.raises(PolytaskError, match=r"Forgetful leave out 8 parameters .* \(the first: heads"):
        make_optimizer(Budget(), Forgetful(), balancing.Equal())


def test_a_module_of_one_s_own_is_one_group() -> None:
    net = nn.Linear(2, 3)
    net.parameter_groups = None  # type: ignore[assignment]
    net.penalty = 3.0  # a module's own idea of these words is not ours
    assert [len(group["params"]) for group in make_optimizer(Budget(), net, balancing.Equal()).param_groups] == [2]
