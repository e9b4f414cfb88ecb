"""Everything that has a name on the command line, straight from the packages' own catalogues."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import torch
from jsonargparse.typing import register_type
from torch.optim import Optimizer

from polytask import problems, sharing, tasks, training
from polytask._plain import plain, words
from polytask.balancing import METHODS, WRAPPERS, Balancer, GramianBalancer, JacobianBalancer, LastLayers
from polytask.cli.errors import Refused
from polytask.cli.names import Call, Catalogue, listed, needed, sayable
from polytask.problems import Problem
from polytask.sharing import Backbone
from polytask.study import TPE, Arm, Dirichlet, Grid, Sampler
from polytask.study.arms import Sharing
from polytask.training import Schedule
from polytask.training.folder import read_json

TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".gz", ".zst")


def makes_trunks(each: Any) -> bool:
    """Whether it is a recipe that makes a fresh trunk at each call."""
    made = get_type_hints(each.__call__).get("return") if inspect.isclass(each) and "__call__" in vars(each) else None
    return inspect.isclass(made) and issubclass(made, Backbone)


TASK_KINDS = listed(tasks, tasks.Task)
KINDS: tuple[type, ...] = (Balancer, GramianBalancer, JacobianBalancer)
BALANCERS = Catalogue("balancing method", (*METHODS, *WRAPPERS))
PARTS: Mapping[type, Catalogue] = {
    sharing.Decoder: Catalogue("decoder", listed(sharing, sharing.Decoder)),
    sharing.Distillation: Catalogue("distillation", listed(sharing, sharing.Distillation)),
    sharing.Conditioning: Catalogue("conditioning", listed(sharing, sharing.Conditioning)),
    sharing.Adapter: Catalogue("adapter", listed(sharing, sharing.Adapter)),
    sharing.LearnedDescriptors: Catalogue("descriptors", (sharing.LearnedDescriptors,)),
    sharing.GradientDiscriminator: Catalogue("discriminator", (sharing.GradientDiscriminator,)),
}
"""What can be named within an architecture, as in "HardSharing(decoder=FPN(64))"."""
RECIPES = tuple(member for catalogue in PARTS.values() for member in catalogue.members)
ARCHITECTURES = Catalogue(
    "architecture", listed(sharing, sharing.MultiTaskModel), filled=("backbone", "tasks"), parts=PARTS
)
ESTIMATES = Catalogue("estimate", (LastLayers,))
SAMPLERS = Catalogue("sampler", (Dirichlet, Grid, TPE))
SCHEDULES = Catalogue("schedule", listed(training, Schedule))
OPTIMIZERS = Catalogue("optimizer", listed(torch.optim, Optimizer))
PROBLEMS = Catalogue(
    "problem",
    tuple(each for name in problems.__all__ if inspect.isfunction(each := getattr(problems, name))),
)
BACKBONES = Catalogue(
    "backbone",
    tuple(each for name in sharing.__all__ if makes_trunks(each := getattr(sharing, name)) and sayable(each)),
)


class Architecture:  # (plain classes: the parser would take dataclasses for groups of options)
    """Who shares what, as it is named on the command line."""

    def __init__(self, make: Sharing) -> None:
        self.make = make

    def __str__(self) -> str:
        return Arm(self.make).sharing_name


class Trunk:
    """A backbone, as it is named on the command line."""

    def __init__(self, make: Callable[[], Backbone] | None) -> None:
        self.make = make  # None: the problem's own

    def __str__(self) -> str:
        return "the problem's own" if self.make is None else plain_words(self.make)


class Part:
    """Which part of the gradients is looked at, as it is named on the command line."""

    def __init__(self, estimate: LastLayers | None) -> None:
        self.estimate = estimate  # None: all of them

    def __str__(self) -> str:
        return "none, exact" if self.estimate is None else plain_words(self.estimate)


class ProblemName:
    """A problem with its settings, not made yet; a path is a table, or the folder of a run.

    Args:
        call: its name in the catalogue, and settings.
        run: the folder of the run that it was found in.
    """

    def __init__(self, call: Call, run: Path | None = None) -> None:
        self.call, self.run = call, run

    def __str__(self) -> str:
        return str(self.call)

    def settings(self, **more: Any) -> dict[str, Any]:
        """All settings; `more` are those that have options of their own, empty where they were not given.

        Raises:
            Refused: the problem has no such setting, or lacks one.
        """
        member = PROBLEMS.find(self.call.name)
        given = {name: value for name, value in more.items() if value}
        allowed = PROBLEMS.settings(member)
        for name in given:
            if name not in allowed:
                raise Refused(f"--{_option(name)} is not for {self.call.name}, which {_takes(self.call.name, allowed)}")
        _, settings = PROBLEMS.checked(Call(self.call.name, {**self.call.args, **given}, self.call.positional))
        for name in needed(member):
            if name not in settings:
                raise Refused(f"{self.call.name} needs --{_option(name)}: {_said(member, name)}")
        return settings

    def make(self, settings: Mapping[str, Any]) -> Problem:
        """The problem, with all its settings."""
        made: Problem = PROBLEMS.find(self.call.name)(**settings)
        return made

    @property
    def is_table(self) -> bool:
        """A table of the user's own."""
        return PROBLEMS.find(self.call.name) is problems.table


