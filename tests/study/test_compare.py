"""`compare`: what is trained, kept, gone on with, told."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from study_cases import BROKEN, BUDGET, problem

from polytask import balancing
from polytask.data import TensorData
from polytask.errors import PolytaskError
from polytask.sharing import HardSharing, Independent
from polytask.study import SINGLE_TASK, Arm, Job, compare, rehearse
from polytask.study.kept import references
from polytask.study.running import workers
from polytask.training import Budget

ARMS = [Arm(balancer=balancing.PCGrad()), Arm(balancer=balancing.Uncertainty())]


def run(folder: Path, arms: Sequence[Arm] = ARMS[:1], seeds: int | Sequence[int] = 2, **options: object):
    return compare(
        options.pop("problem", None) or problem(), arms, seeds, options.pop("budget", None), folder, jobs=1, **options
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory):
    return run(tmp_path_factory.mktemp("study"))


def steps_taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    taken = []
    original = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        taken.append(1)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    return taken


def test_baselines_equal_and_every_arm_with_every_seed(study) -> None:
    assert {(r["arm"], r["seed"], tuple(r["tasks"])) for r in study.records} == {
        *((SINGLE_TASK, seed, (task,)) for seed in (0, 1) for task in ("size", "side")),
        *((arm, seed, ("size", "side")) for seed in (0, 1) for arm in ("HardSharing + Equal", "HardSharing + PCGrad")),
    }
    assert all(record["status"] == "finished" and record["error"] is None for record in study.records)
    assert [arm.name for arm in study.summary.arms] == [SINGLE_TASK, "HardSharing + Equal", "HardSharing + PCGrad"]
    assert sum(arm.chosen for arm in study.summary.arms) == 1 and not study.summary.arms[0].chosen


def test_records_are_complete_json_lines(study) -> None:
    lines = (study.folder / "records.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == study.records
    for record in study.records:
        assert (
            record["schema"] == 1
            and record["problem"] == "tiny"
            and record["baseline"] == (record["arm"] == SINGLE_TASK)
        )
        assert record["sharing"]["class"] == "HardSharing" and record["balancer"]["class"] in ("Equal", "PCGrad")
        assert (
            1 <= record["best_epoch"] <= 2
            and record["parameters"] > 0
            and record["seconds"] > 0
            and record["memory_mib"] > 0
        )
        assert record["steps"] == 4 and len(record["epochs"]) == 2
        for split in ("validation", "test"):
            assert set(record["scores"][split]) == set(record["tasks"])
        for task in record["tasks"]:
            wanted = {"loss", "mae", "rmse"} if task == "size" else {"loss", "accuracy", "f1"}
            assert set(record["scores"]["test"][task]) == wanted
            for epoch in record["epochs"]:
                assert set(epoch["validation"][task]) == wanted and set(epoch["train"][task]) == {"loss", "weight"}
    assert len({record["key"] for record in study.records}) == len(study.records)


def test_same_call_same_results(study, tmp_path: Path) -> None:
    again = run(tmp_path)
    for first, second in zip(study.records, again.records, strict=True):
        assert first["key"] == second["key"] and first["scores"] == second["scores"]


def test_finished_runs_are_not_trained_twice(study, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = steps_taken(monkeypatch)
    seen = []
    again = run(study.folder, on_record=lambda record, done, total: seen.append((done, total)))
    assert not taken and again.records == study.records
    assert seen == [(k, 8) for k in range(1, 9)]


def test_a_larger_study_trains_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, [], seeds=1)
    taken = steps_taken(monkeypatch)
    more = run(tmp_path, ARMS, seeds=1)
    assert len(taken) == 2 * 4 and len(more.records) == 5
    taken.clear()
    run(tmp_path, [], seeds=2)
    assert len(taken) == 3 * 4


def test_an_interrupted_study_goes_on(study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of a run: the same results, and finished runs stay finished."""
    taken: list[int] = []
    original = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        taken.append(1)
        if len(taken) == 15:  # the fourth run, in its second epoch
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    kept = (tmp_path / "records.jsonl").read_text().splitlines()
    assert len(kept) == 3
    taken = steps_taken(monkeypatch)
    again = run(tmp_path)
    assert len(taken) == 32 - 12 - 2  # three runs and an epoch were there
    for first, second in zip(study.records, again.records, strict=True):
        assert first["key"] == second["key"] and first["scores"] == second["scores"]


