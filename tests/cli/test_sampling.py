"""Samplers by name on the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from polytask.training.folder import read_json

DIGITS = ["digits(n_train=200)", "--budget.epochs", "1", "--budget.batch_size", "64"]
Ran = tuple[int, str, str]


def test_a_run_is_sampled_and_opened_again(run: Callable[..., Ran], tmp_path: Path) -> None:
    told = run("train", *DIGITS, "--sampler", "Temperature(5, per='batch')", "--out", tmp_path / "run")
    assert told[0] == 0 and "HardSharing + Equal, Temperature(per='batch', t=5.0)" in told[1]
    record = read_json(tmp_path / "run" / "record.json")
    assert record["sampler"]["class"] == "Temperature" and record["epochs"][0]["drawn"] == {"left": 0.5, "right": 0.5}
    code, printed, _ = run("evaluate", tmp_path / "run")
    assert code == 0 and "Temperature(per='batch', t=5.0)" in printed
    code, _, complaint = run("train", *DIGITS, "--sampler", "Uniform", "--out", tmp_path / "run")
    assert code != 0 and "holds another run" in complaint


@pytest.mark.parametrize(
    "said, told",
    [
        ("Unifrom", "did you mean 'Uniform'"),
        ("Temperature(u=3)", "has no setting 'u'"),
        ("Uniform(per='rows')", "expected row or batch"),
        ("ByError(floor=2)", "from 0 to 1"),
    ],
)
@pytest.mark.parametrize(
    "command", [["train", "--sampler"], ["compare", "--samplers", "Uniform"]], ids=lambda each: each[0]
)
def test_names_that_are_wrong(
    run: Callable[..., Ran], tmp_path: Path, command: list[str], said: str, told: str
) -> None:
    code, _, complaint = run(command[0], *DIGITS, *command[1:], said, "--out", tmp_path / "run")
    assert code != 0 and told in complaint and not (tmp_path / "run").exists()


def test_every_sampler_is_listed(run: Callable[..., Ran]) -> None:
    _, printed, _ = run("list")
    part = printed.partition("Samplers (--samplers)")[2]
    names = ("AllTasks", "Annealed", "ByError", "Proportional", "RoundRobin", "Temperature", "Uniform")
    assert all(name in part for name in names)
