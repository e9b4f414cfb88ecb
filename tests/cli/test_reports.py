"""`polytask report` for every kind of study, what it says of other folders, and the network that a comparison chose."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from polytask.cli import main
from polytask.cli.catalogues import problem_named
from polytask.cli.finished import KINDS

from .conftest import SMALL, TARGETS

Run = Callable[..., tuple[int, str, str]]
FEW = ["unseen", "harbours(count=4, n_train=20)", "--groups", "2", "--budget.epochs", "1", "--jobs", "1"]


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study of unseen tasks."""
    folder = tmp_path_factory.mktemp("studies") / "unseen"
    assert main([*FEW, "--seeds", "1", "--out", str(folder)]) == 0
    return folder


def test_unseen_prints_plan_progress_tables_and_verdict(run: Run, unseen: Path) -> None:
    code, out, err = run(*FEW, "--seeds", "1", "--out", unseen)
    assert (code, err) == (0, "")
    flat = " ".join(out.split())
    assert "To train: 8 networks" in flat and "group 1, left out together: harbour 1, harbour 3" in flat
    assert "[1/8] not told, without 2 tasks (group 1), seed 0: " in out
    rows = [line.split()[1] for line in out.splitlines() if line.startswith("harbour ") and "%" not in line]
    assert rows == ["1", "2", "3", "4"] * 2, "a table for each of two metrics, in the order of the problem"
    assert "mae, m ↓" in out and "One seed, no evidence either way" in flat and "report.html" in flat
    assert "\n\n\n" not in out
    assert max(map(len, (line for line in out.splitlines() if "report.html" not in line))) <= 80


def test_unseen_is_trained_by_the_balancer_and_the_sampler_asked_for(run: Run, tmp_path: Path) -> None:
    words = [*FEW, "--seeds", "1", "--leave-out", "harbour 3", "--balancer", "PCGrad", "--sampler", "Uniform"]
    code, _, err = run(*words, "--out", tmp_path)
    assert (code, err) == (0, ""), err
    jobs = [json.loads(path.read_text())["arm"] for path in tmp_path.glob("runs/*/job.json")]
    joint = [each for each in jobs if each["balancer"]["class"] == "PCGrad"]
    assert len(joint) == 2 and len(jobs) == 3  # told and not told; one for its own labels
    assert all(each["sampler"]["class"] == "Uniform" for each in joint)


