"""Tasks that a network never saw: scored by descriptors alone, nothing of their own labels is used."""

import json
import math
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch

from polytask import study
from polytask.data import TensorData, mixture
from polytask.errors import PolytaskError
from polytask.evaluation import Interval
from polytask.problems import Problem
from polytask.sharing import MLP, HardSharing
from polytask.study import UnseenSummary
from polytask.study.report.numbers import fixed
from polytask.study.report.unseen import render, write
from polytask.study.unseen import one_scale
from polytask.study.untold import CONSTANT, NOT_TOLD, OWN, TOLD, UnseenTask, gain_of, mean_of, told_of, verdict
from polytask.tasks import Regression

LEFT_OUT = [["task 2", "task 5"]]
BUDGET = {"epochs": 6, "batch_size": 50, "learning_rate": 0.02}


def rows(task: str, descriptor: tuple[float, ...], number: int, seed: int) -> TensorData:
    x = torch.randn(number, 2, generator=torch.Generator().manual_seed(seed))
    return TensorData(x, {task: x @ torch.tensor(descriptor) + 5})


@pytest.fixture(scope="module")
def few() -> Problem:
    """y = a x1 + b x2 + 5 with descriptor (a, b): six tasks around a circle."""
    angles = {f"task {k + 1}": k * math.pi / 3 for k in range(6)}
    told = {name: (math.cos(angle), math.sin(angle)) for name, angle in angles.items()}
    splits = {
        split: mixture({name: rows(name, told[name], number, 10 * k + first) for k, name in enumerate(told)})
        for first, (split, number) in enumerate({"train": 200, "validation": 50, "test": 200}.items())
    }
    tasks = [Regression(name, descriptor=told[name]).fitted(splits["train"].targets[name]) for name in told]
    return Problem("circle", tuple(tasks), splits, MLP(2, widths=(32,)))


@pytest.fixture(scope="module")
def found(few: Problem, tmp_path_factory: pytest.TempPathFactory) -> study.Unseen:
    return study.unseen(few, LEFT_OUT, seeds=1, budget=BUDGET, folder=tmp_path_factory.mktemp("unseen"), jobs=1)


def test_descriptors_tell_a_network_what_to_do(found: study.Unseen) -> None:
    summary = found.summary
    assert [task.task for task in summary.tasks] == ["task 2", "task 5"]
    for task in summary.tasks:
        error = {way: scores["mae"].mean for way, scores in task.scores.items()}
        assert error["told"] < 0.7 * error["not told"]
        assert error["own labels"] < error["told"]
    assert summary.gain.mean == pytest.approx(sum(task.gain.mean for task in summary.tasks) / 2)
    assert UnseenSummary.from_json(json.loads((found.folder / "unseen.json").read_text())) == summary
    with pytest.raises(PolytaskError, match="not the results of a study of unseen tasks"):
        UnseenSummary.from_json({"tasks": [], "verdict": []})


def test_labels_of_the_tasks_left_out_change_nothing_but_their_own_network(
    few: Problem, found: study.Unseen, tmp_path: Path
) -> None:
    def otherwise(data: TensorData) -> TensorData:
        other = {name: 1 - each * each if name in LEFT_OUT[0] else each for name, each in data.targets.items()}
        return TensorData(data.inputs, other)

    changed = replace(few, splits=few.splits | {name: otherwise(few.splits[name]) for name in ("train", "validation")})
    again = study.unseen(changed, LEFT_OUT, seeds=1, budget=BUDGET, folder=tmp_path, jobs=1)
    for now, before in zip(again.summary.tasks, found.summary.tasks, strict=True):
        for way in ("constant", "not told", "told"):
            assert now.scores[way] == before.scores[way]
        assert now.scores["own labels"] != before.scores["own labels"]


def test_the_constant_is_the_mean_of_the_labels_of_the_other_tasks(few: Problem, found: study.Unseen) -> None:
    train, test = few.splits["train"].targets, few.splits["test"].targets
    others = torch.cat([train[f"task {k}"] for k in (1, 3, 4, 6)]).nanmean()
    expected = (test["task 2"] - others).abs().nanmean()
    assert found.summary.tasks[0].scores["constant"]["mae"].mean == pytest.approx(float(expected), rel=1e-5)


