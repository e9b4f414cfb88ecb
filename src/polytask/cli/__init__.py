"""The command line: it parses, calls and prints. Importing it imports no torch, so that help comes at once."""

import ast
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import polytask
from polytask._text import did_you_mean
from polytask.errors import PolytaskError

__all__ = ["main"]

PARTS = ("looks", "studies", "runs")
"""The files of `commands` that hold commands, in the order of the overview."""
WRONG, BROKEN, INTERRUPTED = 2, 1, 130
"""Exit codes: something to mend in the input, a fault of polytask, Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the words after `polytask`; those of this process by default.

    >>> main(["--version"])
    polytask ...
    0
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        return _run(words)
    except PolytaskError as error:
        return _told(str(error), WRONG, debug)
    except BrokenPipeError:  # as in `polytask list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _told(str(error), WRONG, debug)
    except KeyboardInterrupt as stop:
        return _told(str(stop) or "interrupted", INTERRUPTED, debug)
    except Exception as error:
        told = f"{type(error).__name__}: {error} (a fault of polytask; --debug shows where)"
        return _told(told, BROKEN, debug)


def _run(words: list[str]) -> int:
    commands = summaries()
    if not words or words[0] in {"-h", "--help"}:
        print(_overview(commands))
        return 0 if words else WRONG
    name, rest = words[0], words[1:]
    if name == "--version":
        print(f"polytask {polytask.__version__}")
        return 0
    if name not in commands:
        raise PolytaskError(f"there is no command '{name}'; {did_you_mean(name, commands)}")
    for stream in (sys.stdout, sys.stderr):  # a terminal that knows no Δ or ± shows "?" in their place
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    run_command = import_module("polytask.cli.arguments").run_command
    run_command(import_module(f"polytask.cli.commands.{commands[name].part}"), name, rest)
    return 0


class Told(NamedTuple):
    """What is known of a command before anything is imported: its file, and the first sentence about it."""

    part: str
    summary: str


def summaries() -> dict[str, Told]:
    """All commands by name: read from the source, so that nothing is imported.

    >>> {"auxiliaries", "compare", "train"} <= set(summaries())
    True
    """
    found = {}
    for part in PARTS:
        tree = ast.parse((Path(__file__).parent / "commands" / f"{part}.py").read_text(encoding="utf-8"))
        for each in tree.body:
            if isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
                summary = (ast.get_docstring(each) or "").partition("\n")[0]
                found[each.name.rstrip("_")] = Told(part, summary)
    return found


def _overview(commands: dict[str, Told]) -> str:
    width = max(map(len, commands)) + 1
    lines = [f"  {name:<{width}}{told.summary}" for name, told in commands.items()]
    return "\n".join(
        [
            "usage: polytask COMMAND [options]",
            "",
            "Train one network for many tasks, and see whether that was worth it.",
            "",
            "commands:",
            *lines,
            "",
            "options:",
            "  -h, --help  this, or (after a command) all of its options",
            "  --version   the version",
            "  --debug     show the trace of an error (anywhere on the line)",
            "",
            "A first look: polytask compare digits --budget.epochs 3 --seeds 1",
        ]
    )


def _told(message: str, code: int, debug: bool) -> int:
    """Say what went wrong: in one line, which is wrapped on a terminal."""
    if debug:
        traceback.print_exc()
    line = f"polytask: {' '.join(message.split())}"
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        line = textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    print(line, file=sys.stderr)
    return code
