"""Many small tasks as one object: exactly what k objects would say, however the labels are laid out."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from polytask.data import TensorData
from polytask.errors import PolytaskError
from polytask.tasks import (
    Binary,
    Many,
    ManyBinary,
    ManyMultiClass,
    ManyRegression,
    MemberAUROC,
    MemberHeads,
    MultiClass,
    Regression,
    Task,
    losses,
    of_members,
    worst_tenth,
)

NAN = math.nan
MEMBERS = ("ann", "bob", "cy")
ROWS = torch.tensor([0, 1, 1, 2, 2, 2, 0, 1])
"""The member of every row."""
KINDS: dict[str, tuple[type[Many], dict[str, Any], Task]] = {
    "number": (ManyRegression, {}, Regression("y", mean=3.0, deviation=2.0)),
    "binary": (ManyBinary, {}, Binary("y")),
    "classes": (ManyMultiClass, {"classes": 4}, MultiClass("y", 4)),
}
kinds = pytest.mark.parametrize("kind", KINDS)
layouts = pytest.mark.parametrize("column", ["", "user"])


def many(kind: str, column: str = "", **settings: Any) -> Many:
    made, options, one = KINDS[kind]
    if isinstance(one, Regression):
        options = {"mean": (one.mean,), "deviation": (one.deviation,)}
    return made("y", MEMBERS, column, **options, **settings)


def labels_of(kind: str, rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(rows)
    if kind == "number":
        return torch.randn(rows, generator=generator) * 4 + 2
    return torch.randint(2 if kind == "binary" else 4, (rows,), generator=generator)


def laid_out(labels: Tensor, column: str) -> Tensor:
    """One label per row, of the member in ROWS, as targets of a layout."""
    if column:
        return of_members(labels, ROWS)
    missing = NAN if labels.is_floating_point() else -100
    target = torch.full((len(ROWS), len(MEMBERS)), missing, dtype=labels.dtype)
    target[torch.arange(len(ROWS)), ROWS] = labels
    return target


def shown_as(outputs: Tensor, column: str) -> Tensor:
    """Outputs [rows, c] of each row's own member as predictions of a layout; other members say nonsense."""
    if column:
        return outputs
    every = torch.full((len(outputs), len(MEMBERS), outputs.shape[1]), 77.0)
    every[torch.arange(len(outputs)), ROWS] = outputs
    return every.flatten(1)


# --- the loss --------------------------------------------------------------------------------------------------------


@kinds
@layouts
def test_the_loss_over_labels_is_that_of_one_task(kind: str, column: str) -> None:
    task, one = many(kind, column, alike=False, training_labels=(2, 3, 3)), KINDS[kind][2]
    labels, outputs = labels_of(kind, len(ROWS)), torch.randn(len(ROWS), KINDS[kind][2].outputs)
    expected = one.loss(outputs, labels)
    torch.testing.assert_close(task.loss(shown_as(outputs, column), laid_out(labels, column)), expected)


@kinds
@layouts
def test_members_that_count_alike_have_the_mean_of_their_own_losses(kind: str, column: str) -> None:
    """Against k ordinary tasks, each with its own rows: the slow twin."""
    task, one = many(kind, column, training_labels=(2, 3, 3)), KINDS[kind][2]
    labels, outputs = labels_of(kind, len(ROWS)), torch.randn(len(ROWS), KINDS[kind][2].outputs)
    apart = [one.loss(outputs[k == ROWS], labels[k == ROWS]) for k in range(3)]
    found = task.loss(shown_as(outputs, column), laid_out(labels, column))
    torch.testing.assert_close(found, torch.stack(apart).mean())


@kinds
@layouts
def test_a_missing_label_hides_any_prediction(kind: str, column: str) -> None:
    task, one = many(kind, column, training_labels=(2, 3, 3)), KINDS[kind][2]
    labels, outputs = labels_of(kind, len(ROWS)), torch.randn(len(ROWS), one.outputs)
    gone = torch.zeros(len(ROWS), dtype=torch.bool)
    gone[[1, 4]] = True
    hidden = labels.masked_fill(gone, NAN if labels.is_floating_point() else -100)
    broken = outputs.masked_fill(gone[:, None], math.inf).requires_grad_()
    found = task.loss(shown_as(broken, column), laid_out(hidden, column))
    weights = task._weights.float()[ROWS[~gone]]
    each = [one.loss(outputs[k : k + 1], labels[k : k + 1]) for k in (~gone).nonzero()[:, 0].tolist()]
    torch.testing.assert_close(found, (weights * torch.stack(each)).mean())
    found.backward()
    assert bool(torch.isfinite(broken.grad).all())
    assert bool((broken.grad[gone] == 0).all())


