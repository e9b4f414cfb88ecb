"""What is printed of many tasks with long names, in a terminal of 80 columns."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from polytask.cli import show
from polytask.cli.forecast import Cost
from polytask.cli.progress import epoch_line
from polytask.problems import digits
from polytask.tasks import Binary
from polytask.training import Budget

Run = Callable[..., tuple[int, str, str]]
NAMES = [f"reviews_of_kitchen_{k}" for k in range(16)]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def cost(name: str, training: float, alone: bool = False) -> Cost:
    return Cost(name, 1, "one pass", 32.5, 0.0, 0.1, training, alone)


def test_an_epoch_is_two_lines_at_most() -> None:
    validation = {name: {"loss": 1.0, "accuracy": 0.5 + 0.01 * k} for k, name in enumerate(NAMES)}
    line = epoch_line({"epoch": 1, "seconds": 3.0, "score": 0.25, "validation": validation}, 12)
    assert len(line) <= 160
    assert line.endswith(f"accuracy 0.5 ({NAMES[0]}) to 0.65 ({NAMES[-1]})")
    few = epoch_line({"epoch": 1, "seconds": 3.0, "score": None, "validation": {"b": {"f1": 0.5}, "a": {"r": 2.0}}}, 9)
    assert few.endswith("b f1 0.5, a r 2")


def test_costs_of_many_tasks_alone_are_their_ends(capsys: pytest.CaptureFixture[str]) -> None:
    found = [*(cost(f"{name} alone", 10.0 + k, True) for k, name in enumerate(NAMES)), cost("Equal", 30.0)]
    show.costs(found, 2, Budget(epochs=3), 1)
    out = capsys.readouterr().out
    rows = [line.split("  ")[0] for line in out.splitlines() if " up to " in line and "one pass" in line]
    assert rows == ["alone, least", "alone, most", "Equal"]
    assert "up to 10.0 s" in out and "up to 25.0 s" in out and "one of 16 tasks" in out
    assert "up to 10 min 20 s" in " ".join(out.split()), "all networks count: 2 seeds of 280 and 30 seconds"


def test_names_in_tables_of_costs_and_scores_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "kitchen_and_housewares_of_the_year alone"
    show.costs([cost(long, 10.0, True), cost("Equal", 30.0)], 1, Budget(epochs=3), 1)
    assert long in capsys.readouterr().out
    tasks = [Binary(long), Binary(NAMES[0])]
    network, constant = ({task.name: {"auroc": each, "accuracy": 0.75} for task in tasks} for each in (0.875, math.nan))
    show.scores(tasks, "test", network, constant)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if "auroc" in line] == [
        "(1) auroc higher 0.8750 –",
        f"{NAMES[0]} auroc higher 0.8750 –",
    ]
    assert f"(1) {long}" in lines, "too long a name stands below, whole"


def test_plans_are_wrapped_and_cut(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    posed = digits(100)
    arms = ["HardSharing + Equal, Uniform", *(f"HardSharing + Method{k}" for k in range(10))]
    show.plan(posed, arms, [0], Budget(epochs=1), Path("results"))
    told = " ".join(capsys.readouterr().out.split())
    assert "apart: left, right together: HardSharing + Equal, Uniform; HardSharing + Method0;" in told
    assert "HardSharing + Method6 and 3 more" in told and "Method7" not in told


def test_kinds_of_targets_that_were_guessed_are_in_the_table_of_columns(run: Run, people: Path) -> None:
    code, out, _ = run("describe", people, "--target", "rich", "--target", "hours", "--balancers", "Equal")
    assert code == 0
    kinds = {line.split()[0]: line.split()[1:3] for line in out.splitlines() if " target " in line}
    assert kinds["rich"] == ["target", "binary"] and kinds["hours"] == ["target", "regression"]
