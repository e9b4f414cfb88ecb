"""What auxiliary tasks bring, from the command line: plan, progress, tables, verdict, the report again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from polytask.cli import main

from .conftest import SMALL

Run = Callable[..., tuple[int, str, str]]
HELPED = "digits(n_train=200, auxiliary=True)"


ASKED = [
    "auxiliaries",
    HELPED,
    *SMALL,
    "--main",
    "left",
    "--also",
    "TaskwiseStopping(threshold=1.0)",
    "--seeds",
    "2",
    "--jobs",
    "1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a finished study."""
    made = tmp_path_factory.mktemp("studies") / "helpers"
    assert main([*ASKED, "--out", str(made)]) == 0
    return made


def test_it_prints_plan_progress_tables_and_verdict(run: Run, folder: Path) -> None:
    code, out, err = run(*ASKED, "--out", folder)
    assert (code, err) == (0, "")
    assert "To train: 10 networks" in out and "[10/10] " in out and "] no auxiliary task, seed 1: " in out
    assert out.count("(kept from before)") == 10  # nothing is trained twice
    flat = " ".join(out.split())
    assert (
        "all but sum, only right; all but right, only sum; all auxiliary tasks, TaskwiseStopping(threshold=1.0)" in flat
    )
    assert "brought to left, % by itself beside the others" in flat
    assert "By itself, " in flat and "Beside the others, " in flat and "4 intervals were looked at" in flat
    assert (folder / "report.html").is_file() and not (folder / "study.json").exists()
    lines = [line for line in out.splitlines() if not line.startswith(("[", "polytask predict "))]
    assert max(map(len, lines)) <= 80


def test_one_seed_is_told_once(run: Run, folder: Path, tmp_path: Path) -> None:
    words = ["auxiliaries", HELPED, *SMALL, "--also", "[]", "--seeds", "1", "--jobs", "1", "--out", tmp_path]
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    flat = " ".join(out.split())
    assert flat.count("One seed says nothing about luck: run at least 3 seeds") == flat.count("about luck") == 1
    assert flat.count("run at least 3 seeds") == 1 and "sum: " not in flat
    page = (tmp_path / "report.html").read_text()
    assert page.count("about luck") == 1 and "What that says" not in page
    assert "What that says" in (folder / "report.html").read_text()


def test_report_again(run: Run, folder: Path) -> None:
    page = folder / "report.html"
    before = page.read_text()
    page.unlink()
    code, out, _ = run("report", folder)
    assert code == 0 and "4 intervals were looked at" in " ".join(out.split())
    assert page.read_text() == before


def test_the_network_that_the_verdict_recommends_is_named_and_taken(run: Run, folder: Path) -> None:
    told = json.loads((folder / "auxiliaries.json").read_text())["args"]["networks"]["args"]["arms"]
    (name,) = (arm["args"]["name"] for arm in told if arm["args"]["chosen"])
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    (key,) = (each["key"] for each in records if each["arm"] == name and each["seed"] == 0)
    out = run("report", folder)[1]
    assert f"Chosen network (seed 0): {folder}/runs/{key}" in " ".join(out.split())
    assert out.endswith(f"polytask predict {folder}/runs/{key} ...\n")
    code, out, err = run("evaluate", folder)
    assert (code, err) == (0, "") and out.startswith(f"Chosen network of {folder} (seed 0): {folder}/runs/{key}\n")


@pytest.mark.parametrize("named", [["--main", "hours:regression"], ["--main", "hours", "--target", "hours:regression"]])
def test_a_bare_table_takes_its_main_targets_from_the_words(
    run: Run, people: Path, tmp_path: Path, named: list[str]
) -> None:
    words = [*SMALL, "--also", "[]", "--seeds", "1", "--jobs", "1", "--out", tmp_path]
    code, out, err = run("auxiliaries", people, *named, "--target", "rich", *words)
    assert (code, err) == (0, "")
    flat = " ".join(out.split())
    assert "the main tasks with: no auxiliary task; with rich" in flat and "hours mae ↓" in flat


def test_without_auxiliary_tasks_it_says_how_to_name_them(run: Run, tmp_path: Path) -> None:
    code, _, err = run("auxiliaries", "digits(n_train=200)", "--out", tmp_path)
    assert code == 2 and "no task is marked auxiliary in 'digits' (left, right)" in err and "--main left" in err
    code, _, err = run("auxiliaries", "digits(n_train=200)", "--main", "lefd", "--out", tmp_path)
    assert code == 2 and "did you mean 'left'" in err
    code, _, err = run(
        "compare", "digits(n_train=200)", *SMALL, "--balancers", "GradientSimilarity", "--seeds", "1", "--out", tmp_path
    )
    assert code == 2 and "GradientSimilarity lacks an auxiliary task" in err
    assert not list(tmp_path.iterdir())
