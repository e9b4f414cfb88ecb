"""Balancers that look again at a batch after the optimizer's step, or read progress: exact, and without a trace."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from training_cases import data, flat, model, tasks, train

from polytask import balancing, problems, study
from polytask.balancing import DTP, FAMO, Equal, look_again
from polytask.cli import forecast
from polytask.data import Batches, TensorData
from polytask.errors import PolytaskError
from polytask.sharing import HardSharing, SequentialBackbone
from polytask.tasks import Task, losses
from polytask.training import Budget, Constant, watching

STEPS = 6
PLAIN = {"optimizer": torch.optim.SGD, "schedule": Constant(), "weight_decay": 0.0, "learning_rate": 0.1}


def with_norm(dropout: float = 0.3) -> HardSharing:
    """A trunk with running statistics and dropout."""
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout))
    second = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8, momentum=None), nn.ReLU())
    return HardSharing(lambda: SequentialBackbone([first, second], widths=(8, 8)), tasks(data()))


@dataclass(frozen=True)
class Looks(Equal):
    """Equal weights; notes what it is shown."""

    looks_again: ClassVar[bool] = True
    seen: list[dict[str, Tensor]] = field(default_factory=list, compare=False)

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        self.seen.append(dict(losses))


@dataclass(frozen=True)
class Reads(Equal):
    """Equal weights; notes the progress that it is told."""

    reads_progress: ClassVar[bool] = True
    seen: list[dict[str, float]] = field(default_factory=list, compare=False)

    def measure(self, progress: Mapping[str, float]) -> None:
        self.seen.append(dict(progress))


# --- look_again -------------------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """Replaces one buffer, fills one that was None, writes into one that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("replaced", torch.zeros(2))
        self.register_buffer("late", None)
        self.register_buffer("hidden", torch.zeros(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.replaced = self.replaced + 1
        self.late = torch.ones(3)
        self.hidden += 1
        return x


def test_look_again_leaves_no_trace() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), Odd())
    net(torch.randn(5, 3))
    net[3].late = None
    objects = {name: id(buffer) for name, buffer in net.named_buffers()}
    values = {name: buffer.clone() for name, buffer in net.named_buffers()}
    random = torch.get_rng_state()
    with look_again(net):
        first = net(torch.ones(5, 3))
        assert not torch.is_grad_enabled() and net.training
        assert not torch.equal(torch.get_rng_state(), random)  # dropout drew
    assert torch.is_grad_enabled() and not first.requires_grad
    assert {name: id(buffer) for name, buffer in net.named_buffers()} == objects
    assert all(torch.equal(buffer, values[name]) for name, buffer in net.named_buffers())
    assert net[3].late is None and torch.equal(torch.get_rng_state(), random)


def test_look_again_restores_after_an_error() -> None:
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout())
    random = torch.get_rng_state()
    with pytest.raises(ValueError, match="more than 1 value per channel"), look_again(net[1:]), look_again(net):
        net(net(torch.randn(5, 4))[:1])
    assert net[0].num_batches_tracked == 0 and torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random)


def test_look_again_sees_the_statistics_of_the_batch() -> None:
    """The model stays in training mode: BatchNorm normalises with the batch, as in the first pass."""
    net = nn.BatchNorm1d(4)
    x = torch.randn(64, 4) + 10
    with look_again(net):
        shown = net(x)
    torch.testing.assert_close(shown.mean(0), torch.zeros(4), atol=1e-5, rtol=0)


# --- fit --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("make", [Looks, Reads])
def test_watching_changes_nothing(make: type, accumulate: int) -> None:
    """With BatchNorm and dropout: weights, statistics and random numbers to the last bit as without."""
    budget = {"accumulate": accumulate}
    watched, plain = make(), train(Equal(), net=with_norm(), budget=budget)[0]
    after = torch.get_rng_state()
    net, fitted = train(watched, net=with_norm(), budget=budget)
    assert len(watched.seen) == fitted.steps == STEPS
    assert net.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    assert torch.equal(torch.get_rng_state(), after)