class Unusable(HardSharing):
    """A user's own architecture that does not work at all."""

    def forward_with_features(self, inputs, tasks=None):
        return {}, inputs["nothing"]


def test_a_network_that_fails_on_two_samples_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match=r"Unusable \+ Equal fails on two samples of tiny: .*Error: .*; look at"):
        run(tmp_path, [Arm(Unusable)], seeds=1)
    assert not (tmp_path / "records.jsonl").exists()


def test_a_failing_arm_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    found = run(tmp_path, [BROKEN, *ARMS[:1]], seeds=1)
    failed = [record for record in found.records if record["status"] == "failed"]
    assert len(failed) == 1 and "a fault of the user's own" in failed[0]["error"]
    assert sum(record["status"] == "finished" for record in found.records) == 4
    broken = next(arm for arm in found.summary.arms if arm.name.startswith("Broken"))
    assert len(broken.failed) == 1 and not broken.scores and broken.delta_m_tasks is None and not broken.chosen
    assert any("Broken" in line and "fail" in line for line in found.summary.verdict)
    lines = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert len(lines) == 5


def test_a_failed_run_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch.optim.AdamW.step

    def fails(self, *args, **kwargs):
        raise RuntimeError("the disk of this machine burns")

    monkeypatch.setattr(torch.optim.AdamW, "step", fails)
    with pytest.raises(PolytaskError, match=r"no seed has all its single-task baselines.*burns"):
        run(tmp_path, seeds=1)
    monkeypatch.setattr(torch.optim.AdamW, "step", original)
    assert all(record["status"] == "finished" for record in run(tmp_path, seeds=1).records)


def test_other_settings_are_other_runs(tmp_path: Path) -> None:
    base = Job(problem(), Arm(), 0, Budget(**BUDGET))
    keys = {base.key}
    for job in (
        Job(problem(), None, 0, Budget(**BUDGET)),
        Job(problem(), Arm(), 1, Budget(**BUDGET)),
        Job(problem(), Arm(balancer=balancing.PCGrad()), 0, Budget(**BUDGET)),
        Job(problem(), Arm(balancer=balancing.PCGrad(seed=1)), 0, Budget(**BUDGET)),
        Job(problem(), Arm(at_features=True), 0, Budget(**BUDGET)),
        Job(problem(), Arm(balancer=balancing.PCGrad(), way="sequential"), 0, Budget(**BUDGET)),
        Job(problem(), Arm(balancer=balancing.PCGrad(), estimate=balancing.LastLayers()), 0, Budget(**BUDGET)),
        Job(problem(), Arm(), 0, Budget(**{**BUDGET, "epochs": 3})),
        Job(problem(rows=91), Arm(), 0, Budget(**BUDGET)),
        Job(problem().only("size"), Arm(), 0, Budget(**BUDGET)),
    ):
        assert job.key not in keys
        keys.add(job.key)
    assert Job(problem(), Arm(), 0, Budget(**BUDGET)).key == base.key


def test_an_arm_of_before_is_described_as_before() -> None:
    """Records and folders from before there were ways and estimates stay valid."""
    usual = Arm(balancer=balancing.PCGrad()).described
    assert usual.keys() == {"sharing", "balancer", "at_features"}
    told = Arm(balancer=balancing.PCGrad(), way="batched", estimate=balancing.LastLayers(0.5))
    assert told.described == usual | {"way": "batched", "estimate": {"class": "LastLayers", "args": {"fraction": 0.5}}}
    assert told.name == "HardSharing + PCGrad by the last 0.5 of the layers (batched)"


def test_what_can_not_work_is_told_before_training(tmp_path: Path) -> None:
    """A way that the network's graph does not allow, features that it does not have."""
    for arm, told in (
        (Arm(Independent, balancing.GREAT()), "Independent has no shared features"),
        (Arm(balancer=balancing.GradDrop(), way="two-pass"), "take way='sequential'"),
    ):
        with pytest.raises(PolytaskError, match=told):
            rehearse(problem(), [arm], Budget(**BUDGET))


