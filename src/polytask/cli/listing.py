"""What `polytask list` prints, straight from catalogues and docstrings."""

import inspect
import re
from collections.abc import Sequence
from typing import Any

from polytask._plain import words
from polytask.balancing import METHODS, WRAPPERS, GramianBalancer, JacobianBalancer, LossBalancer
from polytask.cli import catalogues
from polytask.cli.text import say, wrapped
from polytask.data.tables import TARGET_KINDS
from polytask.tasks import (
    Binary,
    BinaryMap,
    Depth,
    Edges,
    Landmarks,
    ManyBinary,
    ManyMultiClass,
    ManyRegression,
    MultiClass,
    MultiLabel,
    Normals,
    Reconstruction,
    Regression,
    Segmentation,
    Task,
)
from polytask.training import directions

EXAMPLES: tuple[Task, ...] = (
    Binary("t"),
    MultiClass("t"),
    MultiLabel("t", ("a", "b")),
    Regression("t"),
    ManyBinary("t", ("a", "b")),
    ManyMultiClass("t", ("a", "b"), classes=3),
    ManyRegression("t", ("a", "b")),
    Landmarks("t"),
    Segmentation("t"),
    Depth("t"),
    Normals("t"),
    Edges("t"),
    BinaryMap("t"),
    Reconstruction("t"),
)
"""One task of each kind, asked for its metrics."""


def catalogue() -> None:
    """Problems, architectures, backbones, balancing methods, and the metrics of every kind of task."""
    _entries("Problems", catalogues.PROBLEMS)
    _entries("Architectures (--sharing)", catalogues.ARCHITECTURES)
    for part in catalogues.PARTS.values():
        _entries(f"Of architectures: {part.what}", part)
    _entries("Backbones (--backbone)", catalogues.BACKBONES)
    kinds = {LossBalancer: "weighs losses", GramianBalancer: "weighs gradients", JacobianBalancer: "makes a gradient"}
    for kind, told in kinds.items():
        members = tuple(each for each in METHODS if issubclass(each, kind))
        if members:
            _entries(f"Balancing methods (--balancers) whose kind {told}", catalogues.BALANCERS, members)
    _entries("Wrappers of a balancing method (--balancers 'Every(10, NashMTL())')", catalogues.BALANCERS, WRAPPERS)
    _entries("Samplers (--samplers)", catalogues.ROW_SAMPLERS)
    say("Kinds of task, and their metrics", "bold")
    for task in EXAMPLES:
        ways = directions([task])[task.name]
        found = ", ".join(f"{name} ({'higher' if higher else 'lower'} is better)" for name, higher in ways.items())
        wrapped(f"{type(task).__name__}: {found}", 2)
    wrapped(f"as --target of a table: column:kind, kind one of {', '.join(TARGET_KINDS)}", 2)


def _entries(title: str, of: catalogues.Catalogue, members: Sequence[Any] = ()) -> None:
    say(title, "bold")
    for member in members or of.members:
        settings = ", ".join(_setting(member, name) for name in of.settings(member))
        wrapped(f"{member.__name__}({settings})" if settings else member.__name__, 2)
        text = inspect.getdoc(member) or ""
        wrapped(text.partition("\n\n")[0], 6)
        cost = re.search(r"\bCost[^:.]*:.*?(?=\.\s|\.$|\n\n)", text, re.DOTALL)
        if cost:
            wrapped(f"{cost[0]}.", 6)
    say()


def _setting(member: Any, name: str) -> str:
    default = inspect.signature(member).parameters[name].default
    shown = "" if default is None or default is inspect.Parameter.empty else words(default)
    return f"{name}={shown}" if shown and not shown.startswith("<") else name  # <factory>: made anew each time