def test_one_scale_is_that_of_all_tasks_together(few: Problem) -> None:
    posed = one_scale(few.only("task 1", "task 2"))
    labels = torch.cat([few.splits["train"].targets[f"task {k}"] for k in (1, 2)])
    labels = labels[~labels.isnan()]
    for task, own in zip(posed.tasks, few.tasks, strict=False):
        assert task.decode(torch.zeros(1, 1)).item() == pytest.approx(float(labels.mean()), rel=1e-5)
        assert (task.name, task.descriptor) == (own.name, own.descriptor)


def test_a_study_goes_on_where_it_was(few: Problem, found: study.Unseen) -> None:
    seen: list[Any] = []
    study.unseen(
        few, LEFT_OUT, seeds=1, budget=BUDGET, folder=found.folder, jobs=1,
        on_record=lambda record, over, all_: seen.append(record["seconds"]),
    )  # fmt: skip
    assert sorted(seen) == sorted(record["seconds"] for record in found.records)


def test_tasks_are_told_in_the_order_of_the_problem_and_networks_by_their_group(few: Problem, tmp_path: Path) -> None:
    groups = [["task 6", "task 3"], ["task 1"]]
    again = study.unseen(few, groups, seeds=[3, 4], budget={**BUDGET, "epochs": 1}, folder=tmp_path, jobs=1)
    assert [task.task for task in again.summary.tasks] == ["task 1", "task 3", "task 6"]
    assert again.summary.groups == (("task 6", "task 3"), ("task 1",))
    arms = list(dict.fromkeys(record["arm"] for record in again.records))
    assert arms == [
        *("not told, without 2 tasks (group 1)", "not told, without 1 task (group 2)"),
        *("told, without 2 tasks (group 1)", "told, without 1 task (group 2)"),
        "single-task",
    ]
    own = [record["scores"]["test"]["task 3"]["mae"] for record in again.records if record["tasks"] == ["task 3"]]
    assert again.summary.tasks[1].scores["own labels"]["mae"].mean == pytest.approx(sum(own) / 2)


WAYS = {"auroc": True, "accuracy": True}
SURE, OTHER, NONE = Interval(4.0, 3.0, 5.0, 3), Interval(-2.0, -6.0, 2.0, 3), Interval(math.nan, None, None, 3)


def scores_of(told: list[float | None], own: float | None = 0.9) -> dict[str, dict[int, dict[str, float | None]]]:
    """AUROC of a network that is told by seed; accuracy is 0.6 against 0.5."""
    return {
        CONSTANT: {seed: {"auroc": 0.5, "accuracy": 0.5} for seed in range(len(told))},
        NOT_TOLD: {seed: {"auroc": 0.5, "accuracy": 0.5} for seed in range(len(told))},
        TOLD: {seed: {"auroc": each, "accuracy": 0.6} for seed, each in enumerate(told)},
        OWN: {seed: {"auroc": own, "accuracy": 0.9} for seed in range(len(told))},
    }


def test_a_metric_without_a_score_with_one_seed_counts_with_none() -> None:
    whole, lost = scores_of([0.6, 0.7]), scores_of([0.6, math.nan], None)
    assert [gain_of(whole, TOLD, NOT_TOLD, WAYS, seed) for seed in (0, 1)] == pytest.approx([20.0, 30.0])
    assert [gain_of(lost, TOLD, NOT_TOLD, WAYS, seed) for seed in (0, 1)] == pytest.approx([20.0, 20.0])
    told = told_of("a", lost, WAYS, (0, 1), 0.95)
    assert math.isnan(told.scores[OWN]["auroc"].mean) and told.short_of.mean == pytest.approx(50.0)
    assert math.isnan(gain_of(lost, TOLD, NOT_TOLD, {"auroc": True}, 0))


def test_the_mean_is_over_the_tasks_whose_gain_can_be_computed() -> None:
    assert mean_of([1.0, math.nan, 3.0]) == 2.0 and math.isnan(mean_of([math.nan]))


def untold(*found: tuple[Interval, Interval]) -> list[UnseenTask]:
    return [UnseenTask(f"task {k}", {}, gain, short_of) for k, (gain, short_of) in enumerate(found)]


