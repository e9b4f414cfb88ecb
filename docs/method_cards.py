"""Makes docs/methods/ and docs/support.md; `make cards` runs the tests and calls it.

A card says of a balancing method what its docstring, its class, its golden values (tests/balancing/golden_values.py)
and the tests that held (`pytest --record-claims FILE`) say, and nothing else.

    python docs/method_cards.py FILE            write the pages
    python docs/method_cards.py FILE --check    are they what would be written?
"""

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from polytask import balancing
from polytask.balancing import Balancer, GramianBalancer, JacobianBalancer, LossBalancer
from polytask.balancing.balancer import Randomised, Remembering

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests" / "balancing"))

from golden_values import GOLDEN  # noqa: E402

ALL: tuple[type[Balancer], ...] = (*balancing.METHODS, *balancing.WRAPPERS)
KINDS = {
    "loss": (LossBalancer, "losses to one scalar, `total(losses, tasks)`"),
    "Gramian": (GramianBalancer, "inner products of the task gradients to weights, `weights(gramian, step)`"),
    "Jacobian": (JacobianBalancer, "task gradients to one direction, `direction(jacobian, step)`"),
}
SUPPORT = (
    "float32 and float64",
    "bfloat16 autocast",
    "float16 with torch.amp.GradScaler",
    "gradient accumulation",
    "clipping after balancing",
    "BatchNorm",
    "dropout",
    "in-place activations",
    "tied weights",
    "parameters of some tasks only",
    "frozen layers",
    "recurrent layers",
    "checkpointed activations",
    "checkpoints with use_reentrant=True",
    "the same, balancing at features",
    "compiled trunk",
    "compiled trunk that donates its buffers",
    "several processes",
    "kill and resume",
    "balancing at features",
    "absent tasks",
    "batches of one task",
)
"""What the markers `support` and `refused` may name, in the order of the table."""

HEAD = "<!-- Made by `make cards` from docstrings and tests: change those, not this page. -->\n\n"
TESTED = "## What is tested"
Row = dict[str, Any]


class Paper(NamedTuple):
    """A docstring, taken apart: paragraphs, meaning of arguments, example, and what is told of cost and year."""

    text: list[str]
    arguments: dict[str, str]
    example: str
    cost: str
    year: str