def test_auxiliary_tasks_are_reported_apart(tmp_path: Path) -> None:
    found = run(tmp_path, [], seeds=2, problem=problem(auxiliary=True)).summary
    equal = found.arms[1]
    assert set(equal.task_gain) == {"size", "side", "helper"} and set(equal.scores) == {"size", "side", "helper"}
    headline = (equal.task_gain["size"].mean + equal.task_gain["side"].mean) / 2
    assert equal.delta_m_tasks.mean == pytest.approx(headline)
    assert not any("helper" in line for line in found.verdict)
    assert [task.auxiliary for task in found.tasks] == [False, False, True]


def test_the_test_split_changes_no_choice(tmp_path: Path) -> None:
    """Other test data: the same weights, the same best epochs, the same arm chosen."""
    from dataclasses import replace

    one = problem()
    other = replace(one, splits={**one.splits, "test": one.splits["test"].select(torch.arange(5))})
    first, second = run(tmp_path / "a", ARMS), run(tmp_path / "b", ARMS, problem=other)
    for a, b in zip(first.records, second.records, strict=True):
        assert a["scores"]["validation"] == b["scores"]["validation"] and a["best_epoch"] == b["best_epoch"]
        assert a["scores"]["test"] != b["scores"]["test"]
    assert [arm.chosen for arm in first.summary.arms] == [arm.chosen for arm in second.summary.arms]


@pytest.mark.parametrize("seeds", [0, [], [1, 1]])
def test_seeds_that_cannot_be(tmp_path: Path, seeds: object) -> None:
    with pytest.raises(PolytaskError, match=r"seed"):
        run(tmp_path, seeds=seeds)


def test_unknown_setting_of_the_budget(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match="no 'epoch'; did you mean 'epochs'"):
        run(tmp_path, budget={"epoch": 3})


@pytest.mark.parametrize("cores", [1, 2, 3, 8, 17])
@pytest.mark.parametrize("jobs", [None, 1, 2, 5, 64])
def test_jobs_times_threads_never_exceed_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, jobs: int | None
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    processes, threads = workers(jobs)
    assert processes >= 1 and threads >= 1 and processes * threads <= cores
    assert jobs is None or processes <= jobs


def test_jobs_that_cannot_be() -> None:
    with pytest.raises(PolytaskError, match="jobs must be at least 1"):
        workers(0)


def test_networks_of_a_function_without_a_name_are_told_apart() -> None:
    from dataclasses import replace

    from polytask.sharing import MLP

    posed = problem()
    width = posed.splits["train"].inputs.shape[1]
    ways = [lambda: MLP(width, (4,))(), lambda: MLP(width, (8,))()]
    narrow, wide = (Job(replace(posed, backbone=way), Arm(), 0, Budget()) for way in ways)
    before = torch.get_rng_state()
    assert narrow.key != wide.key
    assert torch.equal(before, torch.get_rng_state())


def test_a_task_with_few_labels_takes_as_many_steps_alone_as_together(tmp_path: Path) -> None:
    from dataclasses import replace

    posed = problem()
    task = posed.tasks[0]
    splits = dict(posed.splits)
    targets = dict(splits["train"].targets)
    target = targets[task.name].clone()
    target[len(target) // 4 :] = -100 if not target.is_floating_point() else float("nan")
    splits["train"] = TensorData(splits["train"].inputs, targets | {task.name: target})
    done = compare(
        replace(posed, splits=splits), seeds=1, budget={"epochs": 2, "batch_size": 8}, folder=tmp_path, jobs=1
    )
    assert len({record["steps"] for record in done.records}) == 1


def test_a_baseline_score_that_could_not_be_computed_fails_no_joint_run() -> None:
    record = {
        "baseline": True,
        "status": "finished",
        "seed": 0,
        "scores": {"validation": {"size": {"rmse": 0.5, "mae": None}}},
    }
    [scores] = references([record], problem().only("size")).values()
    assert scores["size"]["rmse"] == 0.5 and math.isnan(scores["size"]["mae"])
