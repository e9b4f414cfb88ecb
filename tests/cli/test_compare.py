"""A comparison from the command line: what is printed and written, going on, YAML, Ctrl-C."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from polytask.cli.commands import studies
from polytask.study import Summary
from polytask.study.summarise import plain

from .conftest import DIGITS, SMALL, TARGETS

Run = Callable[..., tuple[int, str, str]]


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_it_prints_plan_progress_tables_and_verdict(run: Run, tmp_path: Path) -> None:
    balancers = ["--balancers", "PCGrad", "Uncertainty(learning_rate=0.02)"]
    code, out, err = run("compare", DIGITS, *SMALL, *balancers, "--seeds", "1", "--jobs", "1", "--out", tmp_path)
    assert (code, err) == (0, "")
    assert "To train: 5 networks" in out
    assert "[5/5] " in out
    assert "HardSharing + Uncertainty(learning_rate=0.02), seed 0: " in out
    assert "left" in out
    assert "One seed" in out
    assert (tmp_path / "report.html").is_file()
    plain_lines = [line for line in out.splitlines() if not line.startswith(("[", "polytask predict"))]
    assert max(map(len, plain_lines)) <= 80
    assert "\x1b" not in out


def test_a_finished_run_is_not_trained_again_and_an_unfinished_one_is(run: Run, study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in study.rglob("*"):
        to = folder / path.relative_to(study)
        to.mkdir(parents=True) if path.is_dir() else to.write_bytes(path.read_bytes())
    lost = folder / "runs" / records(folder)[-1]["key"] / "record.json"
    lost.unlink()
    times = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/model.safetensors")}
    before = records(folder)
    code, out, _ = run(
        "compare", DIGITS, *SMALL, "--balancers", "PCGrad", "--seeds", "2", "--jobs", "1", "--out", folder
    )
    assert code == 0
    assert out.count("(kept from before)") == len(before) - 1
    assert lost.is_file()
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert [each["scores"] for each in records(folder)] == [each["scores"] for each in before]


def test_yaml_and_command_line_say_the_same_things(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict] = []
    monkeypatch.setattr(studies, "run_study", lambda *args, **more: asked.append(_asked(args, more)) or 1 / 0)
    file = tmp_path / "study.yaml"
    file.write_text(
        """
problem: {class_path: digits, init_args: {n_train: 200}}
balancers:
  - PCGrad(seed=3)
  - class_path: Uncertainty
    init_args: {learning_rate: 0.02}
sharing: [HardSharing, {class_path: HardSharing, init_args: {shared_stages: 1}}]
seeds: [0, 4]
jobs: 1
budget:
  epochs: 2
  learning_rate: 1e-2
  precision: no
  optimizer: SGD
  optimizer_options: {momentum: 0.9}
  schedule: {class_path: Cosine, init_args: {warmup: 0.1}}
out: there
"""
    )
    words = [DIGITS, "--balancers", "PCGrad(seed=3)", "Uncertainty(learning_rate=0.02)", "--sharing", "HardSharing"]
    words += ["HardSharing(shared_stages=1)", "--seeds", "0", "4", "--jobs", "1", "--budget.epochs", "2"]
    words += ["--budget.learning_rate", "1e-2", "--budget.precision=no", "--budget.optimizer", "SGD"]
    words += ["--budget.optimizer_options.momentum", "0.9", "--budget.schedule", "Cosine(warmup=0.1)"]
    run("compare", *words, "--out", "there")
    run("compare", "--config", file)
    run("compare", "--config", file, "--seeds", "0", "4")
    assert len(asked) == 3
    assert asked[0] == asked[1] == asked[2]
    assert asked[0]["budget"]["args"]["batch_size"] == 64, "what is not given is what the problem suggests"
    assert asked[0]["budget"]["args"]["precision"] == "no"
    assert asked[0]["arms"][3]["balancer"]["args"]["learning_rate"] == 0.02
    run("compare", "--config", file, "--seeds", "1", "--budget.epochs", "3")
    assert asked[3]["seeds"] == [0]
    assert asked[3]["budget"]["args"] == asked[0]["budget"]["args"] | {"epochs": 3}


def _asked(args: tuple, more: dict) -> dict:
    problem, arms, seeds, budget, folder = args
    return {
        "problem": dict(problem.spec),
        "arms": [arm.described for arm in arms],
        "seeds": seeds,
        "budget": plain(budget),
        "folder": folder,
        "jobs": more["jobs"],
    }


def test_what_was_said_can_be_printed_as_yaml_and_read_again(run: Run, tmp_path: Path) -> None:
    words = [DIGITS, "--balancers", "Static({'left': 0.5})", "PCGrad", "--budget.epochs", "2", "--seeds", "0", "3"]
    code, out, _ = run("compare", *words, "--print_config")
    assert code == 0
    file = tmp_path / "said.yaml"
    file.write_text(out)
    assert run("compare", "--config", file, "--print_config")[1] == out
    assert yaml.safe_load(out)["balancers"] == ["Static(weights={'left': 0.5})", "PCGrad"]


def test_a_table_shows_what_each_column_was_taken_for(run: Run, people: Path, tmp_path: Path) -> None:
    code, out, err = run(
        "compare", people, *TARGETS, *SMALL, "--balancers", "MGDA", "--seeds", "1", "--jobs", "1", "--out", tmp_path
    )
    assert (code, err) == (0, "")
    assert "target binary" in out
    assert "target regression" in out
    assert "left out" in out
    assert "category" in out


def test_ctrl_c_says_how_to_go_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "run_study", stopped)
    code, _, err = run("compare", DIGITS, "--out", tmp_path)
    assert code == 130
    assert len(err.splitlines()) == 1
    assert str(tmp_path) in err
    assert "same command again" in err


def test_report_is_written_again_from_the_folder(run: Run, study: Path) -> None:
    page = study / "report.html"
    before = page.read_text()
    page.unlink()
    code, out, err = run("report", study)
    assert (code, err) == (0, "")
    assert page.read_text() == before
    assert "PCGrad" in out


def test_a_summary_survives_its_file(study: Path) -> None:
    written = json.loads((study / "study.json").read_text())
    assert plain(Summary.from_json(written)) | {"runs": written["runs"]} == written


def test_a_failing_arm_is_told_and_the_others_are_kept(run: Run, tmp_path: Path) -> None:
    fast = ["--budget.epochs", "1", "--budget.batch_size", "64", "--budget.learning_rate", "1e30"]
    words = ["compare", DIGITS, *fast, "--balancers", "PCGrad", "--seeds", "1", "--jobs", "1", "--out", tmp_path]
    code, out, err = run(*words)
    assert code == 2
    assert "FAILED" in out
    assert "became" in err