def _option(name: str) -> str:
    return {"targets": "target"}.get(name, name.replace("_", "-"))


def _takes(name: str, allowed: list[str]) -> str:
    return f"has the settings {', '.join(allowed)}, as in '{name}({allowed[0]}=...)'" if allowed else "has no settings"


def _said(member: Any, name: str) -> str:
    """What the docstring says about an argument."""
    lines = (inspect.getdoc(member) or "").splitlines()
    found = [line.partition(":")[2].strip() for line in lines if line.strip().startswith(f"{name}:")]
    return found[0] if found else "it has no default"


def problem_named(value: Any) -> ProblemName:
    """A problem of the catalogue, a table at a path, or the problem of a run in a folder."""
    if isinstance(value, str) and "(" not in value:
        path = Path(value)
        if path.is_dir() and (path / "job.json").is_file():
            spec = read_json(path / "job.json")["spec"]
            return ProblemName(Call(spec["name"], spec["args"]), run=path)
        if path.suffix.lower() in TABLE_ENDINGS or (path.is_file() and len(path.parts) > 1):
            return ProblemName(Call("table", {"path": path}))
    call = Call.parse(value)
    PROBLEMS.find(call.name)
    return ProblemName(call)


def balancer_of(kind: type) -> Callable[[Any], Balancer]:
    """Reads a balancer of one kind, as the settings of wrappers are."""

    def read(value: Any) -> Balancer:
        made: Balancer = BALANCERS.make(value)
        if not isinstance(made, kind):
            members = (each.__name__ for each in BALANCERS.members if isinstance(each, type) and issubclass(each, kind))
            raise Refused(f"{balancer_words(made)} can't be wrapped here; expected one of {', '.join(members)}")
        return made

    return read


def balancer_words(balancer: Balancer) -> str:
    """The balancer as it can be written on the command line."""
    return Arm(balancer=balancer).balancer_name


def plain_words(made: Any) -> str:
    """An object with settings as it can be written on the command line.

    >>> from polytask.training import Cosine
    >>> plain_words(Cosine(warmup=0.1))
    'Cosine(warmup=0.1, floor=0.0)'
    """
    return str(Call(type(made).__name__, plain(made)["args"]))


def _made_before(value: Any) -> Any:
    """A part of an architecture is made by its catalogue; what comes here is of another type, or wrong."""
    raise ValueError("expected a part of an architecture by its name, as in FPN(64)")


def register() -> None:
    """Teach the parser what can be named."""
    kinds: list[tuple[type, Any, Any]] = [
        *((kind, balancer_of(kind), balancer_words) for kind in KINDS),
        *((kind, _made_before, words) for kind in PARTS),
        (Schedule, SCHEDULES.make, plain_words),
        (Sampler, SAMPLERS.make, plain_words),
        (Part, lambda value: Part(ESTIMATES.make(value)), str),
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
