"""The verdict follows from the intervals, and from nothing else."""

import math
from dataclasses import replace

import pytest

from polytask.evaluation import Interval
from polytask.study.summary import ArmSummary
from polytask.study.verdict import verdict

AUXILIARY = {"a": False, "b": False, "helper": True}


def arm(
    name: str, delta: Interval | None, chosen: bool = False, baseline: bool = False, tasks: dict | None = None
) -> ArmSummary:
    clear = Interval(1.0, 0.5, 1.5, 3)
    return ArmSummary(
        name=name,
        baseline=baseline,
        sharing="HardSharing",
        balancer="Equal",
        seeds=(0, 1, 2),
        failed=(),
        scores={},
        gains={},
        task_gain={"a": clear, "b": clear, "helper": clear} if tasks is None else tasks,
        delta_m_metrics=delta,
        delta_m_tasks=delta,
        mean_rank=1.0,
        tasks_better=0,
        tasks_worse=0,
        seconds=Interval(2.0, 1.0, 3.0, 3),
        parameters=50,
        memory_mib=1.0,
        chosen=chosen,
        validation=None if baseline else 1.0,
    )


ALONE = replace(arm("single-task", None, baseline=True, tasks={}), parameters=100, seconds=Interval(4.0, 3.0, 5.0, 3))

CASES = {
    "above 0": (Interval(3.0, 0.5, 5.5, 3), "worth it", ("hurt", "No evidence")),
    "barely above 0": (Interval(3.0, 1e-9, 6.0, 3), "worth it", ("hurt", "No evidence")),
    "below 0": (Interval(-3.0, -5.5, -0.5, 3), "hurt", ("worth it", "No evidence")),
    "covers 0": (Interval(3.0, -0.5, 6.5, 3), "No evidence of gain", ("worth it", "hurt")),
    "covers 0, negative mean": (Interval(-3.0, -6.5, 0.5, 3), "No evidence of gain", ("worth it", "hurt")),
    "touches 0 from above": (Interval(3.0, 0.0, 6.0, 3), "No evidence of gain", ("worth it", "hurt")),
    "touches 0 from below": (Interval(-3.0, -6.0, 0.0, 3), "No evidence of gain", ("worth it", "hurt")),
    "one seed, large": (Interval(30.0, None, None, 1), "One seed", ("worth it", "hurt")),
}


@pytest.mark.parametrize("case", CASES)
def test_headline(case: str) -> None:
    found, said, unsaid = CASES[case]
    told = verdict([ALONE, arm("hard", found, chosen=True)], AUXILIARY)
    assert said in told[0] and "hard" in told[0]
    assert not any(word in told[0] for word in unsaid)
    assert f"{abs(found.mean):.1f} %" in told[0]


def test_one_seed_has_no_interval_that_could_cover_0() -> None:
    one, many = Interval(3.0, None, None, 1), Interval(3.0, -1.0, 7.0, 3)
    told = verdict([ALONE, arm("hard", one, chosen=True, tasks={"a": one, "b": one})], AUXILIARY)[1]
    assert told == "Not decided (one seed, no interval): a (+3.0 %), b (+3.0 %)."
    told = verdict([ALONE, arm("hard", many, chosen=True, tasks={"a": many, "b": many})], AUXILIARY)[1]
    assert told.startswith("Not decided (the interval covers 0): a")


def test_unknown_gain_is_not_called_one_seed() -> None:
    """Where a baseline scored 0 no relative gain exists: the verdict must not say that seeds are missing."""
    told = verdict([ALONE, arm("hard", Interval(math.nan, None, None, 3), chosen=True)], AUXILIARY)
    assert "One seed" not in told[0] and "nan" not in " ".join(told).lower()
    assert "worth it" not in told[0] and "hurt" not in told[0]


