"""What a task promises: plain torch's loss on complete data, nothing from missing labels, scores in its unit."""

import json
import math
from pathlib import Path

import metrics_worker as worker
import pytest
import torch
from launching import start
from torch import Tensor
from torch.nn import functional as F

from polytask.errors import PolytaskError
from polytask.tasks import Binary, MultiClass, MultiLabel, Regression, Task, losses, present

NAN = math.nan


def regression() -> Regression:
    return Regression("r", unit="h", mean=3.0, deviation=2.0)


def plain_regression(prediction: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(prediction[:, 0], (target - 3.0) / 2.0)


def plain_binary(prediction: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(prediction[:, 0], target.to(prediction.dtype))


def plain_labels(prediction: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(prediction, target.to(prediction.dtype))


def target_of(name: str, rows: int) -> Tensor:
    return {
        "binary": lambda: torch.randint(2, (rows,)),
        "binary of floats": lambda: torch.randint(2, (rows,)).float(),
        "classes": lambda: torch.randint(4, (rows,)),
        "labels": lambda: torch.randint(2, (rows, 3)),
        "labels of floats": lambda: torch.randint(2, (rows, 3)).float(),
        "number": lambda: torch.randn(rows) * 5 + 2,
    }[name]()


KINDS = {
    "binary": (lambda: Binary("b"), plain_binary),
    "binary of floats": (lambda: Binary("b"), plain_binary),
    "classes": (lambda: MultiClass("c", 4), F.cross_entropy),
    "labels": (lambda: MultiLabel("l", ("x", "y", "z")), plain_labels),
    "labels of floats": (lambda: MultiLabel("l", ("x", "y", "z")), plain_labels),
    "number": (regression, plain_regression),
}
every = pytest.mark.parametrize("kind", KINDS)


def hide(target: Tensor, where: Tensor) -> Tensor:
    return target.masked_fill(where, NAN if target.is_floating_point() else -100)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_is_plain_torch_on_complete_data(kind: str, dtype: torch.dtype) -> None:
    make, plain = KINDS[kind]
    task, target = make(), target_of(kind, 20)
    prediction = torch.randn(20, task.outputs, dtype=dtype)
    found = task.loss(prediction, target)
    assert found.dtype == dtype and found.ndim == 0
    torch.testing.assert_close(found, plain(prediction, target).to(dtype), rtol=1e-5, atol=1e-6)


@every
def test_missing_labels_count_for_nothing(kind: str) -> None:
    """The loss and its gradient are those of the labels present; a missing label gives exactly zero gradient."""
    make, _ = KINDS[kind]
    task, target = make(), target_of(kind, 30)
    gone = torch.rand(target.shape) < 0.4
    prediction = (10 * torch.randn(30, task.outputs)).requires_grad_()
    hidden = hide(target, gone)
    assert torch.equal(present(hidden), ~gone)
    found = task.loss(prediction, hidden)
    (gradient,) = torch.autograd.grad(found, prediction)
    assert torch.isfinite(gradient).all()
    rows = gone if gone.ndim == 2 else gone[:, None].expand_as(gradient)
    assert (gradient[rows] == 0).all() and (gradient[~rows] != 0).any()
    if target.ndim == 1:
        torch.testing.assert_close(found, task.loss(prediction[~gone], target[~gone]))
    else:
        each = F.binary_cross_entropy_with_logits(prediction, target.float(), reduction="none")
        torch.testing.assert_close(found, each[~gone].mean())


@every
def test_what_is_predicted_for_a_missing_label_does_not_matter(kind: str) -> None:
    """Not even when it overflowed: the gradient stays finite, and so do the metrics."""
    make, _ = KINDS[kind]
    task, target = make(), target_of(kind, 6)
    gone = torch.zeros_like(target, dtype=torch.bool)
    gone[0] = True
    wild = torch.randn(6, task.outputs)
    wild[0] = torch.inf
    tame = wild.clone()
    tame[0] = 0.0
    hidden = hide(target, gone)
    wild.requires_grad_()
    found = task.loss(wild, hidden)
    torch.testing.assert_close(found, task.loss(tame, hidden))
    (gradient,) = torch.autograd.grad(found, wild)
    assert torch.isfinite(gradient).all()


@every
def test_pieces_divided_by_the_whole_count_add_up(kind: str) -> None:
    make, _ = KINDS[kind]
    task, target = make(), target_of(kind, 30)
    target = hide(target, torch.rand(target.shape) < 0.4)
    target[:10] = NAN if target.is_floating_point() else -100  # a piece without one label
    prediction = torch.randn(30, task.outputs)
    count = present(target).sum()
    parts = [task.loss(p, t, count) for p, t in zip(prediction.split(10), target.split(10), strict=True)]
    assert parts[0].item() == 0.0
    torch.testing.assert_close(sum(parts), task.loss(prediction, target))


@every
def test_no_label_at_all_is_nan_without_a_count(kind: str) -> None:
    make, _ = KINDS[kind]
    task, target = make(), target_of(kind, 3)
    nothing = hide(target, torch.ones_like(target, dtype=torch.bool))
    assert torch.isnan(task.loss(torch.randn(3, task.outputs), nothing))
    with pytest.raises(PolytaskError, match=r"(no label at all|missing in all).*"):
        task.fitted(nothing)


@every
def test_metrics_see_the_labels_present_only(kind: str) -> None:
    make, _ = KINDS[kind]
    task, target = make(), target_of(kind, 60)
    prediction = torch.randn(60, task.outputs)
    gone = torch.zeros(60, dtype=torch.bool)
    gone[::3] = True
    hidden = hide(target, gone if target.ndim == 1 else gone[:, None].expand_as(target))
    first, second = task.metrics(), task.metrics()
    for p, t in zip(prediction.split(13), hidden.split(13), strict=True):  # batch by batch
        task.update(first, p, t)
    task.update(second, prediction[~gone], target[~gone])
    for name in first:
        assert first[name].compute().item() == pytest.approx(second[name].compute().item(), rel=1e-5)
        assert isinstance(first[name].higher_is_better, bool)


def test_metrics_by_hand() -> None:
    number = regression()
    metrics = number.metrics()
    number.update(metrics, torch.tensor([[0.0], [1.0], [9.0]]), torch.tensor([4.0, 8.0, NAN]))  # says 3 h and 5 h
    assert metrics["mae"].compute().item() == 2.0 and metrics["rmse"].compute().item() == pytest.approx(math.sqrt(5))
    assert not metrics["mae"].higher_is_better and not metrics["rmse"].higher_is_better
    yes = Binary("b")
    metrics = yes.metrics()
    yes.update(metrics, torch.tensor([[2.0], [-1.0], [1.0], [0.5]]), torch.tensor([1, 0, 0, 1]))
    assert metrics["accuracy"].compute().item() == 0.75 and metrics["auroc"].compute().item() == 0.75
    classes = MultiClass("c", 3)
    metrics = classes.metrics()
    classes.update(metrics, torch.eye(3)[torch.tensor([0, 0, 1, 2])], torch.tensor([0, 1, 1, 2]))
    assert metrics["accuracy"].compute().item() == 0.75
    assert metrics["f1"].compute().item() == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    labels = MultiLabel("l", ("x", "y"))
    metrics = labels.metrics()
    labels.update(
        metrics, torch.tensor([[3.0, -1.0], [-2.0, 4.0], [1.0, 0.1]]), torch.tensor([[1, 0], [0, 1], [0, -100]])
    )
    assert metrics["f1"].compute().item() == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["auroc"].compute().item() == 1.0


ALIKE = {
    "one class": (Binary("b"), torch.ones(8).long(), NAN),
    "one class, and missing": (Binary("b"), torch.tensor([0, 0, 0, -100, -100, -100, 0, 0]), NAN),
    "one class each half": (Binary("b"), torch.tensor([1] * 5 + [0] * 3), 13 / 15),
    "one label alike": (MultiLabel("l", ("x", "y")), torch.tensor([[1, 1]] * 5 + [[0, 1]] * 3), 13 / 15),
    "all labels alike": (MultiLabel("l", ("x", "y")), torch.tensor([[0, 1]] * 5 + [[-100, 1]] * 3), NAN),
}
"""Tasks, targets, and the area under the ROC curve where the logits are `LOGITS`."""
LOGITS = torch.tensor([0.5, 3.0, 2.0, -1.0, 1.0, 0.0, -2.0, 0.2])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ALIKE)
def test_area_of_labels_that_are_alike_is_no_number(name: str) -> None:
    task, target, expected = ALIKE[name]
    metrics = task.metrics()
    task.update(metrics, LOGITS[:, None].expand(-1, task.outputs), target)
    assert metrics["auroc"].compute().item() == pytest.approx(expected, nan_ok=True)
    assert all(not math.isnan(metric.compute().item()) for key, metric in metrics.items() if key != "auroc")


@pytest.mark.distributed
def test_area_on_two_processes_is_that_of_all_labels(tmp_path: Path) -> None:
    """Each process may have labels of one class only."""
    cases = {
        name: (task, LOGITS[:, None].expand(-1, task.outputs), target) for name, (task, target, _) in ALIKE.items()
    }
    torch.save(cases, tmp_path / "cases.pt")
    start(worker, 2, tmp_path, timeout=120)
    for rank in range(2):
        found = json.loads((tmp_path / f"scores{rank}.json").read_text())
        for name, (_, _, expected) in ALIKE.items():
            assert found[name]["auroc"] == pytest.approx(expected, nan_ok=True), name


def test_metrics_are_fresh() -> None:
    task = Binary("b")
    task.update(task.metrics(), torch.tensor([[1.0]]), torch.tensor([1]))
    assert all(not metric.update_called for metric in task.metrics().values())


# --- fitted -----------------------------------------------------------------------------------------------------------


def test_regression_learns_from_the_labels_present() -> None:
    found = regression().fitted(torch.tensor([1.0, NAN, 3.0, 8.0]))
    assert found.mean == 4.0 and found.deviation == pytest.approx(math.sqrt(26 / 3))
    assert (found.name, found.unit) == ("r", "h") and regression().mean == 3.0  # a copy
    for shift, scale in ((1e7, 1e3), (0.0, 1e-12), (-5.0, 1e12)):
        target = torch.randn(500, dtype=torch.float64) * scale + shift
        task = Regression("r").fitted(target)
        assert task.mean == pytest.approx(target.mean().item()) and task.deviation == pytest.approx(
            target.std(correction=0).item()
        )
        zero = torch.zeros(500, 1, dtype=torch.float64)
        assert task.loss(zero, target).item() == pytest.approx(1.0)  # standard units


@pytest.mark.parametrize(
    "task, target, told",
    [
        (Binary("b"), torch.tensor([0, 1, 2]), r"'b' expects labels 0 to 1, got 2 \(1 of 3 labels are outside\)"),
        (Binary("b"), torch.tensor([0.0, 0.5, 1.0]), "expects labels 0 to 1, got 0.5"),
        (Binary("b"), torch.tensor([-1, 1]), "got -1 .*NaN .*or -100"),
        (Binary("b"), torch.tensor([1, 1, -100]), r"'b' has one value only \(1\) in all 2 training labels"),
        (MultiClass("c", 3), torch.tensor([0, 3]), "expects labels 0 to 2, got 3"),
        (MultiClass("c", 3), torch.tensor([0.0, 1.0]), r"'c' expects whole class numbers .*convert with \.long\(\)"),
        (MultiClass("c", 3), torch.tensor([2, 2]), "one value only"),
        (MultiLabel("l", ("x", "y")), torch.tensor([0, 1]), r"shape \[rows, 2\].*got \[2\]"),
        (MultiLabel("l", ("x", "y")), torch.tensor([[0, 1, 0], [1, 0, 1]]), r"shape \[rows, 2\].*got \[2, 3\]"),
        (MultiLabel("l", ("x", "y")), torch.tensor([[0, 1], [1, 1]]), "'l: y' has one value only"),
        (MultiLabel("l", ("x", "y")), torch.tensor([[0, -100], [1, -100]]), "label 'l: y' is missing in all 2"),
        (MultiLabel("l", ("x", "y")), torch.tensor([[0, 1], [5, 0]]), "'l: x' expects labels 0 to 1, got 5"),
        (Regression("r"), torch.tensor([1, 2]), r"floating-point targets .*convert with \.float\(\)"),
        (Regression("r"), torch.tensor([2.5, 2.5, NAN]), r"one value only \(2.5\) in all 2"),
        (Regression("r"), torch.tensor([1e6, 1e6]), "one value only"),
        (Regression("r"), torch.tensor([0.0, 0.0]), "one value only"),
        (Regression("r"), torch.tensor([1.0, math.inf]), "infinite"),
        (Regression("r"), torch.tensor([1.0, -math.inf, math.inf]), "infinite"),
    ],
)
def test_labels_that_do_not_fit(task: Task, target: Tensor, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        task.fitted(target)


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: Binary(""), "needs a name"),
        (lambda: Binary(3), "needs a name"),
        (lambda: Regression("r", importance=0.0), "importance of task 'r' must be a positive number"),
        (lambda: Regression("r", importance=NAN), "importance"),
        (lambda: Regression("r", importance=math.inf), "importance"),
        (lambda: MultiClass("c", 1), "at least 2 classes"),
        (lambda: MultiClass("c", ("only",)), "at least 2 classes"),
        (lambda: MultiLabel("l", ()), "needs the names of its labels"),
    ],
)
def test_tasks_that_cannot_be(make: object, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        make()


# --- reading predictions ----------------------------------------------------------------------------------------------


@every
def test_the_best_constant_is_the_best(kind: str) -> None:
    """No other constant output has a smaller loss on the labels it was made from."""
    make, _ = KINDS[kind]
    task, target = make(), target_of(kind, 200)
    target = hide(target, torch.rand(target.shape) < 0.3)
    best = task.constant(target)
    assert best.shape == (task.outputs,) and torch.isfinite(best).all()
    least = task.loss(best.expand(200, -1), target)
    for _ in range(20):
        other = best + 0.3 * torch.randn(task.outputs)
        assert task.loss(other.expand(200, -1), target) >= least - 1e-6


def test_the_constant_of_a_class_that_never_comes_is_finite() -> None:
    assert torch.isfinite(MultiClass("c", 5).constant(torch.tensor([0, 1, 1]))).all()
    assert torch.isfinite(Binary("b").constant(torch.tensor([1, 1, -100]))).all()


def test_decode_and_columns() -> None:
    number = regression()
    assert number.decode(torch.tensor([[0.0], [1.5]])).tolist() == [3.0, 6.0]
    assert number.columns(torch.tensor([[1.0]])) == {"r [h]": [5.0]}
    yes = Binary("b", labels=("no", "yes"))
    assert yes.decode(torch.tensor([[0.0]])).tolist() == [0.5]
    assert next(iter(yes.columns(torch.tensor([[3.0], [-3.0]])).values())) == ["yes", "no"]
    classes = MultiClass("c", ("red", "green", "blue"))
    found = classes.columns(torch.tensor([[0.0, 5.0, 0.0], [5.0, 0.0, 0.0]]))
    assert found["c"] == ["green", "red"] and len(found) == 4
    assert sum(found[name][0] for name in list(found)[1:]) == pytest.approx(1.0)
    labels = MultiLabel("l", ("x", "y"))
    assert all(len(column) == 2 for column in labels.columns(torch.zeros(2, 2)).values())


@every
def test_head_and_description(kind: str) -> None:
    import json

    make, _ = KINDS[kind]
    task = make()
    assert task.head(7)(torch.zeros(3, 7)).shape == (3, task.outputs)
    told = json.loads(json.dumps(task.describe()))
    assert told["name"] == task.name and told["kind"] == type(task).__name__


def test_likelihoods() -> None:
    scales = [task().likelihood_scale for task, _ in KINDS.values()]
    assert scales == [1.0] * 5 + [0.5]


def test_losses_of_the_tasks_that_are_there() -> None:
    tasks = [Binary("a"), regression(), MultiClass("c", 3)]
    predictions = {task.name: torch.randn(4, task.outputs) for task in tasks}
    targets = {"c": torch.tensor([0, 1, 2, -100]), "a": torch.tensor([0, 1, 1, 0])}
    found = losses(tasks, predictions, targets)
    assert list(found) == ["a", "c"]  # in the order of the tasks
    halved = losses(tasks, predictions, targets, {"a": 8.0, "c": 6.0})
    torch.testing.assert_close(halved["a"] * 2, found["a"])
    torch.testing.assert_close(halved["c"] * 2, found["c"])
    assert losses(tasks, predictions, {}) == {}


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_by_hand() -> None:
    binary = Binary("b").progress(torch.tensor([[2.0], [-1.0], [3.0], [9.0]]), torch.tensor([1, 1, 0, -100]))
    assert binary.item() == pytest.approx(1 / 3)
    classes = MultiClass("c", 3).progress(torch.eye(3), torch.tensor([0, 1, 0]))
    assert classes.item() == pytest.approx(2 / 3)
    labels = MultiLabel("l", ("x", "y")).progress(
        torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.tensor([[1, 0], [0, -100]])
    )
    assert labels.item() == pytest.approx(2 / 3)
    # labels 3 and 7 are 0 and 2 in standard units; squared errors 1/4 and 1/4 of the variance
    number = regression().progress(torch.tensor([[0.5], [1.5], [0.0]]), torch.tensor([3.0, 7.0, NAN]))
    assert number.item() == pytest.approx(0.75)


def test_progress_of_numbers_stays_in_range() -> None:
    target = torch.tensor([3.0, 7.0])
    assert regression().progress(torch.tensor([[50.0], [-50.0]]), target).item() == 0.0  # worse than the mean
    assert regression().progress(torch.tensor([[0.0], [2.0]]), target).item() == 1.0
    mean = regression().fitted(target).progress(torch.zeros(2, 1), target)  # the constant prediction of the mean
    assert mean.item() == pytest.approx(0.0, abs=1e-6)


@every
def test_progress_is_accuracy_and_adds_up_over_pieces(kind: str) -> None:
    make, _ = KINDS[kind]
    task, target = make(), target_of(kind, 60)
    target = hide(target, torch.rand(target.shape) < 0.3)
    prediction = task.constant(target).expand(60, -1) + 0.3 * torch.randn(60, task.outputs)
    whole, count = task.progress(prediction, target), present(target).sum()
    assert whole.shape == () and 0 <= whole <= 1
    pieces = zip(prediction.split(25), target.split(25), strict=True)
    summed = sum(task.credit_sum(p, t) for p, t in pieces) / count
    torch.testing.assert_close(summed.clamp(0.0, 1.0).float(), whole, rtol=1e-5, atol=1e-6)
    metrics = task.metrics()
    if "accuracy" in metrics:
        task.update(metrics, prediction, target)
        assert metrics["accuracy"].compute().item() == pytest.approx(whole.item())
