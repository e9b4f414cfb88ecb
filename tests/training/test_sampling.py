"""Samplers in `fit`: exact resume within an epoch, and gradients of several one-task batches balanced together."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_cases import CASES, balancer, data, flat, model, parts, tasks, train

from polytask import balancing
from polytask.balancing import Balancer, LossBalancer, backward
from polytask.data import (
    AllTasks,
    Annealed,
    ByError,
    Proportional,
    RoundRobin,
    Sampler,
    Temperature,
    TensorData,
    Uniform,
    mixture,
)
from polytask.errors import PolytaskError
from polytask.sharing import MLP, HardSharing
from polytask.tasks import Regression, losses
from polytask.training import Budget, fit
from polytask.training.drawing import drawing
from polytask.training.steps import Steps

SAMPLERS = [
    Uniform(), Uniform(per="batch"), Proportional(per="batch"), Temperature(3), Annealed(per="batch"), RoundRobin(),
    AllTasks(), ByError(), ByError(per="batch"),
]  # fmt: skip
NAMES = [f"{type(each).__name__} per {each.per}" for each in SAMPLERS]
every = pytest.mark.parametrize("sampler", SAMPLERS, ids=NAMES)
weighs_gradients = [case for case in CASES if not isinstance(balancer(case), LossBalancer)]


class Stop(Exception):
    """Something from outside that ends a training."""


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch):
    """Makes the optimizer fail at a step."""
    original = torch.optim.AdamW.step

    def at(number: int | None) -> None:
        calls = 0

        def step(optimizer: torch.optim.AdamW, *args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == number:
                raise Stop
            return original(optimizer, *args, **kwargs)

        monkeypatch.setattr(torch.optim.AdamW, "step", step)

    return at


@pytest.mark.parametrize("wrong", ["Uniform()", Uniform, 3])
def test_what_is_no_sampler_is_told(wrong: object) -> None:
    with pytest.raises(PolytaskError, match=r"sampler: expected an object such as data.Uniform\(\), or None, got"):
        train(train=data(), sampler=wrong)


@every
@pytest.mark.parametrize("make", [data, parts], ids=["one data set", "a data set per task"])
def test_a_training_stopped_at_any_step_goes_on_exactly(sampler: Sampler, make, stops, tmp_path: Path) -> None:
    options = {"train": make(), "validation": make(30, 1), "sampler": sampler, "samples_per_epoch": 24}
    options |= {"budget": {"batch_size": 8, "epochs": 3}}
    stops(None)
    net, fitted = train(balancing.PCGrad(seed=3), tmp_path / "whole", **options)
    assert fitted.steps == 9
    for at in (2, 3, 5, 8):
        stops(at)
        with pytest.raises(Stop):
            train(balancing.PCGrad(seed=3), tmp_path / str(at), checkpoint_every=1, **options)
        stops(None)
        again, told = train(
            balancing.PCGrad(seed=3), tmp_path / str(at), net=model(seed=9), checkpoint_every=1, **options
        )
        assert torch.equal(flat(again), flat(net)) and told.steps == 9
        assert [each["drawn"] for each in told.epochs] == [each["drawn"] for each in fitted.epochs]


def one_task_batches(sampler: Sampler, method: Balancer, accumulate: int, size: int = 12) -> tuple[Steps, list[Tensor]]:
    budget = Budget(batch_size=size, accumulate=accumulate)
    found = drawing(data(), sampler, method, budget)
    which = tasks(data())
    method.bind(which)
    steps = Steps(model(dropout=0.0), which, found.drawn, method, accumulate, groups=found.groups)
    return steps, list(found.indices())


@pytest.mark.parametrize("case", weighs_gradients, ids=lambda case: case.name)
@pytest.mark.parametrize("sampler", [Uniform(), RoundRobin(), Uniform(per="batch"), AllTasks()], ids=repr)
@pytest.mark.support("batches of one task")
def test_gradient_balancers_see_all_tasks_in_every_mode(case, sampler: Sampler) -> None:
    """The step of a sampler per batch is made of a batch of every task (round-robin), or of as many draws."""
    steps, batches = one_task_batches(sampler, balancer(case), accumulate=1)
    for whole in batches[:2]:
        balanced = steps.gradients(whole)
        counts = steps.data.gather(whole).counts
        assert set(balanced.tasks) == set(counts) and len(whole) == 12
        if not isinstance(sampler, Uniform):
            assert counts == {"number": 4, "kind": 4, "yes": 4}
    assert all(torch.isfinite(each.grad).all() for each in steps.model.parameters() if each.grad is not None)


def grads(steps: Steps) -> Tensor:
    return torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in steps.model.parameters()])


GRADIENTS = [balancing.PCGrad, balancing.MGDA, balancing.CAGrad, balancing.UPGrad, balancing.NashMTL]


@pytest.mark.parametrize("make", GRADIENTS, ids=lambda make: make.__name__)
def test_gradients_of_one_task_batches_are_balanced_as_made_apart(make) -> None:
    """Against the plain way: every task's loss from a forward pass of its own batch, then balanced together."""
    for accumulate in (1, 3):
        steps, batches = one_task_batches(RoundRobin(), make(), accumulate)
        steps.gradients(batches[0])
        net, which, method = model(dropout=0.0), tasks(data()), make()
        method.bind(which)
        apart = {}
        for part in batches[0].tensor_split(3):
            batch = steps.data.gather(part)
            assert len(batch.targets) == 1
            apart |= losses(which, net(batch.inputs, list(batch.targets)), batch.targets)
        backward({task.name: apart[task.name] for task in which}, method)
        wanted = torch.cat([each.grad.flatten() for each in net.parameters()])
        torch.testing.assert_close(grads(steps), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", weighs_gradients, ids=lambda case: case.name)
def test_pieces_of_one_task_give_what_the_whole_batch_gives(case) -> None:
    """Accumulated, a forward pass holds rows of one task; two halves of a batch hold a part of each."""
    if case.only_at_features:
        pytest.skip("works at the features of a whole batch")
    found = []
    for accumulate in (1, 3):
        torch.manual_seed(5)
        steps, batches = one_task_batches(RoundRobin(), balancer(case), accumulate)
        for piece in steps._cut(batches[0]):
            assert accumulate == 1 or len(steps.data.gather(piece).targets) == 1
            assert steps.samples == 1 or accumulate == 3 or len(steps.data.gather(piece).targets) == 3
        steps.gradients(batches[0])
        found.append(grads(steps))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_loss_balancers_take_batches_of_one_task() -> None:
    steps, batches = one_task_batches(RoundRobin(), balancing.Equal(), accumulate=1)
    assert [list(steps.data.gather(whole).counts) for whole in batches] == [["number"], ["kind"], ["yes"], ["number"]]
    balanced = [steps.gradients(whole).tasks for whole in batches]
    assert balanced == [("number",), ("kind",), ("yes",), ("number",)]


@pytest.mark.parametrize("case", [case for case in CASES if case not in weighs_gradients], ids=lambda case: case.name)
@pytest.mark.parametrize("sampler", [RoundRobin(), Uniform()], ids=repr)
@pytest.mark.support("batches of one task")
def test_every_loss_balancer_trains_on_sampled_batches(case, sampler: Sampler) -> None:
    net, fitted = train(balancer(case), sampler=sampler, budget={"epochs": 1})
    assert fitted.steps == 3 and torch.isfinite(flat(net)).all()


def test_proportional_over_data_sets_is_an_epoch_of_all_rows() -> None:
    """Not one row more than without a sampler, and as many steps."""
    plain, sampled = (train(train=parts(), validation=parts(30, 1), sampler=each)[1] for each in (None, Proportional()))
    assert plain.steps == sampled.steps and "drawn" not in plain.epochs[0]
    assert sampled.epochs[0]["drawn"] == pytest.approx({"number": 1 / 2, "kind": 1 / 3, "yes": 1 / 6})


def hard_and_easy(rows: int = 64, seed: int = 0) -> TensorData:
    """One task in two data sets: in one the target is a function of the inputs, in the other it is noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, rows, 3, generator=generator)
    noise = torch.randn(rows, generator=generator)
    return mixture({"easy": TensorData(x[0], {"y": x[0].sum(1)}), "hard": TensorData(x[1], {"y": 2 * noise})})


def test_what_is_not_learned_is_drawn_more_often() -> None:
    learns, checks = hard_and_easy(), hard_and_easy(seed=1)
    which = [Regression("y").fitted(learns.targets["y"])]
    torch.manual_seed(0)
    net = HardSharing(MLP(3, widths=(16,)), which)
    budget = Budget(epochs=4, batch_size=16, learning_rate=0.03)
    told = fit(net, which, learns, checks, budget=budget, sampler=ByError(floor=0), trackers=())
    shares = [each["drawn"]["hard"] for each in told.epochs]
    assert shares[0] == 0.5 and all(share > 0.6 for share in shares[1:])


def test_errors_are_ratios_to_the_reference() -> None:
    """Pools that are tasks: the validation loss of the epoch before, divided by the one given."""
    losses_of = {"number": 1.0, "kind": 2.0, "yes": 4.0}
    reference = {
        task.name: {"loss": losses_of[task.name]} | dict.fromkeys(task.metrics(), 1.0) for task in tasks(data())
    }
    _, fitted = train(sampler=ByError(floor=0, power=2), reference=reference, budget={"epochs": 2})
    seen = fitted.epochs[0]["validation"]
    squares = {name: (seen[name]["loss"] / loss) ** 2 for name, loss in losses_of.items()}
    wanted = {name: each / sum(squares.values()) for name, each in squares.items()}
    assert fitted.epochs[1]["drawn"] == pytest.approx(wanted)


def test_what_a_sampler_by_error_needs() -> None:
    learns = hard_and_easy()
    which = [Regression("y").fitted(learns.targets["y"])]
    alone = TensorData(learns.inputs, dict(learns.targets))
    with pytest.raises(PolytaskError, match="none from easy, hard: make the validation data a mixture"):
        fit(HardSharing(MLP(3), which), which, learns, alone, sampler=ByError(), trackers=())
    with pytest.raises(PolytaskError, match="has none for y"):
        fit(HardSharing(MLP(3), which), which, learns, learns, sampler=ByError(), reference={"y": {"mae": 1.0}},
            trackers=())  # fmt: skip


def test_a_folder_knows_its_sampler(tmp_path: Path) -> None:
    train(folder=tmp_path / "run", sampler=Temperature(3), budget={"epochs": 1})
    with pytest.raises(PolytaskError, match="sampler"):
        train(folder=tmp_path / "run", sampler=Uniform(), budget={"epochs": 1})


def test_many_draws_in_a_small_batch() -> None:
    """No more draws than samples: 2 of 3 tasks in a step of 2."""
    found = drawing(data(), RoundRobin(), balancing.MGDA(), Budget(batch_size=2))
    assert found.groups == 2 and drawing(data(), RoundRobin(), balancing.MGDA(), Budget(batch_size=64)).groups == 3
    assert drawing(data(), RoundRobin(), balancing.MGDA(), Budget(batch_size=64), world=24).groups == 2
    assert drawing(data(), RoundRobin(), balancing.Equal(), Budget(batch_size=64)).groups == 1
    assert drawing(data(), RoundRobin(), balancing.Equal(), Budget(batch_size=64, accumulate=2)).groups == 2
    assert drawing(data(), Uniform(), balancing.MGDA(), Budget(batch_size=64)).groups == 0