@kinds
@layouts
def test_pieces_of_a_batch_add_up_to_the_whole(kind: str, column: str) -> None:
    task, one = many(kind, column, training_labels=(2, 3, 3)), KINDS[kind][2]
    labels = labels_of(kind, len(ROWS))
    labels[2] = NAN if labels.is_floating_point() else -100
    prediction, target = shown_as(torch.randn(len(ROWS), one.outputs), column), laid_out(labels, column)
    data = TensorData(torch.arange(len(ROWS)), {"y": target})
    whole = data.gather(torch.arange(len(ROWS)))
    together = task.loss(prediction, target, whole.counts["y"])
    torch.testing.assert_close(together, task.loss(prediction, target))
    pieces = [torch.tensor([0, 2, 5]), torch.tensor([1, 3, 4, 6, 7])]
    parts = [task.loss(prediction[each], target[each], whole.counts["y"]) for each in pieces]
    torch.testing.assert_close(sum(parts), together)


def test_batches_are_unbiased_for_the_mean_over_members() -> None:
    """The mean over all batches of two rows is the loss of the whole: the mean over members present would not be."""
    task = many("number", "user", training_labels=(2, 3, 3))
    labels, outputs = labels_of("number", 8), torch.randn(8, 1)
    target = laid_out(labels, "user")
    pairs = [torch.tensor([i, j]) for i in range(8) for j in range(8) if i != j]
    found = torch.stack([task.loss(outputs[pair], target[pair]) for pair in pairs]).mean()
    torch.testing.assert_close(found, task.loss(outputs, target))


def test_it_counts_as_one_task_beside_others() -> None:
    task, other = many("binary"), Binary("other")
    found = losses(
        [task, other],
        {"y": torch.zeros(2, 3), "other": torch.zeros(2, 1)},
        {"y": torch.full((2, 3), -100), "other": torch.tensor([1, 0])},
    )
    assert list(found) == ["other"]  # absent is absent


@kinds
@layouts
def test_progress_is_that_of_one_task(kind: str, column: str) -> None:
    task, one = many(kind, column), KINDS[kind][2]
    labels, outputs = labels_of(kind, len(ROWS)), torch.randn(len(ROWS), one.outputs)
    if isinstance(one, Regression):
        outputs = outputs / 10 + ((labels - 3) / 2)[:, None]
    expected = one.progress(outputs, labels)
    torch.testing.assert_close(task.progress(shown_as(outputs, column), laid_out(labels, column)), expected)


# --- metrics ---------------------------------------------------------------------------------------------------------


@kinds
@layouts
def test_metrics_are_means_of_those_of_the_members(kind: str, column: str) -> None:
    """The ordinary task's metrics on every member's own rows, whatever the batches are."""
    torch.manual_seed(3)
    task, one = many(kind, column), KINDS[kind][2]
    if isinstance(task, ManyRegression) and not column:
        task, one = replace(task, mean=(0.0,), deviation=(1.0,)), replace(one, mean=0.0, deviation=1.0)
    labels, outputs = labels_of(kind, len(ROWS)), torch.randn(len(ROWS), one.outputs)
    if kind == "binary":
        labels = torch.tensor([0, 1, 0, 1, 0, 1, 1, 0])
    metrics = task.metrics()
    for rows in (slice(0, 3), slice(3, 8)):
        task.update(metrics, shown_as(outputs, column)[rows], laid_out(labels, column)[rows])
    apart: dict[str, list[float]] = {}
    for k in range(3):
        own = one.metrics()
        one.update(own, outputs[k == ROWS], labels[k == ROWS])
        for name, metric in own.items():
            apart.setdefault(name, []).append(float(metric.compute()))
    for name, metric in metrics.items():
        plain = name.removesuffix("_worst_tenth")
        values = apart[plain]
        worst = min(values) if metric.higher_is_better else max(values)
        expected = sum(values) / 3 if plain == name else worst
        assert float(metric.compute()) == pytest.approx(expected, abs=1e-6), name


def test_areas_are_those_of_scikit_learn_with_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    member = torch.randint(6, (400,), generator=generator)
    scores = torch.randint(5, (400,), generator=generator) / 5  # many are equal
    known = torch.randint(2, (400,), generator=generator)
    known[member == 5] = 1
    metric = MemberAUROC(7, over=None)
    for rows in torch.arange(400).chunk(3):
        metric.update(scores[rows], known[rows], member[rows])
    found = metric.compute()
    for k in range(5):
        expected = roc_auc_score(known[member == k], scores[member == k])
        assert float(found[k]) == pytest.approx(expected, abs=1e-12)
    assert bool(found[5:].isnan().all())  # one label only; none


