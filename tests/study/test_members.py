"""Many small tasks in training and in a study: resume, balancers, single-task per member, records and the report."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from polytask import sharing
from polytask.balancing import MGDA, Balancer, PCGrad, Uncertainty
from polytask.data import TensorData
from polytask.problems import Problem, many_sines
from polytask.study import Arm, Study, compare
from polytask.study.alone import way_alone
from polytask.study.members import Members, members
from polytask.study.report import render
from polytask.tasks import Regression
from polytask.training import Budget, constant_scores, evaluate, fit

BUDGET = {"epochs": 2, "batch_size": 64}


def beside(columns: bool = False) -> Problem:
    """Many members, one of which has no test label, and an ordinary task with labels in half of the rows."""
    made = many_sines(members=12, rows=20, columns=columns)
    splits = {}
    for name, data in made.splits.items():
        total = data.inputs["numbers"].sum(1)
        total[::2] = math.nan
        target = data.targets["y"].clone()
        if name == "test":
            target[target[:, 1] == 3] = math.nan
            if columns:
                target[:, 3] = math.nan
        splits[name] = TensorData(data.inputs, {"y": target, "total": total})
    task = Regression("total").fitted(splits["train"].targets["total"])
    return Problem("beside", (*made.tasks, task), splits, sharing.MLP(sharing.TableInputs(4), widths=(8,)))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    arms = [Arm(sharing.Pooled), Arm(balancer=Uncertainty())]
    return compare(beside(), arms, seeds=2, budget=BUDGET, folder=tmp_path_factory.mktemp("study"), jobs=1)


def test_members_alone_have_networks_of_their_own(study: Study) -> None:
    alone = [record for record in study.records if record["baseline"] and record["tasks"] == ["y"]]
    assert {record["status"] for record in study.records} == {"finished"}
    assert {record["sharing"]["class"] for record in alone} == {"Separate"}
    assert {record["parameters"] for record in alone} == {12 * (4 * 8 + 8 + 8 + 1)}
    assert way_alone(beside().only("total")).sharing is sharing.HardSharing


def test_records_hold_the_score_of_every_member(study: Study) -> None:
    record = next(each for each in study.records if not each["baseline"])
    told = record["members"]["y"]
    assert tuple(told["labels"]["train"]) == beside().tasks[0].training_labels
    assert [count == 0 for count in told["labels"]["test"]] == [k == 3 for k in range(12)]
    assert told["scores"][3] is None
    known = [each for each in told["scores"] if each is not None]
    assert sum(known) / 11 == pytest.approx(record["scores"]["test"]["y"]["rmse"])
    assert max(known) <= record["scores"]["test"]["y"]["rmse_worst_tenth"] * 2
    assert json.loads(json.dumps(record)) == record


def test_members_without_a_label_are_told() -> None:
    assert beside().all_notes[0] == (
        "task 'y': 1 of 12 members have no label in the test split (3): they have no score there"
    )


def test_members_of_a_study_are_in_order_of_their_labels() -> None:
    def record(arm: str, *scores: float | None) -> dict[str, Any]:
        labels = {"train": [9, 2, 5], "test": [1, 1, 1]}
        told = {"metric": "rmse", "unit": "h", "higher_is_better": False, "names": ["a", "b", "c"], "labels": labels}
        return {"arm": arm, "members": {"y": told | {"scores": list(scores)}}}

    found = members([record("single-task", 1.0, 2.0, 3.0), record("x", 0.5, 1.0, 4.0), record("x", 0.7, None, 4.0)])
    one = found["y"]
    assert one.names == ("b", "c", "a")
    assert one.labels == (2, 5, 9)
    assert one.gains("x")[1:] == pytest.approx((-1.0, 0.4))
    assert math.isnan(one.gains("x")[0])  # one of the seeds has no score


def test_groups_of_members_are_all_of_them() -> None:
    for count in (1, 9, 10, 11, 139):
        names = tuple(map(str, range(count)))
        groups = Members("y", "rmse", "", False, names, (1,) * count, {}).groups()
        assert [k for group in groups for k in group] == list(range(count))
        assert max(map(len, groups)) - min(map(len, groups)) <= 1


def test_the_report_shows_every_member(study: Study) -> None:
    page = render(study.summary, study.records)
    section = page.partition('<section id="members">')[2].partition("</section>")[0]
    assert section.count('<circle class="dot"') == 3 * 11  # three joint arms; one member has no score
    assert "1 members have no score in the test split" in section
    assert "11 members are better than single-task" in section
    assert '<a href="#members">' in page
    plain = [{name: value for name, value in each.items() if name != "members"} for each in study.records]
    assert 'id="members"' not in render(study.summary, plain)


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("balancer", [PCGrad(), MGDA(), Uncertainty()], ids=lambda each: type(each).__name__)
def test_balancers_see_one_task_beside_another(balancer: Balancer, columns: bool) -> None:
    problem = beside(columns)
    model = sharing.HardSharing(problem.backbone, problem.tasks)
    splits = problem.splits
    budget = Budget(epochs=1, batch_size=32)
    fitted = fit(model, problem.tasks, splits["train"], splits["validation"], copy.deepcopy(balancer), budget)
    assert set(fitted.epochs[0]["train"]) == {"y", "total"}
    assert math.isfinite(fitted.score)


@pytest.mark.parametrize("make", [sharing.HardSharing, sharing.Separate])
def test_training_resumes_exactly(make: Any, tmp_path: Path) -> None:
    problem = many_sines(members=6, rows=20)
    train, validation = problem.splits["train"], problem.splits["validation"]

    def weights(folder: Path, *epochs: int) -> dict[str, torch.Tensor]:
        for until in epochs:
            torch.manual_seed(0)
            model = make(problem.backbone, problem.tasks)

            def stop(epoch: dict[str, Any], until: int = until) -> None:
                if epoch["epoch"] == until and until < 2:
                    raise KeyboardInterrupt

            try:
                fit(model, problem.tasks, train, validation, budget=Budget(epochs=2), folder=folder, on_epoch=stop)
            except KeyboardInterrupt:
                continue
        return model.state_dict()

    whole, broken = weights(tmp_path / "whole", 2), weights(tmp_path / "broken", 1, 2)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_scores_do_not_depend_on_the_batches() -> None:
    problem = beside()
    model = sharing.HardSharing(problem.backbone, problem.tasks)
    one = evaluate(model, problem.tasks, problem.splits["test"], batch_size=7)
    other = evaluate(model, problem.tasks, problem.splits["test"], batch_size=500)
    for task, scores in one.items():
        assert scores == pytest.approx(other[task], rel=1e-5)


def test_the_constant_to_beat_is_that_of_every_member() -> None:
    problem = many_sines(members=8, rows=20, spread=3.0)
    (task,), train, test = problem.tasks, problem.splits["train"], problem.splits["test"]
    label, owner = train.targets["y"].unbind(1)
    means = torch.stack([label[owner == k].mean() for k in range(8)])
    label, owner = test.targets["y"].unbind(1)
    errors = [(label[owner == k] - means[k]).square().mean().sqrt() for k in range(8)]
    found = constant_scores([task], train, test)["y"]["rmse"]
    assert found == pytest.approx(float(torch.stack(errors).mean()), rel=1e-5)


def test_truth_has_the_error_that_is_said() -> None:
    """Of one member without spread: all members are one function, and a pooled network comes near the noise."""
    problem = many_sines(members=40, rows=40, spread=0.0, noise=0.3)
    torch.manual_seed(0)
    model = sharing.Pooled(problem.backbone, problem.tasks)
    budget = Budget().updated({**problem.suggested, "epochs": 20})
    fit(model, problem.tasks, problem.splits["train"], problem.splits["validation"], budget=budget)
    found = evaluate(model, problem.tasks, problem.splits["test"])["y"]["rmse"]
    assert 0.27 < found < 0.42
