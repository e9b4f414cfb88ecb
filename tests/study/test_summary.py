"""From records to a summary: arithmetic that can be done by hand."""

import math
from typing import Any

import pytest
from study_cases import problem

from polytask import balancing
from polytask.study import SINGLE_TASK, Arm, Summary, summarise
from polytask.training import Budget, directions

ARMS = [Arm(), Arm(balancer=balancing.PCGrad())]


def record(
    arm: str, seed: int, scores: dict[str, dict[str, float]], validation: dict | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "schema": 1,
        "key": f"{arm}{seed}{list(scores)}",
        "status": "finished",
        "error": None,
        "problem": "tiny",
        "arm": arm,
        "baseline": arm == SINGLE_TASK,
        "tasks": list(scores),
        "seed": seed,
        "scores": {"validation": validation or scores, "test": scores},
        "best_epoch": 1,
        "parameters": 10,
        "seconds": 2.0,
        "memory_mib": 1.0,
        "steps": 1,
        "epochs": [],
    } | more


def size(mae: float, rmse: float) -> dict[str, dict[str, float]]:
    return {"size": {"loss": 9.0, "mae": mae, "rmse": rmse}}


def side(accuracy: float, f1: float) -> dict[str, dict[str, float]]:
    return {"side": {"loss": 9.0, "accuracy": accuracy, "f1": f1}}


def records() -> list[dict[str, Any]]:
    found = []
    for seed, luck in ((0, 1.0), (1, 2.0)):
        found += [record(SINGLE_TASK, seed, size(1.0 * luck, 2.0 * luck)), record(SINGLE_TASK, seed, side(0.5, 0.4))]
        found.append(
            record(
                "HardSharing + Equal", seed, size(0.8 * luck, 1.8 * luck) | side(0.55, 0.4), parameters=12, seconds=3.0
            )
        )
        found.append(
            record(
                "HardSharing + PCGrad",
                seed,
                size(1.1 * luck, 2.2 * luck) | side(0.5, 0.4),
                validation=size(0.1, 0.1) | side(0.9, 0.9),
                parameters=12,
                seconds=5.0,
            )
        )
    return found


def summed(found: list[dict[str, Any]], seeds: tuple[int, ...] = (0, 1)) -> Summary:
    one = problem()
    return summarise(one, directions(one.tasks), ARMS, seeds, Budget(), found, "command")


def test_gains_are_paired_by_seed_and_in_percent() -> None:
    equal = summed(records()).arms[1]
    assert equal.gains["size"]["mae"].mean == pytest.approx(20.0) and equal.gains["size"]["rmse"].mean == pytest.approx(
        10.0
    )
    assert equal.gains["side"]["accuracy"].mean == pytest.approx(10.0) and equal.gains["side"][
        "f1"
    ].mean == pytest.approx(0.0)
    # The scores of seed 1 are twice those of seed 0: paired, the gain does not scatter at all.
    assert equal.gains["size"]["mae"].low == pytest.approx(20.0) and equal.gains["size"]["mae"].high == pytest.approx(
        20.0
    )
    assert equal.scores["size"]["mae"].mean == pytest.approx(1.2)  # own units
    assert "loss" not in equal.gains["size"]
    assert equal.task_gain["size"].mean == pytest.approx(15.0) and equal.task_gain["side"].mean == pytest.approx(5.0)
    assert equal.delta_m_tasks.mean == pytest.approx(10.0) and equal.delta_m_metrics.mean == pytest.approx(10.0)


def test_costs_of_the_baseline_are_those_of_all_its_networks() -> None:
    alone, equal, _ = summed(records()).arms
    assert alone.parameters == 20 and alone.seconds.mean == 4.0 and alone.memory_mib == 2.0
    assert equal.parameters == 12 and equal.seconds.mean == 3.0 and equal.memory_mib == 1.0


def test_the_arm_is_chosen_on_validation_and_judged_on_test() -> None:
    """PCGrad shines on validation data and loses on test data: it is the one that the verdict speaks of."""
    found = summed(records())
    assert [arm.chosen for arm in found.arms] == [False, False, True]
    assert found.arms[2].validation > found.arms[1].validation
    assert found.arms[2].task_gain["size"].mean == pytest.approx(-10.0)
    assert "PCGrad" in found.verdict[0]


