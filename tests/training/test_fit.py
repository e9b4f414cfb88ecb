"""`fit`: what it promises besides exact resume."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from training_cases import AT_FEATURES, CASES, OF_HALVES, ON_WHOLE_BATCHES, balancer, data, flat, model, tasks, train

from polytask import balancing
from polytask.data import TensorData
from polytask.errors import PolytaskError
from polytask.evaluation import delta_m_tasks, gains
from polytask.sharing import MLP, HardSharing, Independent, SmallCNN
from polytask.tasks import MultiClass, MultiLabel, Regression
from polytask.training import Budget, Constant, Cosine, TrainingError, constant_scores, directions, evaluate

every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class Breaks(nn.Module):
    """A network whose prediction of one task becomes NaN at a call."""

    def __init__(self, net: HardSharing, task: str, at: int, bad: float = math.nan, forever: bool = True) -> None:
        super().__init__()
        self.net, self.task, self.at, self.bad, self.forever, self.calls = net, task, at, bad, forever, 0

    def forward(self, inputs, names=None):
        found = self.net(inputs, names)
        if self.training:
            self.calls += 1
            if self.calls == self.at or (self.forever and self.calls > self.at):
                found[self.task] = found[self.task] * self.bad
        return found


# --- learning ---------------------------------------------------------------------------------------------------------


@every
def test_learns_with_every_balancer(case) -> None:
    """On separable data all tasks beat the constant prediction by far."""
    learns, checks = data(256, missing=0.1), data(128, seed=1, missing=0.0)
    _net, fitted = train(
        balancer(case),
        net=model(dropout=0.0, widths=(32, 32)),
        train=learns,
        validation=checks,
        budget={"epochs": 15, "batch_size": 32, "learning_rate": 0.02},
    )
    found = fitted.epochs[fitted.best_epoch - 1]["validation"]
    chance = constant_scores(tasks(data()), learns, checks)
    assert found["number"]["mae"] < 0.7 * chance["number"]["mae"]
    if case.favours_first:
        return
    assert found["kind"]["accuracy"] > 0.7 > chance["kind"]["accuracy"]
    assert found["yes"]["auroc"] > 0.85
    assert fitted.epochs[-1]["train"]["kind"]["loss"] < fitted.epochs[0]["train"]["kind"]["loss"]


def test_equal_is_a_hand_written_loop() -> None:
    """The same batches, the same optimizer: the same weights as ten lines of plain PyTorch."""
    learns, which = data(), tasks(data())
    net, _ = train(
        net=model(dropout=0.0),
        budget={
            "epochs": 1,
            "optimizer": torch.optim.SGD,
            "schedule": Constant(),
            "weight_decay": 0.0,
            "learning_rate": 0.1,
        },
    )
    twin = model(dropout=0.0)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    from polytask.data import Batches

    for inputs, targets in Batches(learns, 16, shuffle=True, seed=0, drop_last=True):
        found = twin(inputs)
        sum(task.loss(found[task.name], targets[task.name]) for task in which).backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(flat(net), flat(twin), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ON_WHOLE_BATCHES, ids=lambda case: case.name)
def test_pieces_equal_whole_batches(case) -> None:
    """accumulate cuts a batch in pieces, and changes nothing but memory."""
    options = {"optimizer": torch.optim.SGD, "learning_rate": 0.05, "epochs": 2, "schedule": Constant()}
    whole, first = train(balancer(case), net=model(dropout=0.0), budget=options)
    cut, second = train(balancer(case), net=model(dropout=0.0), budget=options | {"accumulate": 3})
    torch.testing.assert_close(flat(cut), flat(whole), rtol=1e-4, atol=1e-5)
    for a, b in zip(first.epochs, second.epochs, strict=True):
        for name in a["train"]:
            assert a["train"][name]["loss"] == pytest.approx(b["train"][name]["loss"], rel=1e-4)


def test_pieces_are_as_many_on_every_process() -> None:
    """9 rows on two processes are 5 and 4; both must make as many pieces, or one waits for the other for ever."""
    for batch, accumulate in ((9, 4), (7, 3), (16, 5), (11, 5)):
        made = {len(_pieces(batch, rank, 2, accumulate)) for rank in range(2)}
        assert len(made) == 1, (batch, accumulate)


@pytest.mark.parametrize("case", OF_HALVES, ids=lambda case: case.name)
@pytest.mark.parametrize("accumulate, pieces", [(1, 2), (2, 2), (3, 4), (5, 6)])
def test_a_balancer_of_halves_gets_an_even_number_of_pieces(case, accumulate: int, pieces: int) -> None:
    made = _pieces(16, 0, 1, accumulate, balancer(case))
    assert len(made) == pieces and torch.equal(torch.cat(made), torch.arange(16))
    assert len(_pieces(7, 0, 2, accumulate, balancer(case))) == 2  # 4 rows and 3


@pytest.mark.parametrize("way", ["sequential", "batched", "layerwise", "two-pass"])
def test_a_way_changes_nothing_but_time_and_memory(way: str) -> None:
    options = {"optimizer": torch.optim.SGD, "learning_rate": 0.05, "schedule": Constant()}
    usual, _ = train(balancing.UPGrad(), net=model(dropout=0.0), budget=options)
    net, fitted = train(balancing.UPGrad(), net=model(dropout=0.0), budget=options, way=way)
    torch.testing.assert_close(flat(net), flat(usual), rtol=1e-5, atol=1e-6)
    assert fitted.memory_mib > 0


def test_the_layerwise_way_is_taken_from_the_first_step_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting memory in the first step must not stand in its way: a resumed run would go on otherwise."""
    from polytask.training import steps

    ways: list[str] = []
    original = steps.backward

    def noted(*args, **kwargs):
        done = original(*args, **kwargs)
        ways.append(done.way)
        return done

    monkeypatch.setattr(steps, "backward", noted)
    _, fitted = train(balancing.MGDA(), net=model(dropout=0.0, widths=(256, 256)))
    assert ways == ["layerwise"] * 6
    _, plain = train(balancing.MGDA(), net=model(dropout=0.0, widths=(256, 256)), way="sequential")
    assert fitted.memory_mib < plain.memory_mib and set(ways[6:]) == {"sequential"}