def test_words_follow_from_the_intervals() -> None:
    assert verdict(untold((SURE, SURE), (OTHER, SURE)), SURE, SURE, 0.95) == (
        "Descriptors told the network what to do on tasks that it never saw: they scored +4.0 % against the same "
        "network that was not told (95 % interval +3.0 to +5.0 %).",
        "Of 2 tasks left out, 1 gained and 0 lost, each by its own interval.",
        "Single-task networks trained on the tasks' own labels scored +4.0 % against told ones.",
        "Figures are of test data. 2 intervals were looked at; by chance alone about 0.1 of them would leave 0 out.",
    )


def test_what_can_not_be_computed_is_told_as_such() -> None:
    head, by_task, own = verdict(untold((SURE, NONE), (NONE, SURE), (NONE, SURE)), SURE, SURE, 0.95)
    assert head.endswith("+5.0 %), mean over the 1 of 3 tasks where that can be computed.")
    assert by_task == "Of 3 tasks left out, 1 gained and 0 lost, each by its own interval."
    assert own.endswith("against told ones, mean over the 2 of 3 tasks where that can be computed.")
    nothing = verdict(untold((NONE, NONE)), NONE, NONE, 0.95)
    assert len(nothing) == 2 and nothing[0].startswith("No figure") and "no figure" in nothing[1]
    assert "seed" not in " ".join(nothing) and "nan" not in " ".join(nothing).lower()


def test_the_page_says_what_was_found(found: study.Unseen, tmp_path: Path) -> None:
    page = write(found.summary, found.records, tmp_path / "deep" / "report.html").read_text()
    text = " ".join(
        re.sub(r"<[^>]+>", " ", re.sub(r"<(style|script)[^>]*>.*?</\1>", " ", page, flags=re.DOTALL)).split()
    )
    for sentence in found.summary.verdict:
        assert sentence in unescape(text)
    for words in (
        "What was asked",
        "One seed, so no intervals",
        "told over not told",
        "own labels",
        "mae ↓",
        "task 2, task 5",
    ):
        assert words in text
    assert "polytask.study.unseen(...)" in text and "src=" not in page and "http" not in page.replace("http-equiv", "")
    shown = [fixed(task.scores["told"]["mae"].mean, 3) for task in found.summary.tasks]
    assert all(f">{each}<" in page for each in shown)


def test_gains_are_drawn_with_their_intervals_and_names_are_escaped(found: study.Unseen) -> None:
    sure = Interval(4.0, 3.0, 5.0, 3)
    first, second = found.summary.tasks
    tasks = (replace(first, task="<b>&", gain=sure), replace(second, gain=Interval(-2.0, -6.0, 2.0, 3)))
    page = render(replace(found.summary, tasks=tasks, gain=sure, seeds=(0, 1, 2)), found.records)
    assert "<b>&amp;" not in page and "&lt;b&gt;&amp;" in page
    assert "&lt;b&gt;&amp;: +4.00 % (95 % interval +3.00 to +5.00)" in page and '<g class="est better">' in page
    assert '<div class="verdict better">' in page and "better than not told" in page
    assert "−2.00 % (95 % interval −6.00 to +2.00)" in page
    blank = render(replace(found.summary, tasks=(replace(first, gain=NONE), second), gain=NONE), found.records)
    assert "nan" not in re.sub(r"<(style|script)[^>]*>.*?</\1>", "", blank, flags=re.DOTALL).lower()


def test_what_can_not_work_is_said_before_anything_is_trained(few: Problem, tmp_path: Path) -> None:
    bare = replace(few, tasks=tuple(replace(task, descriptor=()) for task in few.tasks))
    for problem, left_out, arm, message in (
        (bare, 2, None, "no descriptor"),
        (few, 1, None, "2 to 6 groups"),
        (few, [["task 9"]], None, "no task 'task 9'"),
        (few, [[task.name for task in few.tasks]], None, "nothing is left"),
        (few, [["task 1"], ["task 1"]], None, "each in one group"),
        (few, 2, study.Arm(HardSharing), "can't be told of tasks"),
    ):
        with pytest.raises(PolytaskError, match=message):
            study.unseen(problem, left_out, arm, folder=tmp_path)
    assert not list(tmp_path.iterdir())