def test_the_worst_tenth_is_rounded_up_and_leaves_out_members_without_a_score() -> None:
    scores = torch.tensor([NAN, *range(11)])
    assert float(worst_tenth(scores, higher_is_better=True)) == 0.5  # 0 and 1 of eleven
    assert float(worst_tenth(scores, higher_is_better=False)) == 9.5


def test_a_member_without_a_label_has_no_score_and_breaks_nothing() -> None:
    task = many("number", "user")
    _, metric = task.by_member() or pytest.fail("no score by member")
    task.update({"all": metric}, torch.zeros(2, 1), of_members(torch.tensor([3.0, 5.0]), torch.tensor([0, 2])))
    assert metric.compute().nan_to_num(nan=-1).tolist() == [0.0, -1.0, 2.0]
    assert task.member_counts(of_members(torch.tensor([3.0, NAN]), torch.tensor([0, 2]))).tolist() == [1, 0, 0]


# --- what is learned from training labels -----------------------------------------------------------------------------


def test_columns_have_units_of_their_own_and_rows_have_one() -> None:
    columns = torch.tensor([[0.0, 100.0, NAN], [2.0, 300.0, NAN], [NAN, NAN, 5.0]])
    task = ManyRegression("y", MEMBERS).fitted(columns)
    everything = torch.tensor([0.0, 100.0, 2.0, 300.0, 5.0])
    assert task.mean == (1.0, 200.0, 5.0)
    assert task.deviation[:2] == (1.0, 100.0)
    assert task.deviation[2] == pytest.approx(float(everything.std(correction=0)), rel=1e-6)  # one label has none
    assert task.training_labels == (2, 2, 1)
    assert task.decode(torch.tensor([[1.0, -1.0, 0.0]])).tolist() == [[2.0, 100.0, 5.0]]
    assert set(task.metric_units().values()) == {"deviations"}
    rows = ManyRegression("y", MEMBERS, "user", unit="h")
    rows = rows.fitted(of_members(torch.tensor([1.0, 3.0, NAN]), torch.tensor([0, 1, 2])))
    assert (rows.mean, rows.deviation, rows.training_labels) == ((2.0,), (1.0,), (1, 1, 0))
    assert rows.decode(torch.tensor([[2.0]])).tolist() == [4.0]
    assert set(rows.metric_units().values()) == {"h"}


@kinds
@layouts
def test_the_constant_is_the_best_of_every_member(kind: str, column: str) -> None:
    task, one = many(kind, column), KINDS[kind][2]
    labels = labels_of(kind, len(ROWS))
    target = laid_out(labels, column)
    found = task.repeated(task.constant(target), target)
    for row, k in enumerate(ROWS.tolist()):
        own = one.constant(labels[k == ROWS])
        here = found[row] if column else found[row].unflatten(0, (3, -1))[k]
        torch.testing.assert_close(one.decode(here[None]), one.decode(own[None]), atol=1e-5, rtol=1e-5)


def test_a_member_without_training_labels_has_the_constant_of_all() -> None:
    task = ManyBinary("y", MEMBERS, "user")
    constant = task.constant(of_members(torch.tensor([1, 1, 0, 0]), torch.tensor([0, 0, 0, 1])))
    assert constant.sigmoid().tolist() == pytest.approx([2 / 3, 0.0, 0.5], abs=1e-5)


# --- heads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [0, 5])
@pytest.mark.parametrize("common", [True, False])
def test_the_row_s_own_head_is_one_of_all_heads(hidden: int, common: bool) -> None:
    torch.manual_seed(0)
    every = MemberHeads(4, 3, 2, common=common, hidden=hidden)
    for parameter in every.parameters():
        torch.nn.init.normal_(parameter)
    own = MemberHeads(4, 3, 2, "user", common=common, hidden=hidden)
    own.load_state_dict(every.state_dict())
    z = torch.randn(len(ROWS), 4)
    expected = every(z).unflatten(1, (3, 2))[torch.arange(len(ROWS)), ROWS]
    torch.testing.assert_close(own(z, {"user": ROWS}), expected)
    torch.testing.assert_close(own(z, {"user": ROWS[:, None].to(torch.uint8)}), expected)


