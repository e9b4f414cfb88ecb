"""What can be mistyped: one line on stderr that helps, exit code 2, and nothing trained."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from polytask.balancing import METHODS
from polytask.cli import main
from polytask.cli.catalogues import BALANCERS
from polytask.cli.commands import looks

Run = Callable[..., tuple[int, str, str]]

MISTAKES = {
    "comapre digits": "did you mean 'compare'",
    "compare": "needs PROBLEM",
    "compare digts": "did you mean 'digits'",
    "compare digits(ntrain=10)": "did you mean 'n_train'",
    "compare digits(n_train=10)": "at least 40",
    "compare digits extra": "one word too many",
    "compare digits --target a:binary": "--target is not for digits",
    "compare digits --balancers PCGrd": "did you mean 'PCGrad'",
    "compare digits --balancers PCGrad(sed=1)": "did you mean 'seed'",
    "compare digits --balancers PCGrad(seed='x')": "expected a whole number, got 'x'",
    "compare digits --balancers PCGrad(seed=x)": "can't read x",
    "compare digits --balancers PCGrad(seed=1": "can't read",
    "compare digits --balancers PCGrad(1,2)": "has 1 settings",
    "compare digits --balancers Static({'left':-1})": "at least 0",
    "compare digits --balancers Static({'lft':1})": "did you mean 'left'",
    "compare digits --sharing HardSharin": "did you mean 'HardSharing'",
    "compare digits --sharing HardSharing(shared_stages=9)": "from 0 (nothing shared) to 3",
    "compare digits --backbone SmallCN": "did you mean 'SmallCNN'",
    "compare digits --backbone SmallCNN(widths='x')": "widths of SmallCNN: expected a list",
    "compare digits --seeds x": "--seeds: expected a whole number",
    "compare digits --seeds 0": "seeds: expected how many",
    "compare digits --seeds 1 1": "each once",
    "compare digits --jobs 0": "jobs must be at least 1",
    "compare digits --jobs": "--jobs needs a value",
    "compare digits --backend nope": "Invalid backend: nope",
    "compare digits --confidence 2": "between 0 and 1",
    "compare digits --epochs 3": "did you mean --budget.epochs",
    "compare digits --budget.epoch 3": "did you mean --budget.epochs",
    "compare digits --budget.epochs many": "--budget.epochs: expected a whole number, got 'many'",
    "compare digits --budget.epochs 0": "at least 1",
    "compare digits --budget.precision bf17": "expected no, bf16 or fp16",
    "compare digits --budget.optimizer SDG": "did you mean 'SGD'",
    "compare digits --budget.optimizer_options.momentum 0.9": "momentum",
    "compare digits --budget.schedule Cosin": "did you mean 'Cosine'",
    "compare digits --budget.schedule Cosine(warmup=2)": "warmup must lie in",
    "compare digits --budget.select left/acuracy": "did you mean 'left/accuracy'",
    "compare adult": "adult needs --data-root",
    "compare adult --data-root nowhere": "nowhere",
    "compare nothere.csv --target a": "no table at nothere.csv",
    "compare {people}": "--target column:kind",
    "compare {people} --target rih:binary": "did you mean 'rich'",
    "compare {people} --target rich:binry": "did you mean 'binary'",
    "compare {people} --target rich:regression": "was to hold numbers",
    "compare {people} --target rich:binary --schema no.yaml": "no.yaml",
    "train digits --seed 1.5": "--seed: expected a whole number",
    "train digits --balancer PCGrad MGDA": "one word too many",
    "evaluate {run} --split tst": "did you mean 'test'",
    "predict {run}": "needs DATA",
    "predict {run} no.csv": "there is no file or folder no.csv",
    "compare results/none": "there is no file or folder results/none; expected a table",
    "compare about.txt2": "there is no file or folder about.txt2",
    "compare no.csv": "no.csv",
    "auxiliaries {people} --main rich --target rich:binary": "name the auxiliary targets by --target",
    "describe digits --seeds many": "--seeds: expected a whole number",
}


@pytest.mark.parametrize("words", MISTAKES, ids=list(MISTAKES))
def test_a_mistake_is_one_line_that_helps(
    run: Run, words: str, people: Path, table_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*words.replace("{people}", str(people)).replace("{run}", str(table_run)).split())
    assert code == 2
    assert len(err.splitlines()) == 1, err
    assert err.startswith("polytask: ")
    assert MISTAKES[words] in err
    assert "To train" not in out
    assert not list(tmp_path.iterdir()), "nothing was written"


YAML_MISTAKES = {
    "problem: digits\nbugdet: {epochs: 3}\n": "did you mean budget",
    "problem: digits\nbudget: {epoch: 3}\n": "did you mean budget.epochs",
    "problem: digits\nbudget: {epochs: three}\n": "--budget.epochs: expected a whole number, got 'three'",
    "problem: digits\nbalancers: [{class_path: PCGrad, init_args: {sead: 1}}]\n": "did you mean 'seed'",
    "problem: digits\nbalancers: [{name: PCGrad}]\n": "expected a name such as PCGrad",
    "problem: [digits\n": "study.yaml is not YAML: line 2, column 1: expected ',' or ']', but got '<stream end>'\n",
    "problem: digits\nbudget:\n\tepochs: 3\n": "study.yaml is not YAML: line 3, column 1: use spaces, not tabs\n",
    "- digits\n": "must hold entries",
    "seeds: 3\n": "needs PROBLEM",
}


@pytest.mark.parametrize("text", YAML_MISTAKES)
def test_a_mistake_in_yaml_is_one_line_that_helps(run: Run, text: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    code, _, err = run("compare", "--config", file)
    assert code == 2
    assert len(err.splitlines()) == 1, err
    assert YAML_MISTAKES[text] in err


def test_who_stops_reading_is_told_of_no_error(people: Path, tmp_path: Path) -> None:
    """As `polytask train ... | head` does, in the middle of the training."""
    words = ["train", people, "--target", "rich:binary", "--budget.epochs", "300", "--budget.patience", "300"]
    command = [sys.executable, "-m", "polytask", *map(str, words), "--out", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None and running.stderr is not None
        assert any(line.startswith("epoch ") for line in running.stdout)
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == 0


def test_no_yaml_there(run: Run) -> None:
    assert "there is no file no.yaml" in run("compare", "--config", "no.yaml")[2]


def test_of_a_table_that_is_not_there_few_neighbours_are_listed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for k in range(9):
        (tmp_path / f"table{k}.csv").write_text("a,b\n")
    err = run("compare", "xyz.csv", "--target", "a")[2]
    assert "table4.csv and 4 more" in err and "table5.csv" not in err and "Allowed" not in err
    assert "there is no folder nowhere" in run("compare", "nowhere/xyz.csv", "--target", "a")[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_errors_are_wrapped_on_a_terminal_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    piped = run("compare", "digts")[2]
    assert len(piped.splitlines()) == 1 and len(piped) > 100
    monkeypatch.setattr("sys.stderr", shown := Terminal())
    main(["compare", "digts"])
    lines = shown.getvalue().splitlines()
    assert len(lines) > 2 and max(map(len, lines)) <= 50
    assert " ".join(line.strip() for line in lines) == piped.strip()


def test_debug_shows_the_trace_wherever_it_stands(run: Run) -> None:
    for words in (["--debug", "compare", "digts"], ["compare", "--debug", "digts"], ["compare", "digts", "--debug"]):
        code, _, err = run(*words)
        assert code == 2
        assert "Traceback" in err
        assert "did you mean 'digits'" in err.splitlines()[-1]


def test_a_fault_of_ours_is_told_as_such(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "catalogue", lambda: 1 / 0)
    code, _, err = run("list")
    assert code == 1
    assert "ZeroDivisionError" in err
    assert len(err.splitlines()) == 1


def test_a_full_disk_is_told(run: Run, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    code, _, err = run("train", "digits(n_train=200)", "--budget.epochs", "1", "--out", blocked / "run")
    assert code == 2
    assert "can't write" in err


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_every_method_can_be_named(method: type) -> None:
    assert type(BALANCERS.make(method.__name__)) is method


def test_main_takes_its_words_from_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["polytask", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("polytask")