def test_an_estimate_weighs_by_the_last_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = train(balancing.MGDA(), net=model(dropout=0.0))
    same, _ = train(balancing.MGDA(), net=model(dropout=0.0), estimate=balancing.LastLayers(1.0))
    part, _ = train(balancing.MGDA(), net=model(dropout=0.0), estimate=balancing.LastLayers(0.25))
    torch.testing.assert_close(flat(same), flat(whole), rtol=1e-5, atol=1e-6)
    assert torch.isfinite(flat(part)).all() and not torch.allclose(flat(part), flat(whole))


@pytest.mark.parametrize(
    "method, options, told",
    [
        (balancing.Equal(), {"estimate": balancing.LastLayers()}, "Equal here does not look at"),
        (balancing.GradDrop(), {"way": "layerwise"}, "take way='sequential'"),
        (balancing.MGDA(), {"way": "fast"}, "there is no way 'fast'"),
        (balancing.MoDo(), {"way": "two-pass"}, "works on whole batches"),
        (balancing.MGDA(), {"way": "layerwise", "budget": {"accumulate": 2}}, "works on whole batches"),
        (balancing.MGDA(), {"at_features": True, "budget": {"accumulate": 2}}, "works on whole batches"),
    ],
)
def test_ways_and_estimates_that_are_not_possible(tmp_path: Path, method, options: dict, told: str) -> None:
    """Before the first step, and before anything is written."""
    with pytest.raises(PolytaskError, match=told):
        train(method, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_batch_that_has_no_halves() -> None:
    with pytest.raises(PolytaskError, match=r"MoDo compares 2 parts of every batch, and one of 1 samples.*batch_size"):
        train(balancing.MoDo(), budget={"batch_size": 1})


@pytest.mark.parametrize("case", AT_FEATURES, ids=lambda case: case.name)
def test_a_balancer_of_features_gets_them_and_says_where_there_are_none(case) -> None:
    asked, _ = train(balancer(case), at_features=True)
    found, _ = train(balancer(case))
    assert torch.equal(flat(found), flat(asked))
    alone = Independent(MLP(4, widths=(8,)), tasks(data()))
    with pytest.raises(PolytaskError, match=r"Independent has no shared features .*GREAT"):
        train(balancer(case), net=alone)
    with pytest.raises(PolytaskError, match="Breaks has no shared features"):  # a module of one's own
        train(balancer(case), net=Breaks(model(), "kind", at=99))
    with pytest.raises(PolytaskError, match="at the features works on whole batches"):
        train(balancer(case), budget={"accumulate": 2})


def _pieces(
    batch: int, rank: int, world: int, accumulate: int, method: balancing.Balancer | None = None
) -> list[torch.Tensor]:
    """What `fit` cuts a batch into on a process: seen from outside, by the pieces that it asks the data for."""
    from polytask.training.steps import Steps

    seen: list[torch.Tensor] = []

    class Watched(TensorData):
        def piece(self, index, whole, *more):
            seen.append(index)
            return super().piece(index, whole, *more)

    learns = data(batch, missing=0.0)
    watched = Watched(learns.inputs, learns.targets)
    method = method or balancing.Equal()
    method.bind(tasks(data()))
    steps = Steps(model(dropout=0.0), tasks(data()), watched, method, accumulate, rank=rank, world=world)
    steps.gradients(torch.arange(batch))
    return seen


# --- NaN --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_loss_names_task_step_and_last_value(tmp_path: Path, bad: float) -> None:
    learns, which = data(missing=0.0), tasks(data())
    net = Breaks(model(dropout=0.0), "kind", at=5, bad=bad)
    with pytest.raises(TrainingError) as caught:
        train(net=net, folder=tmp_path / "run", train=learns, tasks=which, budget={"epochs": 4})
    told = str(caught.value)
    assert "'kind'" in told and "'number'" not in told and "'yes'" not in told
    assert "step 5 (epoch 2)" in told and "one step before, the loss of 'kind' was" in told
    assert "epochs 1 to 1 are kept" in told and str(tmp_path) in told
    assert torch.isfinite(flat(net.net)).all()  # the weights were not spoilt
    last = float(told.split("'kind' was ")[1].split(";")[0].split(".")[0])
    assert 0 <= last < 10
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file() and (
        tmp_path / "run" / "model.safetensors"
    ).is_file()


def test_nan_at_the_first_step_says_so() -> None:
    with pytest.raises(TrainingError, match=r"at step 1 \(epoch 1\); no step came before it"):
        train(net=Breaks(model(), "yes", at=1))


def test_skip_leaves_out_the_step_and_goes_on() -> None:
    net = Breaks(model(dropout=0.0), "number", at=2, forever=False)
    _, fitted = train(net=net, budget={"non_finite": "skip", "schedule": Constant()})
    assert fitted.skipped == 1 and fitted.steps == 6
    assert torch.isfinite(flat(net.net)).all()
    assert all(math.isfinite(each["train"]["number"]["loss"]) for each in fitted.epochs)


def test_all_steps_skipped_is_told() -> None:
    """Nothing was learned: the user must hear of it, by an error or by skipped == steps."""
    net = Breaks(model(dropout=0.0), "number", at=1)
    try:
        _, fitted = train(net=net, budget={"non_finite": "skip"})
    except PolytaskError:
        return
    assert fitted.skipped == fitted.steps == 6


# --- choosing ---------------------------------------------------------------------------------------------------------


def test_best_epoch_is_the_one_with_the_best_validation_score(tmp_path: Path) -> None:
    checks, which = data(30, seed=1), tasks(data())
    net, fitted = train(budget={"epochs": 8, "learning_rate": 0.3}, tasks=which)
    scores = [each["score"] for each in fitted.epochs]
    assert fitted.best_epoch == scores.index(max(scores)) + 1 and fitted.score == max(scores)
    found = evaluate(net, which, checks)
    assert found == fitted.epochs[fitted.best_epoch - 1]["validation"]
    reference = constant_scores(which, data(), checks)
    assert fitted.score == pytest.approx(delta_m_tasks(gains(found, reference, directions(which))))


@pytest.mark.parametrize("select, sign", [("number/mae", -1), ("kind/accuracy", 1), ("yes/auroc", 1)])
def test_select_by_one_metric(select: str, sign: int) -> None:
    _, fitted = train(budget={"epochs": 6, "learning_rate": 0.2, "select": select})
    task, metric = select.split("/")
    values = [sign * each["validation"][task][metric] for each in fitted.epochs]
    assert fitted.best_epoch == values.index(max(values)) + 1


@pytest.mark.parametrize("select", ["kind/acurracy", "kind", "none/mae", "kind/mae"])
def test_select_by_an_unknown_metric(select: str) -> None:
    with pytest.raises(PolytaskError, match=r"can't select by .*Allowed: .*kind/accuracy"):
        train(budget={"select": select})


def test_reference_moves_the_zero_of_the_score() -> None:
    which = tasks(data())
    _, usual = train(tasks=which)
    perfect = {
        "number": {"mae": 1e-3, "rmse": 1e-3},
        "kind": {"accuracy": 1.0, "f1": 1.0},
        "yes": {"auroc": 1.0, "accuracy": 1.0},
    }
    _, against = train(tasks=which, reference=perfect)
    assert against.score < usual.score and against.score < 0


def test_importance_and_auxiliary_count_in_the_choice() -> None:
    which = tasks(data())
    _, _first = train(tasks=which)
    auxiliary = [replace(which[0], auxiliary=True), *which[1:]]
    net = model(which=auxiliary)
    _, second = train(tasks=auxiliary, net=net)
    reference = constant_scores(which, data(), data(30, seed=1))
    scores = second.epochs[second.best_epoch - 1]["validation"]
    counted = {name: scores[name] for name in ("kind", "yes")}
    assert second.score == pytest.approx(delta_m_tasks(gains(counted, reference, directions(which))))
    heavy = [replace(which[0], importance=3.0), *which[1:]]
    _, third = train(tasks=heavy, net=model(which=heavy))
    scores = third.epochs[third.best_epoch - 1]["validation"]
    wanted = delta_m_tasks(gains(scores, reference, directions(which)), {"number": 3.0, "kind": 1.0, "yes": 1.0})
    assert third.score == pytest.approx(wanted)


def test_the_best_epoch_is_chosen_where_the_constant_prediction_scores_zero() -> None:
    """Rare labels: always saying no has F1 = 0, against which no relative gain exists. The choice must still be made on
    scores, not fall to the first epoch."""
    torch.manual_seed(0)
    x = torch.randn(400, 4)
    rare = (x[:, :2] > 0.8).long()  # about a fifth of the rows
    both = TensorData(x, {"tags": rare})
    which = [MultiLabel("tags", ("a", "b")).fitted(rare)]
    assert constant_scores(which, both, both)["tags"]["f1"] == 0.0
    _, fitted = train(
        tasks=which,
        train=both,
        validation=both,
        net=model(dropout=0.0, which=which),
        budget={"epochs": 12, "learning_rate": 0.02},
    )
    assert math.isfinite(fitted.score)
    assert fitted.best_epoch > 6


def test_a_score_that_is_nan_once_never_blocks_the_choice() -> None:
    checks, which = data(30, seed=1), tasks(data())
    reference = {task: dict(each) for task, each in constant_scores(which, data(), checks).items()}
    reference["kind"]["f1"] = 0.0
    _, fitted = train(
        tasks=which, reference=reference, budget={"epochs": 5, "learning_rate": 0.02}, net=model(dropout=0.0)
    )
    assert math.isfinite(fitted.score)


def test_early_stopping() -> None:
    _, fitted = train(budget={"epochs": 40, "patience": 3, "learning_rate": 0.5})
    assert len(fitted.epochs) == min(40, fitted.best_epoch + 3)
    scores = [each["score"] for each in fitted.epochs]
    assert max(scores[fitted.best_epoch :]) <= fitted.score


def test_other_data_are_not_looked_at() -> None:
    """fit has no way to the test split; and validation data change the choice, never the training."""
    seen = []
    for seed in (1, 2):
        _, fitted = train(validation=data(30, seed=seed))
        seen.append([{"train": each["train"], "step": each["step"]} for each in fitted.epochs])
    assert seen[0] == seen[1]


# --- settings ---------------------------------------------------------------------------------------------------------


def test_learned_numbers_have_their_own_group_without_decay(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = []
    original = torch.optim.AdamW.__init__

    def spy(self, params, *args, **kwargs):
        original(self, params, *args, **kwargs)
        groups.extend(self.param_groups)

    monkeypatch.setattr(torch.optim.AdamW, "__init__", spy)
    learned = balancing.Uncertainty(learning_rate=0.03)
    train(learned, budget={"weight_decay": 0.1, "schedule": Constant()})
    assert len(groups) == 2
    assert groups[0]["weight_decay"] == 0.1 and groups[1]["weight_decay"] == 0.0
    assert groups[1]["lr"] == 0.03 and {id(p) for p in groups[1]["params"]} == {id(p) for p in learned.parameters()}
    assert all(p.item() != 0.0 for p in learned.parameters())  # and they move


def test_clip_bounds_the_step() -> None:
    options = {
        "optimizer": torch.optim.SGD,
        "schedule": Constant(),
        "weight_decay": 0.0,
        "learning_rate": 1.0,
        "epochs": 1,
        "batch_size": 48,
        "clip": 1e-3,
    }
    before = flat(model(dropout=0.0))
    for method in (None, balancing.PCGrad(), balancing.Uncertainty()):
        net, _ = train(method, net=model(dropout=0.0), budget=options)
        assert (flat(net) - before).norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_schedule_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    original = torch.optim.SGD.step

    def spy(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    schedule = Cosine(warmup=0.5, floor=0.1)
    train(budget={"optimizer": torch.optim.SGD, "schedule": schedule, "learning_rate": 0.2})
    assert rates == pytest.approx([0.2 * schedule(step / 6) for step in range(6)])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@every
def test_mixed_precision(case, precision: str) -> None:
    """bf16 and fp16 (with a gradient scaler whose first scale may overflow: then the step is left out)."""
    learns = data(256, missing=0.1)
    net, fitted = train(
        balancer(case),
        net=model(dropout=0.0, widths=(16,)),
        train=learns,
        budget={"precision": precision, "epochs": 4, "batch_size": 32, "learning_rate": 0.02},
    )
    assert torch.isfinite(flat(net)).all()
    losses = [each["train"]["kind"]["loss"] for each in fitted.epochs]
    assert losses[-1] < losses[0]


def test_fp16_survives_gradients_that_overflow() -> None:
    """Errors of hundreds of deviations overflow half precision at the scaler's first scale."""
    learns = data(64)
    learns = TensorData(learns.inputs, learns.targets | {"number": learns.targets["number"] * 300})
    for case in CASES:
        net, fitted = train(
            balancer(case),
            net=model(dropout=0.0),
            train=learns,
            tasks=tasks(data()),
            budget={"precision": "fp16", "epochs": 2},
        )
        assert torch.isfinite(flat(net)).all(), case.name
        assert fitted.steps == 8


def test_at_features() -> None:
    for case in [*(case for case in ON_WHOLE_BATCHES if case.at_features), *AT_FEATURES]:
        net, fitted = train(balancer(case), net=model(dropout=0.0), at_features=True)
        assert fitted.steps == 6 and torch.isfinite(flat(net)).all()
    alone = tasks(data())
    torch.manual_seed(0)
    with pytest.raises(PolytaskError, match="no shared features"):
        train(balancing.MGDA(), net=Independent(MLP(4, widths=(8,)), alone), at_features=True)


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"weight_decay": float("nan")}, "weight_decay"),
        ({"clip": -1.0}, "clip must be a positive number"),
        ({"patience": 0}, "patience must be a positive number"),
        ({"accumulate": 300}, "can't be cut in 300"),
        ({"precision": "fp8"}, "precision"),
        ({"non_finite": "ignore"}, "non_finite"),
    ],
)
def test_settings_out_of_range(settings: dict, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        train(budget=settings)


def test_unknown_setting() -> None:
    with pytest.raises(PolytaskError, match="no 'learning_rat'; did you mean 'learning_rate'"):
        Budget().updated({"learning_rat": 0.1})
    assert Budget().updated({"epochs": 3}) == Budget(epochs=3)


def test_task_without_labels() -> None:
    empty = data()
    empty.targets["yes"].fill_(-100)
    gone = TensorData(empty.inputs, empty.targets)
    with pytest.raises(PolytaskError, match=r"'yes' has no label in the training data \(48 rows"):
        train(train=gone)
    with pytest.raises(PolytaskError, match="'yes' has no label in the validation data"):
        train(validation=gone)
    without = TensorData(empty.inputs, {name: t for name, t in data().targets.items() if name != "kind"})
    with pytest.raises(PolytaskError, match="'kind' has no label in the training data"):
        train(train=without)


def test_wrapped_model() -> None:
    class Wrapped(nn.parallel.DistributedDataParallel):
        def __init__(self) -> None:
            nn.Module.__init__(self)

    with pytest.raises(PolytaskError, match="not wrapped"):
        train(net=Wrapped())


def test_batches_without_any_label_are_passed_over() -> None:
    """Tasks that are absent from many batches, and batches with no label at all."""
    sparse = data(48)
    for name, target in sparse.targets.items():
        keep = torch.zeros(48, dtype=torch.bool)
        keep[{"number": [1, 2], "kind": [2, 3], "yes": [1, 9]}[name]] = True
        target[~keep] = torch.nan if target.is_floating_point() else -100
    sparse = TensorData(sparse.inputs, sparse.targets)
    for case in CASES:
        net, fitted = train(balancer(case), net=model(dropout=0.0), train=sparse, budget={"batch_size": 4})
        assert 0 < fitted.steps < 24
        assert torch.isfinite(flat(net)).all()


def test_batch_norm_learns_and_is_in_the_weights(tmp_path: Path) -> None:
    x = torch.randn(32, 1, 8, 8)
    target = (x.mean((1, 2, 3)) > 0).long()
    both = TensorData(x, {"a": target, "b": 1 - target})
    which = [MultiClass("a", 2), MultiClass("b", 2)]
    torch.manual_seed(0)
    net = HardSharing(SmallCNN(1, widths=(4, 4)), which)
    train(balancing.PCGrad(), tmp_path / "run", net, tasks=which, train=both, validation=both)
    torch.manual_seed(1)
    again = HardSharing(SmallCNN(1, widths=(4, 4)), which)
    train(balancing.PCGrad(), tmp_path / "run", again, tasks=which, train=both, validation=both)
    assert torch.equal(flat(again), flat(net))
    assert any("running_mean" in name for name in net.state_dict())


def test_what_an_epoch_tells() -> None:
    seen = []
    _, fitted = train(balancing.MGDA(), on_epoch=seen.append, probe=True)
    assert seen == fitted.epochs
    for number, epoch in enumerate(fitted.epochs, 1):
        assert epoch["epoch"] == number and epoch["step"] == 3 * number
        for name in ("number", "kind", "yes"):
            assert 0 <= epoch["train"][name]["weight"] <= 1 and epoch["train"][name]["loss"] > 0
        assert sum(each["weight"] for each in epoch["train"].values()) == pytest.approx(1)
        cosine = torch.tensor(epoch["conflict"]["cosine"])
        assert (
            cosine.shape == (3, 3)
            and torch.allclose(cosine.diagonal(), torch.ones(3))
            and torch.equal(cosine, cosine.T)
        )
        assert all(length > 0 for length in epoch["conflict"]["norm"])
    assert fitted.memory_mib > 0 and fitted.seconds > 0
    _, fitted = train(balancing.GradDrop())
    assert fitted.epochs[0]["train"]["kind"]["weight"] is None and fitted.epochs[0]["conflict"] is None


def test_probing_does_not_change_the_training() -> None:
    for method in (balancing.Equal, balancing.PCGrad, balancing.RandomWeights):
        looked, _ = train(method(), probe=True)
        plain, _ = train(method(), probe=False)
        assert torch.equal(flat(looked), flat(plain))


# --- evaluation -------------------------------------------------------------------------------------------------------


def test_evaluation_is_pooled_over_the_split() -> None:
    """Root mean squared error and AUROC of all rows, not means over batches; the mode of the model is restored."""
    net, which, checks = model(), tasks(data()), data(50, seed=3)
    net.train()
    whole = evaluate(net, which, checks)
    assert net.training
    cut = evaluate(net, which, checks, batch_size=7)
    net.eval()
    with torch.no_grad():
        found = net(checks.inputs)
    there = ~checks.targets["number"].isnan()
    error = which[0].decode(found["number"])[there] - checks.targets["number"][there]
    assert whole["number"]["mae"] == pytest.approx(error.abs().mean().item(), rel=1e-5)
    assert whole["number"]["rmse"] == pytest.approx(error.square().mean().sqrt().item(), rel=1e-5)
    for task in whole:
        assert cut[task] == pytest.approx(whole[task], rel=1e-5)
        assert whole[task]["loss"] == pytest.approx(
            next(t for t in which if t.name == task).loss(found[task], checks.targets[task]).item(), rel=1e-5
        )
    net.eval()
    evaluate(net, which, checks)
    assert not net.training


def test_constant_scores_by_hand() -> None:
    learns = TensorData(
        torch.zeros(4, 1), {"n": torch.tensor([0.0, 2.0, 4.0, torch.nan]), "k": torch.tensor([0, 1, 1, -100])}
    )
    checks = TensorData(torch.zeros(2, 1), {"n": torch.tensor([5.0, 2.0]), "k": torch.tensor([1, 0])})
    which = [Regression("n").fitted(learns.targets["n"]), MultiClass("k", 2)]
    found = constant_scores(which, learns, checks)
    assert found["n"]["mae"] == pytest.approx(1.5) and found["n"]["rmse"] == pytest.approx(math.sqrt(4.5))
    assert found["k"]["accuracy"] == 0.5
    assert found["k"]["loss"] == pytest.approx(-(math.log(2 / 3) + math.log(1 / 3)) / 2, rel=1e-4)


def test_directions() -> None:
    assert directions(tasks(data())) == {
        "number": {"mae": False, "rmse": False},
        "kind": {"accuracy": True, "f1": True},
        "yes": {"auroc": True, "accuracy": True},
    }
