"""Everything that has a name on the command line, straight from the packages' own catalogues."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import register_type
from torch.optim import Optimizer

from polytask import problems, sharing, tasks, training
from polytask._plain import plain
from polytask.balancing import METHODS, Balancer
from polytask.cli.errors import Refused
from polytask.cli.names import Call, Catalogue, listed
from polytask.problems import Problem
from polytask.study import Arm
from polytask.study.arms import Sharing
from polytask.training import Schedule

TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".gz", ".zst")

TASK_KINDS = listed(tasks, tasks.Task)
BALANCERS = Catalogue("balancing method", METHODS)
ARCHITECTURES = Catalogue(
    "architecture", listed(sharing, sharing.MultiTaskModel), filled=("backbone", "tasks")
)
SCHEDULES = Catalogue("schedule", listed(training, Schedule))
OPTIMIZERS = Catalogue("optimizer", listed(torch.optim, Optimizer))
PROBLEMS = Catalogue(
    "problem",
    tuple(
        each for name in problems.__all__ if inspect.isfunction(each := getattr(problems, name))
    ),
)
BACKBONES = Catalogue(
    "backbone",
    tuple(
        each
        for name in sharing.__all__
        if inspect.isclass(each := getattr(sharing, name)) and "__call__" in vars(each)
    ),
)
"""What makes a fresh trunk at each call."""


@dataclass(frozen=True)
class Architecture:
    """Who shares what, as it is named on the command line."""

    make: Sharing

    def __str__(self) -> str:
        return Arm(self.make).sharing_name


@dataclass(frozen=True)
class Trunk:
    """A backbone, as it is named on the command line."""

    make: Any

    def __str__(self) -> str:
        args = plain(self.make)["args"]
        return str(Call(type(self.make).__name__, args))


@dataclass(frozen=True)
class ProblemName:
    """A problem with its settings, not made yet; a path is a table."""

    call: Call

    def __str__(self) -> str:
        return str(self.call)

    def make(self, **more: Any) -> Problem:
        """The problem; `more` are settings that have options of their own, None where they were not given.

        Raises:
            PolytaskError: the problem has no such setting, or one is missing.
        """
        member = PROBLEMS.find(self.call.name)
        given = {name: value for name, value in more.items() if value}
        allowed = PROBLEMS.settings(member)
        for name in given:
            if name not in allowed:
                raise Refused(f"--{_option(name)} is not for {self.call.name}: {_takes(member.__name__, allowed)}")
        _, settings = PROBLEMS.checked(Call(self.call.name, {**self.call.args, **given}, self.call.positional))
        lacking = [
            name
            for name, each in inspect.signature(member).parameters.items()
            if each.default is each.empty and name not in settings
        ]
        if lacking:
            raise Refused(f"{self.call.name} needs --{_option(lacking[0])}: {_said(member, lacking[0])}")
        return member(**settings)


def _option(name: str) -> str:
    return {"targets": "target"}.get(name, name.replace("_", "-"))


def _takes(name: str, allowed: list[str]) -> str:
    example = f"'{name}({allowed[0]}=...)'" if allowed else ""
    return f"it has the settings {', '.join(allowed)}, as in {example}" if allowed else "it has no settings"


def _said(member: Any, name: str) -> str:
    """What the docstring says about an argument."""
    lines = (inspect.getdoc(member) or "").splitlines()
    found = [line.partition(":")[2].strip() for line in lines if line.strip().startswith(f"{name}:")]
    return found[0] if found else "it has no default"


def problem_named(value: Any) -> ProblemName:
    """A problem of the catalogue, or a table at a path."""
    if isinstance(value, str) and "(" not in value:
        path = Path(value)
        if path.suffix.lower() in TABLE_ENDINGS or (path.is_file() and len(path.parts) > 1):
            return ProblemName(Call("table", {"path": path}))
    call = Call.parse(value)
    PROBLEMS.find(call.name)
    return ProblemName(call)


def balancer_words(balancer: Balancer) -> str:
    """The balancer as it can be written on the command line."""
    return Arm(balancer=balancer).balancer_name


def register() -> None:
    """Teach the parser what can be named."""
    kinds: list[tuple[type, Any, Any]] = [
        (Balancer, BALANCERS.make, balancer_words),
        (Schedule, SCHEDULES.make, lambda made: str(Call(type(made).__name__, plain(made)["args"]))),
        (Architecture, lambda value: Architecture(ARCHITECTURES.later(value)), str),
        (Trunk, lambda value: Trunk(BACKBONES.make(value)), str),
        (ProblemName, problem_named, str),
    ]
    for kind, read, write in kinds:
        register_type(
            kind,
            serializer=write,
            deserializer=read,
            type_check=lambda value, wanted: isinstance(value, wanted),
            fail_already_registered=False,
        )


def optimizer_path(value: Any) -> Any:
    """`SGD` as `torch.optim.SGD`."""
    if isinstance(value, str) and "." not in value:
        return f"{OPTIMIZERS.find(value).__module__}.{value}"
    return value