def paper(method: type) -> Paper:
    text, arguments, example = [], {}, []
    for block in re.split(r"\n\s*\n", inspect.getdoc(method) or ""):
        if block.startswith(">>>"):
            example.append(block)
        elif block.startswith("Args:"):
            entries = (" ".join(each.split()).split(": ", 1) for each in re.split(r"\n {4}(?=\S)", block)[1:])
            arguments = {name: meaning for names, meaning in entries for name in names.split(", ")}
        else:
            text.append(block if block.startswith((" ", "-", "=")) else " ".join(block.split()).replace("::", ":"))
    whole = " ".join(text)
    cost, year = re.search(r"Cost: (.*?)(?=[.;] |\.?$)", whole), re.search(r"\b(19|20)\d\d\b", whole)
    return Paper(text, arguments, "\n".join(example), cost[1] if cost else "", year[0] if year else "–")


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([each.replace("|", "\\|") for each in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def shown(value: Any) -> str:
    """A default or a golden value: numbers with four digits, code for the rest."""
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else repr(value).replace("<factory>", "{}")


def link(method: type, folder: str = "") -> str:
    return f"[{method.__name__}]({folder}{method.__name__}.md)"


def kind(method: type) -> str:
    return next(short for short, (base, _) in KINDS.items() if issubclass(method, base))


def memory(method: type) -> str:
    if issubclass(method, Randomised):
        return "It draws random numbers, from a seeded generator that is saved with its state."
    return "What it remembers is in `state_dict()`." if issubclass(method, Remembering) else "It remembers nothing."


def card(method: type[Balancer], told: list[Row]) -> str:
    name, read = method.__name__, paper(method)
    page = [HEAD + f"# {name}", *read.text, f"A {kind(method)} balancer: {KINDS[kind(method)][1]}. {memory(method)}"]
    settings = [
        [
            f"`{each.name}`",
            "" if each.default is each.empty else f"`{shown(each.default)}`",
            read.arguments.get(each.name, ""),
        ]
        for each in inspect.signature(method).parameters.values()
    ]
    if settings:
        page += ["## Settings", table(["name", "default", "meaning, and where the default comes from"], settings)]
    if read.example:
        page += ["## Example", f"```pycon\n{read.example}\n```"]
    values = [
        [
            f"`{name}({', '.join(f'{k}={v!r}' for k, v in each.settings.items())})`",
            shown(each.given),
            shown(each.answer),
            each.why,
        ]
        for each in GOLDEN
        if each.method is method
    ]
    if values:
        page += ["## Golden values", table(["balancer", "given", "answer", "because"], values)]
    claims = [each for each in told if each["kind"] == "claim" and each["held"] and each["method"] == name]
    claims.sort(key=lambda each: ("test_contract" in each["test"], each["text"]))
    rows = [[each["text"], f"`{each['test'].rsplit('/')[-1].replace('::', '` `')}`"] for each in claims]
    return "\n\n".join([*map(str.rstrip, page), TESTED, table(["claim", "test"], rows)])


def index() -> str:
    rows = [[link(each), kind(each), paper(each).text[0], paper(each).cost, paper(each).year] for each in ALL]
    return (
        f"{HEAD}# Methods\n\nA card per method: formula and source, settings, values by hand, and what is tested. "
        "What works with what is in the [support table](../support.md).\n\n"
        + table(["method", "kind", "what", "cost", "year"], rows)
        + "\n".join(["```{toctree}\n:hidden:\n", *(each.__name__ for each in ALL), "```"])
    )


def support(told: list[Row]) -> str:
    """A cell is what the tests of a method with a feature said; the reasons of what was skipped are notes."""
    rows = [each for each in told if each["kind"] in ("support", "refused")]
    unknown = {each["text"] for each in rows} - set(SUPPORT)
    assert not unknown, f"add to SUPPORT in docs/method_cards.py: {sorted(unknown)}"
    notes = sorted({reason for each in rows for reason in each["not"]})

    def cell(method: type, what: str) -> str:
        found = [each for each in rows if (each["method"], each["text"]) == (method.__name__, what)]
        held = {each["kind"] for each in found if each["held"]}
        failed = any(each["failed"] for each in found)
        word = "**no**" if failed else "yes" if "support" in held else "refused" if held else "–"
        reasons = sorted({notes.index(note) + 1 for each in found for note in each["not"]})
        return " ".join([word, *(f"({number})" for number in reasons)])

    cells = [[cell(method, what) for what in SUPPORT] for method in ALL]

    def counted(short: str, column: int) -> str:
        words = [row[column] for method, row in zip(ALL, cells, strict=True) if kind(method) == short]
        return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))

    overview = [[f"{k + 1}. {what}", *(counted(each, k) for each in KINDS)] for k, what in enumerate(SUPPORT)]
    return (
        f"{HEAD}# Support\n\n{TESTED}\n\nWith what every method was tested, against one plain backward pass per task. "
        "*yes*: its tests held. *refused*: an error says what to do instead, and a test holds it. –: no test. "
        "(1), (2), ...: the notes below.\n\n"
        + table(["with", *(f"{each} balancers" for each in KINDS)], overview)
        + "".join(f"({number}) {note}\n\n" for number, note in enumerate(notes, 1))
        + "## By method\n\n"
        + table(
            ["method", *map(str, range(1, len(SUPPORT) + 1))],
            [[link(method, "methods/"), *row] for method, row in zip(ALL, cells, strict=True)],
        )
    )


def pages(told: list[Row]) -> dict[Path, str]:
    made = {f"methods/{each.__name__}.md": card(each, told) for each in ALL}
    made |= {"methods/index.md": index(), "support.md": support(told)}
    return {DOCS / path: text.rstrip() + "\n" for path, text in made.items()}


def stale(told: list[Row] | None = None) -> list[str]:
    """Pages that are not what would be written; without `told`, what the tests tell is not looked at."""
    made = pages(told or [])
    there = {path: path.read_text() for path in [*(DOCS / "methods").glob("*.md"), *made] if path.exists()}
    if told is None:
        made, there = ({path: text.split(TESTED)[0] for path, text in each.items()} for each in (made, there))
    return sorted(path.name for path in made.keys() | there.keys() if made.get(path) != there.get(path))


if __name__ == "__main__":
    file, *options = sys.argv[1:]
    record = json.loads(Path(file).read_text())
    if options == ["--check"]:
        sys.exit(f"not what docstrings and tests say; run `make cards`: {wrong}" if (wrong := stale(record)) else 0)
    for path in (DOCS / "methods").glob("*.md"):
        path.unlink()
    for path, text in pages(record).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
