"""What `describe` and `compare` say of labels and leaks, in a terminal of 80 columns."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from polytask.cli import labels
from polytask.cli.named import named_table
from polytask.data import Bookkeeping, TensorData
from polytask.study import Summary
from polytask.tasks import Binary, Depth, MultiClass, Normals, Regression, Task
from polytask.training.folder import read_json

Run = Callable[..., tuple[int, str, str]]
LONG = "a_target_whose_name_does_not_fit_into_eighty_columns_beside_its_figures"
SHORT = ["--budget.epochs", "1", "--budget.batch_size", "64", "--balancers", "Equal"]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def visits(tmp_path: Path) -> Path:
    """A table with a split of its own that divides a group and repeats a row, and the file about it."""
    drawn = random.Random(0)
    lines = [f"age,ward,day,rich,hours,{LONG},fold"]
    for k in range(400):
        fold = "train" if k < 250 else "validation" if k < 325 else "test"
        hours = "" if drawn.random() < 0.5 else f"{drawn.gauss(40, 5):.2f}"
        rich, kind = drawn.choice(["no", "no", "yes"]), drawn.choice("abcdefghijkl")
        lines.append(f"{k}.5,w{k // 10},{2000 + k},{rich},{hours},{kind},{fold}")
    lines[-1] = lines[-1].replace("399.5", "7.5")
    path = tmp_path / "visits.csv"
    path.write_text("\n".join(lines) + "\n")
    (tmp_path / "visits.yaml").write_text(
        f"targets: ['rich:binary', 'hours:regression', '{LONG}:multiclass']\nunits: {{hours: h}}\ngroup: ward\n"
        "split: {column: fold, time: day}\n"
    )
    return path


def test_describe_shows_every_table_within_80_columns(run: Run, visits: Path) -> None:
    code, out, err = run("describe", visits, "--schema", visits.with_suffix(".yaml"), *SHORT)
    assert code == 0, err
    lines = out[: out.index("HardSharing")].splitlines()
    assert max(map(len, lines)) <= 80
    assert any(LONG in line for line in lines), "the name is not broken"
    (rich,) = (line.split() for line in lines if line.startswith("rich ") and "Binary" in line)
    assert rich[2:] == ["250", "100", "%", "75", "100", "%", "75", "100", "%"]
    (hours,) = (line for line in lines if line.startswith("hours, h"))
    assert 38 < float(hours.split()[3]) < 42
    assert any(line.startswith("rich: yes") and line.count("%") == 3 for line in lines)
    both = next(line for line in lines if line.startswith("2 hours")).split()
    assert both[2] == both[3] == both[4], "whoever has hours has all"
    assert "… 7 others, each" in out


def test_describe_and_compare_warn_of_leaks_and_the_report_keeps_it(run: Run, visits: Path, tmp_path: Path) -> None:
    said = ["--schema", visits.with_suffix(".yaml"), "--seeds", "1", "--jobs", "1", "--out", tmp_path / "study"]
    code, out, err = run("compare", visits, *said, *SHORT)
    assert code == 0, err
    words = " ".join(out.split())
    assert "WARNING: 1 of the values of group 'ward' in both validation and test" in words
    assert "WARNING: 1 of 75 test rows (1.3 %) with exactly the inputs of a train row" in words
    notes = Summary.from_json(read_json(tmp_path / "study" / "study.json")).notes
    assert sum(note.startswith("WARNING") for note in notes) == 2
    assert "group &#39;ward&#39;" in (tmp_path / "study" / "report.html").read_text()


def tasks_and_data(count: int) -> Bookkeeping:
    drawn = torch.Generator().manual_seed(0)
    tasks: list[Task] = [Regression(f"task {k}") for k in range(count)]
    targets = {}
    for k, task in enumerate(tasks):
        targets[task.name] = torch.randn(50, generator=drawn)
        targets[task.name][: 10 + k % 30] = float("nan")
    data = TensorData(torch.zeros(50, 1), targets)
    return Bookkeeping(tasks, {"train": data, "validation": data, "test": data})


def test_many_tasks_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    book = tasks_and_data(60)
    labels.counts(book)
    labels.details(book)
    out = capsys.readouterr().out
    assert "… and 40 more tasks, 11 to 40 train labels" in out
    assert "from 11 (task 29, task 0) to 40" in " ".join(out.split())
    assert len(out.splitlines()) < 100


def test_components_of_normals_have_no_unit(capsys: pytest.CaptureFixture[str]) -> None:
    ahead = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(4, 3, 2, 2)
    book = Bookkeeping(
        [Normals("turned"), Depth("far")],
        {"train": TensorData(torch.zeros(4), {"turned": ahead, "far": torch.rand(4, 1, 2, 2) + 1})},
    )
    labels.details(book)
    found = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines() if " train " in line]
    assert found == ["turned", "far, m"]


def test_many_classes_are_summed_up_and_absent_ones_told(capsys: pytest.CaptureFixture[str]) -> None:
    classes = torch.arange(100).repeat(3)
    train = TensorData(torch.zeros(300), {"kind": torch.where(classes == 5, 6, classes), "yes": classes % 2})
    test = TensorData(torch.zeros(100), {"kind": torch.arange(100), "yes": torch.arange(100) % 2})
    labels.details(Bookkeeping([MultiClass("kind", 100), Binary("yes")], {"train": train, "test": test}))
    out = capsys.readouterr().out
    assert "… 95 others, each" in out
    assert "kind: no train label of 5" in out
    assert "Every training row has a label of every task." in out


@pytest.mark.parametrize("width", [30, 60, 200])
def test_names_are_whole_at_every_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    names = ["short", "name " + "x" * 20, "y" * 25]
    named_table(["task", "train", "test"], [(name, "1,000,000", "2,000,000") for name in names])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    assert all(name in out for name in names)
    assert out.count("1,000,000") == out.count("2,000,000") == 3
