"""Many small tasks from the command line: described, compared, trained, scored again, exported."""

import json
from collections.abc import Callable
from pathlib import Path

import torch

from polytask.cli.saved import SavedRun
from polytask.problems import many_sines

Run = Callable[..., tuple[int, str, str]]
FEW = "many_sines(members=8, rows=20)"
ONE = ["--budget.epochs", "1"]


def test_members_are_described(run: Run) -> None:
    code, out, _ = run("describe", FEW, "--balancers", "Equal")
    assert code == 0
    assert "y stands for 8 tasks" in out


def test_a_network_per_member_is_trained_and_scored_again(run: Run, tmp_path: Path) -> None:
    linear = ["--sharing", "Separate", "--backbone", "Bare(TableInputs(numbers=4))"]
    code, out, err = run("train", FEW, *linear, *ONE, "--out", tmp_path / "run")
    assert code == 0, err
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["parameters"] == 8 * 5
    assert len(record["members"]["y"]["scores"]) == 8
    code, again, _ = run("evaluate", tmp_path / "run")
    assert code == 0
    shown = [line.split() for line in out.splitlines() if " lower " in line]
    assert shown == [line.split() for line in again.splitlines() if " lower " in line]


def test_a_study_of_one_task_that_stands_for_many_is_a_study(run: Run, tmp_path: Path) -> None:
    asked = ["--sharing", "HardSharing", "Pooled", "--seeds", "1", "--jobs", "1", *ONE, "--out", tmp_path / "study"]
    code, out, err = run("compare", FEW, *asked)
    assert code == 0, err
    assert "rmse_worst_tenth" in out
    assert 'id="members"' in (tmp_path / "study" / "report.html").read_text()


def test_heads_of_members_are_exported(run: Run, tmp_path: Path) -> None:
    assert run("train", FEW, *ONE, "--out", tmp_path / "run")[0] == 0
    code, _, err = run("export", tmp_path / "run", "--formats", "torch")
    assert code == 0, err
    inputs = many_sines(members=8, rows=20).splits["test"].gather(torch.tensor([0, 21, 159])).inputs
    (found,) = torch.export.load(tmp_path / "run" / "export" / "all-tasks.pt2").module()(inputs)
    torch.testing.assert_close(found, SavedRun.open(tmp_path / "run").model(inputs)["y"])