def test_heads_begin_as_linear_layers_or_where_the_common_part_is() -> None:
    heads = MemberHeads(9, 500, 1)
    assert heads.outer is not None
    weight = heads.outer.weight
    assert float(weight.detach().abs().max()) <= 1 / 3
    assert float(weight.detach().std()) == pytest.approx(1 / 3 / math.sqrt(3), rel=0.05)  # uniform, as nn.Linear(9, 1)
    near = MemberHeads(9, 500, 1, "user", common=True)
    z = torch.randn(2, 9)
    assert near.common is not None
    torch.testing.assert_close(near(z, {"user": torch.tensor([1, 400])}), near.common(z))


def test_only_heads_of_the_rows_learn() -> None:
    heads = MemberHeads(4, 3, 1, "user")
    heads(torch.randn(2, 4), {"user": torch.tensor([2, 0])}).sum().backward()
    assert heads.outer is not None
    assert heads.outer.weight.grad.abs().sum((1, 2)).gt(0).tolist() == [True, False, True]


def test_a_thousand_members_are_no_thousand_objects() -> None:
    task = ManyRegression("y", 1000, "user")
    head = task.head(8)
    assert len(list(head.parameters())) == 4  # the common head and the own ones, weights and biases each
    assert head(torch.randn(3, 8), {"user": torch.tensor([0, 5, 999])}).shape == (3, 1)


# --- what people read ------------------------------------------------------------------------------------------------


def test_columns_of_a_table_say_whose_they_are() -> None:
    assert list(ManyRegression("y", MEMBERS, unit="h").columns(torch.zeros(1, 3))) == [
        "y: ann [h]",
        "y: bob [h]",
        "y: cy [h]",
    ]
    assert ManyBinary("y", MEMBERS, "user").columns(torch.zeros(1, 1)) == {"y: probability": [0.5]}
    found = ManyMultiClass("y", 2, classes=("no", "yes")).columns(torch.tensor([[0.0, 0.0, 9.0, 0.0]]))
    assert found["y: 1"] == ["no"]
    assert found["y: 0: probability of yes"] == [0.5]


@kinds
@layouts
def test_it_is_plain_data_and_can_be_copied(kind: str, column: str) -> None:
    task = many(kind, column).fitted(laid_out(labels_of(kind, len(ROWS)), column))
    told = task.describe()
    again = type(task)(**{name: value for name, value in told.items() if name != "kind"})
    assert again == task
    assert copy.deepcopy(task) == task


# --- bad input -------------------------------------------------------------------------------------------------------


def test_bad_input_is_told() -> None:
    rows, columns = many("number", "user"), many("binary")
    good = of_members(torch.tensor([1.0, 2.0]), torch.tensor([0, 1]))
    with pytest.raises(PolytaskError, match=r"has 3 members, numbers 0 to 2; got 3 in 1 rows"):
        rows.fitted(of_members(torch.tensor([1.0, 2.0]), torch.tensor([0, 3])))
    with pytest.raises(PolytaskError, match="row 1 has a label or a member, not both"):
        rows.check(torch.cat([good, torch.tensor([[NAN, 1.0]])])[[0, 2]])
    with pytest.raises(PolytaskError, match=r"expects targets of shape \[rows, 2\]"):
        rows.check(torch.zeros(4))
    with pytest.raises(PolytaskError, match=r"expects targets of shape \[rows, 3\]"):
        columns.check(torch.zeros(4, 2))
    with pytest.raises(PolytaskError, match=r"got torch.int64; make them with tasks.of_members"):
        rows.check(torch.zeros(4, 2, dtype=torch.long))
    with pytest.raises(PolytaskError, match="labels 0 to 1, got 2"):
        columns.check(torch.tensor([[0, 2, -100]]))
    with pytest.raises(PolytaskError, match="one value only"):
        rows.fitted(of_members(torch.ones(2), torch.tensor([0, 1])))
    with pytest.raises(PolytaskError, match="has no label at all"):
        rows.fitted(torch.full((3, 2), NAN))
    with pytest.raises(PolytaskError, match="members with different names"):
        ManyBinary("y", ("a", "a"))
    with pytest.raises(PolytaskError, match="a label and a member for every row"):
        of_members(torch.zeros(3), torch.zeros(2))


def test_heads_say_which_input_they_lack() -> None:
    heads = MemberHeads(4, 3, 1, "user")
    with pytest.raises(PolytaskError, match=r"an input 'user' .* got Tensor"):
        heads(torch.zeros(1, 4), torch.zeros(1, 4))
    with pytest.raises(PolytaskError, match=r"numbers 0 to 7, expected 0 to 2"):
        heads(torch.zeros(2, 4), {"user": torch.tensor([0, 7])})
