"""Everything that has a name on the command line, straight from the packages' own catalogues."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import torch
from jsonargparse.typing import register_type
from torch.optim import Optimizer

from polytask import data, problems, sharing, tasks, training
from polytask._plain import plain, words
from polytask.balancing import METHODS, WRAPPERS, Balancer, GramianBalancer, JacobianBalancer, LastLayers
from polytask.cli.chosen import run_in
from polytask.cli.errors import Refused
from polytask.cli.names import Call, Catalogue, listed, needed, sayable
from polytask.data.tables import is_table
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.sharing import Backbone, Imported
from polytask.sharing.backbones.naming import recipe_named
from polytask.study import TPE, Arm, Dirichlet, Grid, Sampler
from polytask.study.arms import Sharing
from polytask.training import L2SP, FineTuning, Schedule
from polytask.training.folder import read_json

DESCRIPTIONS = (".yaml", ".yml")


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
PENALTIES: Mapping[type, Catalogue] = {L2SP: Catalogue("penalty", (L2SP,))}
FINE_TUNINGS = Catalogue("recipe", (FineTuning,), parts=PENALTIES)
SAMPLERS = Catalogue("sampler", (Dirichlet, Grid, TPE))
ROW_SAMPLERS = Catalogue("sampler", listed(data, data.Sampler))
SCHEDULES = Catalogue("schedule", listed(training, Schedule))
OPTIMIZERS = Catalogue("optimizer", listed(torch.optim, Optimizer))
PROBLEMS = Catalogue(
    "problem",
    tuple(each for name in problems.__all__ if inspect.isfunction(each := getattr(problems, name))),
)
BACKBONES = Catalogue(
    "backbone",
    tuple(each for name in sharing.__all__ if makes_trunks(each := getattr(sharing, name)) and sayable(each)),
    parts={sharing.TableInputs: Catalogue("inputs", (sharing.TableInputs,))},
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
        if self.make is None:
            return "the problem's own"
        return str(self.make) if isinstance(self.make, Imported) else plain_words(self.make)

    def on(self, posed: Problem) -> Any:
        """The recipe for a problem; one that leaves things open (`Fusion`) takes them from the problem's own trunk."""
        completed = getattr(self.make, "completed", None)
        return completed(posed.backbone) if completed else self.make


class Part:
    """Which part of the gradients is looked at, as it is named on the command line."""

    def __init__(self, estimate: LastLayers | None) -> None:
        self.estimate = estimate  # None: all of them

    def __str__(self) -> str:
        return "none, exact" if self.estimate is None else plain_words(self.estimate)


class Recipe:
    """How a network is trained on from trained weights, as it is named on the command line."""

    def __init__(self, recipe: FineTuning | None) -> None:
        self.recipe = recipe  # None: as usual

    def __str__(self) -> str:
        return "FineTuning, everything is loaded and learns" if self.recipe is None else words(self.recipe)


class Drawing:
    """How training samples are drawn, as it is named on the command line."""

    def __init__(self, sampler: data.Sampler | None) -> None:
        self.sampler = sampler  # None: all are shuffled together

    def __str__(self) -> str:
        return "all shuffled" if self.sampler is None else words(self.sampler)


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

    @property
    def is_described(self) -> bool:
        """A YAML file that names a table."""
        return Path(self.call.args.get("path", "")).suffix.lower() in DESCRIPTIONS


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
        named = value in [each.__name__ for each in PROBLEMS.members]
        try:
            run = None if named else run_in(path)
        except PolytaskError as error:
            raise Refused(str(error)) from error
        if run is not None:
            spec = read_json(run / "job.json")["spec"]
            return ProblemName(Call(spec.get("name", ""), spec.get("args", {})), run=path)
        file = path.suffix.lower() in DESCRIPTIONS or (path.is_file() and len(path.parts) > 1)
        if file or (is_table(path) and not named):
            return ProblemName(Call("table", {"path": path}))
        if not named and (path.suffix or len(path.parts) > 1):
            raise Refused(_no_problem_at(path))
    call = Call.parse(value)
    PROBLEMS.find(call.name)
    return ProblemName(call)


def _no_problem_at(path: Path) -> str:
    """Why a path names no problem."""
    wanted = "a table (.csv, .parquet, ...), its YAML file, the folder of a run"
    if path.exists():
        return f"{path} holds no problem: expected {wanted}, or a name of `polytask list`"
    return f"there is no file or folder {path}; expected {wanted}, or a name of `polytask list`"


def trunk_named(value: Any) -> Any:
    """A backbone of the catalogue, or by a dotted name one of the user's own."""
    if isinstance(value, str) and "." in value.partition("(")[0]:
        try:
            return recipe_named(value, {})
        except PolytaskError as error:
            raise Refused(str(error)) from error
    return BACKBONES.make(value)


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
        *((kind, _made_before, words) for kind in (*PARTS, *PENALTIES)),
        (Schedule, SCHEDULES.make, plain_words),
        (Sampler, SAMPLERS.make, plain_words),
        (Drawing, lambda value: Drawing(ROW_SAMPLERS.make(value)), str),
        (Part, lambda value: Part(ESTIMATES.make(value)), str),
        (Recipe, lambda value: Recipe(FINE_TUNINGS.make(value)), str),
        (Architecture, lambda value: Architecture(ARCHITECTURES.later(value)), str),
        (Trunk, lambda value: Trunk(trunk_named(value)), str),
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
