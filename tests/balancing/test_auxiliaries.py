"""Balancers that treat auxiliary tasks otherwise than main ones: by hand, and what they promise."""

import math
from statistics import median

import pytest
import torch
from torch import Tensor

from polytask.balancing import (
    GradientSimilarity,
    Normalized,
    PCGrad,
    Preference,
    Step,
    TaskwiseStopping,
    backward,
)
from polytask.balancing.gramian.gradient_similarity import similarity_weights
from polytask.balancing.losses.taskwise_stopping import stopping_measure
from polytask.errors import PolytaskError
from polytask.tasks import Regression

TASKS = [Regression("depth"), Regression("edges", auxiliary=True), Regression("colour", auxiliary=True)]


def gram(*rows: list[float]) -> Tensor:
    jacobian = torch.tensor(rows, dtype=torch.float64)
    return jacobian @ jacobian.T


def step(*names: str) -> Step:
    return Step(names, torch.ones(len(names)))


# --- which tasks are auxiliary ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [GradientSimilarity, TaskwiseStopping])
@pytest.mark.claim("the tasks that are marked auxiliary are found", GradientSimilarity, TaskwiseStopping)
def test_marked_tasks_are_auxiliary(method: type) -> None:
    balancer = method()
    balancer.bind(TASKS)
    assert balancer.helpers == ("edges", "colour") and balancer.lacks == ""
    named = method(auxiliary=["depth"])  # what is named goes before what is marked
    named.bind(TASKS)
    assert named.helpers == ("depth",)


@pytest.mark.parametrize("method", [GradientSimilarity, TaskwiseStopping])
def test_what_is_not_there_is_told(method: type) -> None:
    with pytest.raises(PolytaskError, match=r"place among the auxiliary tasks for task 'edge', .*did you mean 'edges'"):
        method(auxiliary=["edge"]).bind(TASKS)
    with pytest.raises(PolytaskError, match=r"give a list of auxiliary tasks, \['edges'\]"):
        method(auxiliary="edges")
    alone = method()
    alone.bind(TASKS[:1])
    assert "mark a task (auxiliary=True), or name it" in alone.lacks
    wrapped = Normalized(GradientSimilarity())
    wrapped.bind(TASKS[:1])
    assert "auxiliary=True" in wrapped.lacks and PCGrad().lacks == ""


# --- gradient similarity ---------------------------------------------------------------------------------------------


@pytest.mark.claim("weights by hand: the cosine, its sign, 0 where it is negative", GradientSimilarity)
def test_cosines_by_hand() -> None:
    # at 0, 60, 180 and 90 degrees from the main gradient, of all lengths
    half = math.sqrt(3) / 2
    gramian = gram([2.0, 0.0], [3.0, 0.0], [0.05, 0.1 * half], [-9.0, 0.0], [0.0, 1.0])
    main = torch.tensor([True, False, False, False, False])
    assert similarity_weights(gramian, main).tolist() == pytest.approx([1.0, 1.0, 0.5, 0.0, 0.0])
    assert similarity_weights(gramian, main, weighted=False).tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.claim("several main tasks: against their sum, or against each of them", GradientSimilarity)
def test_several_main_tasks() -> None:
    gramian = gram([3.0, 0.0], [0.0, 4.0], [-3.0, 4.0])  # the third opposes the first, and agrees with the sum
    main = torch.tensor([True, True, False])
    assert similarity_weights(gramian, main)[2].item() == pytest.approx((16 - 9) / 25)
    assert similarity_weights(gramian, main, against="each")[2].item() == 0.0
    friendly = gram([3.0, 0.0], [0.0, 4.0], [3.0, 4.0])
    assert similarity_weights(friendly, main, against="each")[2].item() == pytest.approx(3 / 5)  # and 4 / 5
    silent = gram([0.0, 0.0], [0.0, 4.0], [3.0, 4.0])  # a main task without a gradient is opposed by nobody
    assert similarity_weights(silent, main, against="each")[2].item() == pytest.approx(4 / 5)


