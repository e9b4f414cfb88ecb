"""What is shown without training anything."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from polytask import problems, sharing, tasks
from polytask.balancing import METHODS
from polytask.cli import main, summaries
from polytask.cli.catalogues import ARCHITECTURES, BACKBONES, PROBLEMS, TASK_KINDS
from polytask.cli.listing import EXAMPLES

Run = Callable[..., tuple[int, str, str]]


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['polytask', '--help']\n"
        "try:\n    runpy.run_module('polytask', run_name='__main__')\n"
        "except SystemExit as over:\n    assert not over.code, over.code\n"
        "print({'torch', 'rich', 'jsonargparse', 'polars', 'sklearn'} & set(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
    assert "compare" in done.stdout


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "polytask", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name} " in done.stdout for name in summaries())
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("command", sorted(summaries()))
def test_every_command_explains_its_options(run: Run, command: str) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: polytask {command}")
    for ugly in ("<class", "object at 0x", "type:", "\x1b"):
        assert ugly not in out


def test_help_shows_defaults_as_they_are_typed(run: Run) -> None:
    shown = " ".join(run("compare", "--help")[1].split())
    assert "(default: Equal Uncertainty DWA PCGrad MGDA)" in shown
    assert "(default: HardSharing)" in shown
    assert "else Cosine)" in shown


def test_list_names_everything_there_is(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    for each in (*METHODS, *ARCHITECTURES.members, *BACKBONES.members, *PROBLEMS.members, *TASK_KINDS):
        assert each.__name__ in out
    assert "auroc (higher is better)" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_catalogues_are_those_of_the_packages() -> None:
    assert {each.__name__ for each in PROBLEMS.members} <= set(problems.__all__)
    assert {each.__name__ for each in (*ARCHITECTURES.members, *BACKBONES.members)} <= set(sharing.__all__)
    assert {each.__name__ for each in TASK_KINDS} <= set(tasks.__all__)
    assert {type(each) for each in EXAMPLES} == set(TASK_KINDS)


def test_no_command_is_told_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: polytask COMMAND" in capsys.readouterr().out


def test_version(run: Run) -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("polytask ")