def test_ranks_and_tasks_better() -> None:
    alone, equal, pcgrad = summed(records()).arms
    # mae and rmse: Equal, single-task, PCGrad; accuracy: Equal, then a tie; f1: all the same
    assert equal.mean_rank == pytest.approx((1 + 1 + 1 + 2) / 4)
    assert alone.mean_rank == pytest.approx((2 + 2 + 2.5 + 2) / 4) and pcgrad.mean_rank == pytest.approx(
        (3 + 3 + 2.5 + 2) / 4
    )
    assert (equal.tasks_better, equal.tasks_worse) == (2, 0) and (pcgrad.tasks_better, pcgrad.tasks_worse) == (0, 1)


def test_failed_runs_are_left_out_and_told() -> None:
    found = records()
    found[-1] |= {"status": "failed", "error": "it broke"}
    del found[-1]["scores"]
    pcgrad = summed(found).arms[2]
    assert pcgrad.seeds == (0,) and pcgrad.failed == ("seed 1 (size, side): it broke",)
    assert pcgrad.delta_m_tasks.n == 1 and pcgrad.delta_m_tasks.low is None


def test_the_network_to_use_is_the_chosen_one_of_the_first_seed_that_was_finished() -> None:
    found = records()
    network = summed(found).network(found)
    assert network is not None and (network["arm"], network["seed"]) == ("HardSharing + PCGrad", 0)
    network = summed(found, seeds=(1, 0)).network(found)
    assert network is not None and network["seed"] == 1, "the first of those that were asked for"
    broken = next(each for each in found if each["arm"] == "HardSharing + PCGrad" and each["seed"] == 0)
    broken |= {"status": "failed", "error": "it broke", "scores": {}}
    network = summed(found).network(found)
    assert network is not None and (network["arm"], network["seed"]) == ("HardSharing + PCGrad", 1)
    assert summed(found[:2], seeds=(0,)).network(found[:2]) is None


def test_a_seed_without_its_baseline_is_not_compared() -> None:
    found = [
        each
        for each in records()
        if not (each["arm"] == SINGLE_TASK and each["seed"] == 1 and each["tasks"] == ["side"])
    ]
    alone, equal, _ = summed(found).arms
    assert alone.seeds == (0,) and equal.seeds == (0, 1)
    assert equal.delta_m_tasks.n == 1 and equal.scores["size"]["mae"].n == 2


def test_scores_that_could_not_be_computed() -> None:
    found = records()
    for each in found:
        if "side" in each["scores"]["test"]:
            each["scores"]["test"]["side"] = {**each["scores"]["test"]["side"], "f1": None}
    equal = summed(found).arms[1]
    assert math.isnan(equal.scores["side"]["f1"].mean) and math.isnan(equal.gains["side"]["f1"].mean)
    others = [gain.mean for metric, gain in equal.gains["side"].items() if metric != "f1"]
    assert equal.task_gain["side"].mean == pytest.approx(sum(others) / len(others))  # left out, not spoiling the rest
    assert equal.tasks_better == 2 and equal.task_gain["size"].mean == pytest.approx(15.0)


def test_a_baseline_of_zero_spoils_its_own_metric_only() -> None:
    """Against a baseline of F1 = 0 no relative gain exists: the other metrics are still summed up, or at least the
    verdict does not claim that seeds are missing."""
    found = records()
    for each in found:
        if each["tasks"] == ["side"]:
            each["scores"] = {name: side(0.5, 0.0) for name in each["scores"]}
    told = summed(found)
    assert "One seed" not in told.verdict[0] and "nan" not in " ".join(told.verdict).lower()


def test_nothing_finished() -> None:
    found = [{**each, "status": "failed", "error": "no"} for each in records()]
    told = summed(found)
    assert all(not arm.scores and arm.delta_m_tasks is None for arm in told.arms)
    assert "No arm could be compared" in told.verdict[0]


def test_one_seed_claims_nothing() -> None:
    told = summed([each for each in records() if each["seed"] == 0], seeds=(0,))
    assert told.verdict[0].startswith("One seed") and all(arm.tasks_better == arm.tasks_worse == 0 for arm in told.arms)