@pytest.mark.parametrize("kind", ["study", "unseen"])
def test_the_same_tables_and_page_come_again(
    run: Run, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = tmp_path / kind
    shutil.copytree(request.getfixturevalue(kind), folder, ignore=shutil.ignore_patterns("runs"))
    before = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    code, out, err = run("report", folder)
    assert (code, err) == (0, "")
    assert (folder / "report.html").read_text() == before and "Report:" in out


def test_every_kind_of_study_has_a_file_of_its_own() -> None:
    assert len({kind.summary.FILE for kind in KINDS}) == len({kind.command for kind in KINDS}) == len(KINDS) == 4


def test_of_two_studies_in_a_folder_the_latest_is_told(run: Run, study: Path, unseen: Path, tmp_path: Path) -> None:
    for place, path in enumerate((study / "study.json", unseen / "unseen.json", unseen / "records.jsonl")):
        shutil.copy(path, tmp_path)
        os.utime(tmp_path / path.name, (place, place))
    code, out, _ = run("report", tmp_path)
    assert code == 0 and "own labels" in out and "PCGrad" not in out


def test_other_folders_are_told_what_they_are(run: Run, digits_run: Path, study: Path, tmp_path: Path) -> None:
    def told(folder: Path, **files: str) -> str:
        folder.mkdir(exist_ok=True)
        for stem, ending in files.items():
            (folder / f"{stem}.{ending}").write_text("{}")
        code, out, err = run("report", folder)
        assert code == 2 and out == ""
        return err

    assert f"`polytask evaluate {digits_run}`" in told(digits_run) and "describe" in told(digits_run)
    assert "folder of a search" in told(tmp_path / "a", search="json", records="jsonl")
    assert "not finished; start the same command again" in told(tmp_path / "b", records="jsonl")
    for err in (told(tmp_path / "c"), run("report", tmp_path / "nowhere")[2]):
        assert all(f"{kind.summary.FILE} (polytask {kind.command})" in err for kind in KINDS)
    shutil.copy(study / "study.json", tmp_path / "c")
    (tmp_path / "c" / "records.jsonl").write_text('{"arm"')
    assert "records.jsonl is not whole" in run("report", tmp_path / "c")[2]
    (tmp_path / "c" / "records.jsonl").unlink()
    assert "neither in records.jsonl nor in" in run("report", tmp_path / "c")[2]
    (tmp_path / "c" / "study.json").write_text('{"tasks": 3}')
    assert "not the results of a study" in run("report", tmp_path / "c")[2]


@pytest.fixture(scope="module")
def compared(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison on a table, with seeds 3 and 1."""
    folder = tmp_path_factory.mktemp("studies") / "table"
    words = ["compare", str(people), *TARGETS, *SMALL, "--balancers", "PCGrad", "--seeds", "3", "1", "--jobs", "1"]
    assert main([*words, "--out", str(folder)]) == 0
    return folder


def chosen(folder: Path) -> dict:
    arms = json.loads((folder / "study.json").read_text())["args"]["arms"]
    (name,) = (arm["args"]["name"] for arm in arms if arm["args"]["chosen"])
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    (record,) = (each for each in records if each["arm"] == name and each["seed"] == 3)
    return record


def test_a_comparison_says_which_network_was_chosen(run: Run, compared: Path) -> None:
    key = chosen(compared)["key"]
    code, out, _ = run("report", compared)
    assert code == 0
    assert f"Chosen network (seed 3): {compared}/runs/{key}" in " ".join(out.split())
    assert f"\npolytask predict {compared}/runs/{key} ...\n" in out
    page = (compared / "report.html").read_text()
    assert f"Chosen network (seed 3): <code>runs/{key}</code>" in page


def test_the_folder_of_a_comparison_stands_for_the_chosen_network(
    run: Run, compared: Path, people: Path, tmp_path: Path
) -> None:
    key = chosen(compared)["key"]
    line = f"Chosen network of {compared} (seed 3): {compared}/runs/{key}\n"
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    code, out, err = run("predict", compared, people, "--out", first)
    assert (code, err) == (0, "") and out.startswith(line)
    code, out, _ = run("predict", compared / "runs" / key, people, "--out", second)
    assert code == 0 and "Chosen network" not in out
    assert pl.read_csv(first).equals(pl.read_csv(second))
    code, out, err = run("evaluate", compared)
    assert (
        (code, err) == (0, "")
        and out.startswith(line)
        and out[len(line) :] == run("evaluate", compared / "runs" / key)[1]
    )
    code, out, err = run("describe", compared)
    assert (code, err) == (0, "") and out.startswith(line) and out.count("Chosen network") == 1
    code, out, err = run("export", compared, "--formats", "torch", "--apart", "false", "--out", tmp_path / "files")
    assert (code, err) == (0, "") and out.startswith(line) and (tmp_path / "files" / "all-tasks.pt2").is_file()


def test_studies_without_a_chosen_network_stand_for_none(
    run: Run, compared: Path, unseen: Path, tmp_path: Path
) -> None:
    code, _, err = run("evaluate", unseen)
    assert code == 2 and f"give the folder of a run, in {unseen}/runs" in err
    told = json.loads((compared / "study.json").read_text())
    for arm in told["args"]["arms"]:
        arm["args"]["chosen"] = False
    (tmp_path / "study.json").write_text(json.dumps(told))
    shutil.copy(compared / "records.jsonl", tmp_path)
    for command in ("evaluate", "describe"):
        code, _, err = run(command, tmp_path)
        assert code == 2 and "chose no network" in err
    assert "Chosen network" not in run("report", tmp_path)[1]


def test_a_name_of_the_list_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    Path("digits", "job.json").write_text('{"spec": {"name": "digits", "args": {"n_train": 7}}}')
    assert problem_named("digits").run is None
    there = problem_named("./digits")
    assert there.run == Path("digits") and there.call.args == {"n_train": 7}
