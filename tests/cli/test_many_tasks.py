"""Many small tasks from the command line: described, compared, trained, scored again, exported."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch

from polytask import sharing, study, tasks, training
from polytask.cli.saved import SavedRun
from polytask.data import TensorData
from polytask.data.tables import TablePreprocessing, infer
from polytask.problems import Problem, many_sines

Run = Callable[..., tuple[int, str, str]]
FEW = "many_sines(members=8, rows=20)"
ONE = ["--budget.epochs", "1"]


def test_members_are_described(run: Run) -> None:
    code, out, _ = run("describe", FEW, "--balancers", "Equal")
    assert code == 0
    assert "y stands for 8 tasks" in out
    assert "y, all 8 members" in out
    assert "Nothing is shared" not in out


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


@pytest.mark.parametrize("columns", [False, True])
def test_heads_of_members_are_exported(run: Run, tmp_path: Path, columns: bool) -> None:
    few = f"many_sines(members=8, rows=20, columns={columns})"
    assert run("train", few, *ONE, "--out", tmp_path / "run")[0] == 0
    code, _, err = run("export", tmp_path / "run", "--formats", "torch", "--apart", "no", "--decoded", "yes")
    assert code == 0, err
    inputs = many_sines(members=8, rows=20, columns=columns).splits["test"].gather(torch.tensor([0, 21, 159])).inputs
    (found,) = torch.export.load(tmp_path / "run" / "export" / "all-tasks.pt2").module()(inputs)
    saved = SavedRun.open(tmp_path / "run")
    torch.testing.assert_close(found, saved.tasks[0].decode(saved.model(inputs)["y"]))


# --- predictions for a table -----------------------------------------------------------------------------------------

MEMBERS = ("ann", "bob", "cy")


def of_a_table(folder: Path, column: str, architecture: type = sharing.HardSharing) -> Path:
    """A run of a problem made in Python, whose inputs are those of a table, and the table."""
    generator = torch.Generator().manual_seed(0)
    age, user = torch.randn(60, generator=generator), torch.arange(60) % 3
    frame = pl.DataFrame({"age": age.tolist(), "job": ["cook", "nurse"] * 30})
    preprocessing = TablePreprocessing.fit(frame, infer(frame)[1].columns)
    inputs, likes = preprocessing.transform(frame), (age + user > 1).long()
    target = tasks.of_members(likes, user) if column else likes[:, None].expand(-1, 3).clone()
    whole = TensorData(inputs | ({column: user} if column else {}), {"likes": target})
    table = sharing.TableInputs(len(preprocessing.features), preprocessing.cardinalities)
    posed = Problem(
        "users",
        (tasks.ManyBinary("likes", MEMBERS, column).fitted(target),),
        {split: whole.select(torch.arange(60)[k::3]) for k, split in enumerate(("train", "validation", "test"))},
        sharing.MLP(table, widths=(8,)),
        preprocessing=preprocessing,
    )
    study.train(study.Job(posed, study.Arm(architecture), 0, training.Budget(epochs=1, batch_size=16)), folder)
    frame.head(4).write_csv(folder / "new.csv")
    return folder


def test_a_table_is_predicted_with_a_column_for_every_member(run: Run, tmp_path: Path) -> None:
    folder = of_a_table(tmp_path / "run", "")
    code, _, err = run("predict", folder, folder / "new.csv", "--out", tmp_path / "found.csv")
    assert code == 0, err
    found = pl.read_csv(tmp_path / "found.csv")
    saved = SavedRun.open(folder)
    inputs = TablePreprocessing.from_json(json.loads((folder / "preprocessing.json").read_text())).transform(found)
    expected = saved.tasks[0].decode(saved.model(inputs)["likes"])
    shown = found.select(f"predicted likes: {name}: probability" for name in MEMBERS).to_torch()
    torch.testing.assert_close(shown.float(), expected.detach())


@pytest.mark.parametrize("architecture", [sharing.HardSharing, sharing.Separate])
def test_rows_of_which_a_table_does_not_say_whose_they_are_are_refused(
    run: Run, tmp_path: Path, architecture: type
) -> None:
    folder = of_a_table(tmp_path / "run", "user", architecture)
    code, _, err = run("predict", folder, folder / "new.csv", "--out", tmp_path / "found.csv")
    assert code == 2
    assert "expected an input 'user' that says which member every row belongs to" in err
    assert "predict rows of a table from Python" in err
    assert not (tmp_path / "found.csv").exists()


def test_one_network_for_all_members_predicts_a_table_without_them(run: Run, tmp_path: Path) -> None:
    folder = of_a_table(tmp_path / "run", "user", sharing.Pooled)
    code, _, err = run("predict", folder, folder / "new.csv", "--out", tmp_path / "found.csv")
    assert code == 0, err
    assert "predicted likes: probability" in pl.read_csv(tmp_path / "found.csv").columns


def test_a_problem_without_a_table_is_not_predicted(run: Run, tmp_path: Path) -> None:
    assert run("train", FEW, *ONE, "--out", tmp_path / "run")[0] == 0
    (tmp_path / "new.csv").write_text("x\n1\n")
    code, _, err = run("predict", tmp_path / "run", tmp_path / "new.csv")
    assert code == 2
    assert "which is no table" in err