def test_a_task_without_figure_is_not_called_undecided() -> None:
    clear, none = Interval(1.0, 0.5, 1.5, 3), Interval(math.nan, None, None, 3)
    told = verdict([ALONE, arm("hard", clear, chosen=True, tasks={"a": clear, "b": none, "helper": none})], AUXILIARY)[
        1
    ]
    assert told == (
        "Better: a (+1.0 %); No figure (a score could not be computed, or is 0 for single-task; the mean is over 1 of "
        "2 tasks): b."
    )
    told = verdict([ALONE, arm("hard", none, chosen=True, tasks={"a": none, "b": none})], AUXILIARY)[1]
    assert told == "No figure (a score could not be computed, or is 0 for single-task): a, b."


def test_it_speaks_of_the_arm_chosen_on_validation() -> None:
    """Not of the one that looks best on test data."""
    chosen, lucky = arm("chosen", Interval(1.0, -1.0, 3.0, 3), chosen=True), arm("lucky", Interval(9.0, 8.0, 10.0, 3))
    told = verdict([ALONE, lucky, chosen], AUXILIARY)
    assert "chosen" in told[0] and "lucky" not in told[0] and "No evidence" in told[0]
    assert any("lucky" in line and "Also above" in line for line in told[1:])
    bad = arm("bad", Interval(-9.0, -10.0, -8.0, 3))
    told = verdict([ALONE, bad, chosen], AUXILIARY)
    assert any("bad" in line and "Below" in line for line in told[1:])


def test_tasks_are_better_worse_or_not_decided_by_their_own_intervals() -> None:
    tasks = {
        "a": Interval(2.0, 1.0, 3.0, 3),
        "b": Interval(-2.0, -3.0, -1.0, 3),
        "helper": Interval(50.0, 40.0, 60.0, 3),
    }
    told = " ".join(verdict([ALONE, arm("hard", Interval(0.0, -1.0, 1.0, 3), chosen=True, tasks=tasks)], AUXILIARY))
    assert "Better: a (+2.0 %)" in told and "Worse: b (-2.0 %)" in told
    tasks["b"] = Interval(-2.0, -5.0, 1.0, 3)
    told = " ".join(verdict([ALONE, arm("hard", Interval(0.0, -1.0, 1.0, 3), chosen=True, tasks=tasks)], AUXILIARY))
    assert "Worse" not in told and "b (-2.0 %)" in told


def test_auxiliary_tasks_are_never_in_the_verdict() -> None:
    for case in CASES.values():
        told = verdict([ALONE, arm("hard", case[0], chosen=True)], AUXILIARY)
        assert not any("helper" in line for line in told)


def test_confidence_is_told() -> None:
    told = verdict([ALONE, arm("hard", Interval(3.0, 1.0, 5.0, 3), chosen=True)], AUXILIARY, confidence=0.9)
    assert "90 %" in told[0] and "95" not in told[0]


def test_failures_and_nothing_to_say() -> None:
    failed = replace(arm("broken", None, tasks={}), failed=("seed 0 (a, b): no", "seed 1 (a, b): no"))
    told = verdict([ALONE, failed], AUXILIARY)
    assert "No arm could be compared" in told[0]
    assert "Runs that failed: broken (2). The first says, for seed 0 (a, b): no." in told
    told = verdict([ALONE, arm("hard", Interval(3.0, 1.0, 5.0, 3), chosen=True), failed], AUXILIARY)
    assert "worth it" in told[0] and any("broken (2)" in line for line in told)


def test_costs_are_told() -> None:
    joint = arm("hard", Interval(3.0, 1.0, 5.0, 3), chosen=True)
    told = " ".join(verdict([ALONE, joint], AUXILIARY))
    assert "0.50 times the parameters." in told and "training time" not in told, "2 s against 4 s tell little"
    slow = [replace(each, seconds=replace(each.seconds, mean=10 * each.seconds.mean)) for each in (ALONE, joint)]
    assert "0.50 times the parameters and 0.50 times the training time" in " ".join(verdict(slow, AUXILIARY))


def test_an_arm_that_began_with_trained_networks_has_trained_longer() -> None:
    chosen = arm("stitched", Interval(3.0, 0.5, 5.5, 3), chosen=True)
    told = " ".join(verdict([ALONE, replace(chosen, start_seconds=4.0)], AUXILIARY))
    assert "stitched began where the single-task networks ended and trained on" in told
    assert "trained on" not in " ".join(verdict([ALONE, chosen], AUXILIARY))