def test_without_a_main_gradient_auxiliaries_have_weight_0() -> None:
    balancer = GradientSimilarity(auxiliary=["b", "c"])
    assert balancer.weights(gram([0.0, 0.0], [1.0, 2.0]), step("a", "b")).tolist() == [1.0, 0.0]
    assert balancer.weights(gram([1.0, 0.0], [1.0, 2.0]), step("b", "c")).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("against", ["sum", "each"])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.claim("no step points against the main gradient", GradientSimilarity)
def test_never_against_the_main_task(against: str, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        rows = torch.randn(5, 3, generator=generator, dtype=torch.float64)
        main = torch.tensor([True, True, False, False, False])
        weights = similarity_weights(rows @ rows.T, main, weighted, against)
        goal, direction = rows[:2].sum(0), weights @ rows
        helped = direction - goal
        assert helped @ goal >= -1e-12
        if against == "each":
            assert (rows[:2] @ helped).min() >= -1e-12


@pytest.mark.claim(
    "training ends at a minimum of the main loss, wherever the auxiliary one has its own", GradientSimilarity
)
def test_ends_at_the_minimum_of_the_main_loss() -> None:
    """Main (x - 10)^2, auxiliary x^2, from -20: both fall until 0, from there on they oppose each other."""
    ends = {}
    for name, balancer in {"similar": GradientSimilarity(auxiliary=["b"]), "sum": PCGrad()}.items():
        x = torch.tensor([-20.0], dtype=torch.float64, requires_grad=True)
        seen = []
        for _ in range(600):
            x.grad = None
            told = backward({"a": (x - 10).square().sum(), "b": x.square().sum()}, balancer, shared=[x])
            seen.append(told.weights[1].item())
            with torch.no_grad():
                x -= 0.01 * x.grad
        ends[name] = x.item()
        if name == "similar":
            assert seen[0] == 1.0 and seen[-1] == 0.0
    assert ends["similar"] == pytest.approx(10.0, abs=0.05) and ends["sum"] < 9.9


@pytest.mark.claim("a head learns while its task has weight 0", GradientSimilarity)
def test_heads_keep_their_gradient() -> None:
    trunk, own = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    losses = {"a": trunk.sum(), "b": (-trunk * own).sum()}
    told = backward(losses, GradientSimilarity(auxiliary=["b"]), shared=[trunk])
    assert told.weights.tolist() == [1.0, 0.0]
    assert trunk.grad.item() == 1.0 and own.grad.item() == -1.0


def test_a_factor_by_preference_changes_no_cosine() -> None:
    balancer = Preference({"b": 0.3}, GradientSimilarity(auxiliary=["b"]))
    weights = balancer.weights(gram([2.0, 0.0], [1.0, math.sqrt(3)]), step("a", "b"))
    assert weights.tolist() == pytest.approx([1.0, 0.3 * 0.5])


def test_names_are_needed() -> None:
    with pytest.raises(PolytaskError, match=r"knows its auxiliary tasks \(b\) by name: give the names of all 2"):
        GradientSimilarity(auxiliary=["b"]).weights(gram([1.0], [1.0]))
    with pytest.raises(PolytaskError, match="has no against='all'"):
        GradientSimilarity(against="all")


# --- task-wise early stopping ----------------------------------------------------------------------------------------


def as_published(train: list[float], validation: float, k: int, importance: float) -> float:
    """Zhang et al. 2014, eq. 5, symbol by symbol."""
    t = len(train)
    strip = [train[j - 1] for j in range(t - k, t + 1)]
    first = k * median(strip) / (sum(strip) - k * median(strip))
    return first * (validation - min(train)) / (importance * min(train))


@pytest.mark.claim("the criterion of eq. 5, symbol by symbol", TaskwiseStopping)
def test_measure_is_the_published_one() -> None:
    falling = [3.0, 2.0, 1.5, 1.25, 1.2, 1.18]
    for k in (1, 2, 4):
        for importance in (0.5, 2.0):
            found = stopping_measure(falling, 1.6, k, importance)
            assert found == pytest.approx(as_published(falling, 1.6, k, importance))
    assert stopping_measure([7.0, 2.0, 2.0, 2.0, 2.0], 3.0, 3) == pytest.approx(3 * 0.5)  # flat: k
    assert stopping_measure([8.0, 4.0, 3.0, 2.0], 4.0, 2) == pytest.approx(2 * 1.0)  # in a line: k too
    assert stopping_measure([16.0, 4.0, 2.0], 4.0, 2) < 1.0  # falling fast at first


def test_measure_where_the_formula_has_no_value() -> None:
    assert stopping_measure([1.0, 1.0, 1.0, 0.0, 0.0], 5.0, 4) == 0.0  # 3 - 4 < 0: it has just fallen
    assert stopping_measure([1.0, 0.0, 0.2, 0.1, 0.1], 0.3, 2) == math.inf
    assert stopping_measure([0.0, 0.0, 0.0], 0.3, 2) == 0.0


@pytest.mark.claim("main tasks go on, auxiliary ones stop for good, important ones later", TaskwiseStopping)
def test_who_stops_when() -> None:
    balancer = TaskwiseStopping(2, 1.2, {"colour": 2.0})
    balancer.bind(TASKS)
    for epoch in range(1, 7):
        error = dict.fromkeys(("depth", "edges", "colour"), 1.0)
        balancer.judged(error, dict.fromkeys(error, 1.0 + 0.25 * epoch))
        if epoch == 2:
            assert balancer.stopped == {}  # an epoch short of a strip
    assert balancer.stopped == {"edges": 3, "colour": 5}  # 2 0.75 > 1.2, and 2 1.25 / 2 > 1.2
    for _ in range(4):
        balancer.judged(dict.fromkeys(error, 1.0), dict.fromkeys(error, 0.5))
    assert balancer.stopped == {"edges": 3, "colour": 5}
    losses = torch.tensor([1.0, 10.0, 100.0])
    assert balancer.total(losses, ["depth", "edges", "colour"]).item() == 1.0


def test_importance_weighs_the_loss() -> None:
    balancer = TaskwiseStopping(importances={"colour": 2.0})
    balancer.bind(TASKS)
    assert balancer.total(torch.tensor([1.0, 10.0, 100.0]), ["depth", "edges", "colour"]).item() == 211.0


def test_an_epoch_that_did_not_see_a_task_does_not_count_for_it() -> None:
    balancer = TaskwiseStopping(1, 0.1, auxiliary=["b"])
    for train in ({"b": 1.0}, {}, {}, {"b": 1.0}):
        assert not balancer.stopped
        balancer.judged(train, {"b": 2.0})
    assert balancer.stopped == {"b": 4}


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"strip": 0}, "strip of TaskwiseStopping must be at least 1 epoch, got 0"),
        ({"threshold": 0.0}, "threshold of TaskwiseStopping must be positive"),
        ({"importances": {"b": -1.0}}, "importances of TaskwiseStopping must be positive numbers"),
    ],
)
def test_settings_are_checked(settings: dict, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        TaskwiseStopping(**settings)


def test_a_negative_loss_is_no_error() -> None:
    balancer = TaskwiseStopping(auxiliary=["b"])
    with pytest.raises(PolytaskError, match=r"the mean loss of 'b' is -0\.5: take a loss that is 0 at best"):
        balancer.judged({"b": -0.5}, {"b": 1.0})
    with pytest.raises(PolytaskError, match="importance for task 'depth'"):
        TaskwiseStopping(importances={"depth": 2.0}).bind(TASKS)


def test_what_is_judged_reaches_the_balancer_within() -> None:
    class Listening(GradientSimilarity):
        def judged(self, train, validation) -> None:
            told.append((train, validation))

    told: list = []
    Normalized(Listening()).judged({"a": 1.0}, {"a": 2.0})
    assert told == [({"a": 1.0}, {"a": 2.0})]