def test_the_second_look_sees_the_weights_after_the_step() -> None:
    """On one batch for ever: the losses after step k are those before step k + 1."""
    watched, learns = Looks(), data(16, missing=0.0)
    net = model(dropout=0.0)
    before: list[dict[str, float]] = []
    original = balancing.Equal.total

    def total(self, values, names=()):
        before.append(dict(zip(names, values.tolist(), strict=True)))
        return original(self, values, names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(balancing.Equal, "total", total)
        train(watched, net=net, train=learns, budget={"epochs": 4, "batch_size": 16})
    assert len(watched.seen) == len(before) == 4
    for after, following in zip(watched.seen[:-1], before[1:], strict=True):
        assert {name: loss.item() for name, loss in after.items()} == pytest.approx(following, rel=1e-5)


def test_famo_is_a_hand_written_loop() -> None:
    """The same batches and the same optimizer: the same weights as Algorithm 1 written out in plain PyTorch."""
    learns, which, beta, gamma = data(), tasks(data()), 2.0, 0.01
    net, _ = train(FAMO(adam=False, beta=beta, gamma=gamma), net=with_norm(0.0), budget=PLAIN | {"epochs": 1})
    twin = with_norm(0.0).train()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    xi = torch.zeros(3, dtype=torch.float64)
    for inputs, targets in Batches(learns, 16, shuffle=True, seed=0, drop_last=True):
        found = torch.stack(list(losses(which, twin(inputs), targets).values())) + 1e-8
        w = xi.softmax(0)
        c = 1 / (w / found.detach()).sum()
        optimizer.zero_grad()
        (c * w * found.log()).sum().backward()
        optimizer.step()
        statistics = {name: buffer.clone() for name, buffer in twin.named_buffers()}
        with torch.no_grad():
            after = torch.stack(list(losses(which, twin(inputs), targets).values())) + 1e-8
        for name, buffer in twin.named_buffers():
            buffer.copy_(statistics[name])
        logits = xi.clone().requires_grad_()
        fall = (found.detach().log() - after.log()).double()
        (delta,) = torch.autograd.grad(logits.softmax(0) @ fall, logits)
        xi = xi - beta * (delta + gamma * xi)
    assert xi.abs().max() > 0.01
    torch.testing.assert_close(flat(net), flat(twin), rtol=1e-5, atol=1e-6)


def test_own_loop_with_look_again_equals_fit() -> None:
    learns, which, balancer = data(), tasks(data()), FAMO(adam=False, beta=2.0)
    net, _ = train(FAMO(adam=False, beta=2.0), net=with_norm(0.0), budget=PLAIN | {"epochs": 1})
    twin = with_norm(0.0).train()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for inputs, targets in Batches(learns, 16, shuffle=True, seed=0, drop_last=True):
        balancing.backward(losses(which, twin(inputs), targets), balancer)
        optimizer.step()
        with look_again(twin):
            balancer.after_step(losses(which, twin(inputs), targets))
        optimizer.zero_grad()
    torch.testing.assert_close(flat(net), flat(twin), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("accumulate", [2, 5])
@pytest.mark.parametrize("make", [lambda: FAMO(adam=False, beta=2.0), lambda: DTP(alpha=0.5)], ids=["FAMO", "DTP"])
def test_pieces_equal_whole_batches(make, accumulate: int) -> None:
    whole, cut = make(), make()
    first, _ = train(whole, net=model(dropout=0.0), budget=PLAIN)
    second, _ = train(cut, net=model(dropout=0.0), budget=PLAIN | {"accumulate": accumulate})
    torch.testing.assert_close(flat(first), flat(second), rtol=1e-4, atol=1e-5)
    found, wanted = (each._memory.get("xi", each._memory) for each in (cut, whole))
    assert found.keys() == wanted.keys() and found == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_progress_of_pieces_is_that_of_the_whole_batch() -> None:
    """Labels missing here and there; a number is clipped once all pieces are together. Learning rate 0."""
    whole, cut = Reads(), Reads()
    still = PLAIN | {"learning_rate": 1e-12}
    train(whole, net=model(dropout=0.0), budget=still)
    train(cut, net=model(dropout=0.0), budget=still | {"accumulate": 4})
    assert len(whole.seen) == len(cut.seen) == STEPS
    for one, other in zip(whole.seen, cut.seen, strict=True):
        assert other == pytest.approx(one, abs=1e-6)
        assert all(0 <= value <= 1 for value in one.values())


class Stop(Exception):
    """Something from outside that ends a training."""


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("make", [lambda: FAMO(adam=False, beta=2.0), lambda: DTP(alpha=0.5)], ids=["FAMO", "DTP"])
def test_stopped_and_gone_on_to_the_last_bit(make, accumulate: int, tmp_path, monkeypatch) -> None:
    """With BatchNorm and dropout, stopped before and after every step."""
    budget = {"accumulate": accumulate}
    whole, _ = train(make(), tmp_path / "whole", with_norm(), budget=budget, checkpoint_every=1)
    original = torch.optim.AdamW.step
    for at in range(1, 2 * STEPS + 1):
        calls: list[int] = []

        def step(optimizer, *args, at=at, calls=calls, **kwargs):
            calls.append(1)
            if 2 * len(calls) - 1 == at:
                raise Stop
            found = original(optimizer, *args, **kwargs)
            if 2 * len(calls) == at:
                raise Stop
            return found

        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", step)
            with pytest.raises(Stop):
                train(make(), tmp_path / str(at), with_norm(), budget=budget, checkpoint_every=1)
        torch.manual_seed(at)
        net, fitted = train(make(), tmp_path / str(at), with_norm(), budget=budget, checkpoint_every=1)
        assert fitted.steps == STEPS and torch.equal(flat(net), flat(whole)), at


def test_mixed_precision_looks_with_the_same_precision() -> None:
    seen: list[bool] = []
    net = model(dropout=0.0)
    net.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")) if net.training else None)
    train(FAMO(), net=net, budget={"precision": "bf16"})
    assert len(seen) == 2 * STEPS and all(seen)


def test_a_step_that_the_scaler_left_out_is_not_looked_at(monkeypatch) -> None:
    watched = Looks()
    original = torch.amp.GradScaler.step
    calls: list[int] = []

    def step(scaler, optimizer, *args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            next(p for p in optimizer.param_groups[0]["params"] if p.grad is not None).grad.fill_(torch.inf)
        return original(scaler, optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.amp.GradScaler, "step", step)
    train(watched, budget={"precision": "fp16"})
    assert len(calls) == STEPS and len(watched.seen) == STEPS - 1


def test_skipped_steps_are_not_looked_at() -> None:
    watched = Looks()
    learns = data()
    learns.inputs[5] = 1e30  # (after the data set looked at its inputs)
    _, fitted = train(watched, train=learns, budget={"non_finite": "skip"})
    assert fitted.skipped > 0 and len(watched.seen) == fitted.steps - fitted.skipped


def test_balancers_that_do_not_ask_pay_nothing(monkeypatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(watching, "look_again", never)
    monkeypatch.setattr(Task, "progress", never)
    for kind in {type(task) for task in tasks(data())}:
        monkeypatch.setattr(kind, "credit_sum", never)
    net = model()
    calls: list[int] = []
    net.register_forward_pre_hook(lambda *_: calls.append(1) if net.training else None)
    train(balancing.PCGrad(), net=net)
    assert len(calls) == STEPS


def test_dtp_turns_down_what_is_solved() -> None:
    """Under fit, a task that is easy ends with a smaller weight than one whose labels are noise."""
    clear = data(256, missing=0.1)
    noise = torch.randint(3, (256,), generator=torch.Generator().manual_seed(0))
    learns = TensorData(clear.inputs, clear.targets | {"kind": noise})
    _, fitted = train(
        DTP(alpha=0.2), net=model(dropout=0.0, widths=(32, 32)), train=learns, validation=learns,
        budget={"epochs": 12, "batch_size": 32, "learning_rate": 0.02},
    )  # fmt: skip
    told = fitted.epochs[-1]["train"]
    assert told["yes"]["weight"] < 0.2 < 0.3 < told["kind"]["weight"]


def test_a_task_that_does_not_say_how_well_it_does() -> None:
    class Own(type(tasks(data())[0])):
        credit_sum = Task.credit_sum

    task = Own("number")
    with pytest.raises(PolytaskError, match=r"Own \(task 'number'\) does not say how well it does.*credit_sum"):
        task.progress(torch.zeros(2, 1), torch.zeros(2))


# --- the forecast -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Looks, Reads, FAMO, DTP])
def test_the_forecast_pays_for_it_too(make: type, monkeypatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(watching, "look_again", lambda model: seen.append("looked") or look_again(model))
    problem = problems.digits(n_train=200)
    costs = forecast.forecast(problem, [study.Arm(balancer=make())], Budget(epochs=1, batch_size=32))
    assert len(costs) == len(problem.tasks) + 1 and costs[-1].step > 0
    assert len(seen) == (forecast.STEPS + 1 if make.looks_again else 0)
