"""A table, a run and a study that the tests of this folder look at; nothing here is changed by a test."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from polytask.cli import main

Ran = tuple[int, str, str]
TARGETS = ["--target", "rich:binary", "--target", "hours:regression"]
SMALL = ["--budget.epochs", "1", "--budget.batch_size", "64"]
DIGITS = "digits(n_train=200)"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs a command in this process: exit code, what it printed, what it complained of."""

    def call(*words: str | Path) -> Ran:
        capsys.readouterr()
        code = main([str(word) for word in words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with numbers, words, missing cells, an identifier and two targets."""
    drawn = random.Random(0)
    lines = ["age,job,id,rich,hours"]
    for row in range(300):
        age, job = drawn.randint(18, 70), drawn.choice(["cook", "nurse", "smith", "?"])
        rich = "yes" if age + drawn.gauss(0, 8) > 45 else "no"
        hours = 20 + 0.3 * age + 5 * (job == "cook") + drawn.gauss(0, 2)
        lines.append(f"{age},{job},p{row},{rich},{hours:.1f}")
    path = tmp_path_factory.mktemp("tables") / "people.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def table_run(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the table."""
    folder = tmp_path_factory.mktemp("runs") / "table"
    budget = ["--budget.epochs", "6", "--budget.batch_size", "32", "--budget.learning_rate", "0.01"]
    assert main(["train", str(people), *TARGETS, *budget, "--balancer", "PCGrad(seed=1)", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on pictures."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    sharing = ["--sharing", "HardSharing(shared_stages=1)"]
    assert main(["train", DIGITS, *SMALL, *sharing, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished comparison of two ways with two seeds."""
    folder = tmp_path_factory.mktemp("studies") / "digits"
    words = ["compare", DIGITS, *SMALL, "--balancers", "PCGrad", "--seeds", "2", "--jobs", "1", "--out", str(folder)]
    assert main(words) == 0
    return folder
