"""What several commands ask for, and what they make of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from polytask.balancing import (
    DWA,
    MGDA,
    Balancer,
    Equal,
    GramianBalancer,
    LossBalancer,
    PCGrad,
    Uncertainty,
)
from polytask.cli import show
from polytask.cli.catalogues import Architecture, Drawing, Part, ProblemName, Trunk
from polytask.data.tables import Overrides
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.sharing import HardSharing
from polytask.study import Arm
from polytask.training import Budget

BALANCERS: tuple[Balancer, ...] = (Equal(), Uncertainty(), DWA(), PCGrad(), MGDA())
Way = Literal["auto", "sequential", "batched", "layerwise", "two-pass"]
HARD = Architecture(HardSharing)
OWN = Trunk(None)
EXACT = Part(None)
SHUFFLED = Drawing(None)


def posed_by(
    named: ProblemName,
    target: Sequence[str],
    schema: Path | None,
    data_root: Path | None,
    backbone: Trunk,
) -> Problem:
    """The problem made; of a table, it is printed first what every column was taken for."""
    if named.run is not None:
        raise PolytaskError(
            f"{named.run} holds a trained network, not a problem to train on: `polytask describe` and `evaluate` take "
            "it; name the problem itself, as in `polytask list`"
        )
    there = Path(named.call.args.get("path", ".")).exists()  # a table that is not there is told as such, below
    if there and not target and lacks_targets(named, schema):
        raise PolytaskError("name what to predict in the table: --target column:kind (may be repeated)")
    settings = named.settings(targets=tuple(target), schema=schema, data_root=data_root)
    posed = named.make(settings)
    if posed.schema is not None:
        show.columns(posed.schema)
    return posed if backbone.make is None else replace(posed, backbone=backbone.on(posed))


def lacks_targets(named: ProblemName, schema: Path | None) -> bool:
    """Whether it is a table of which nothing says yet what is to be predicted."""
    if not named.is_table or "targets" in named.call.args:
        return False
    said = named.call.args
    file = schema or said.get("schema") or (said["path"] if named.is_described else None)
    return file is None or not Overrides.read(Path(file)).targets


def named_targets(main: Sequence[str], target: Sequence[str]) -> tuple[list[str], list[int]]:
    """What to predict in a table whose targets nothing names yet: those given, and the main ones that are not among
    them; and which of these are main.

    >>> named_targets(["price:regression"], ["rooms", "area"])
    (['rooms', 'area', 'price:regression'], [2])
    >>> named_targets(["price"], ["rooms", "price:regression"])
    (['rooms', 'price:regression'], [1])

    Raises:
        PolytaskError: none is left to be auxiliary.
    """
    found = {_name_in(each): each for each in target}
    found |= {_name_in(each): each for each in main if _name_in(each) not in found}
    places = {_name_in(each): place for place, each in enumerate(found.values())}
    mains = [places[_name_in(each)] for each in main]
    if len(set(mains)) == len(found):
        raise PolytaskError(
            f"no auxiliary task is named beside {', '.join(main)}: name the auxiliary targets by --target, as in "
            f"--main {main[0]} --target column:kind (may be repeated)"
        )
    return list(found.values()), mains


def _name_in(target: str) -> str:
    """What a target is called that is written as column, column:kind or name=column+column:kind."""
    return (target.rpartition(":")[0] or target).partition("=")[0]


def budget_for(problem: Problem, given: Mapping[str, Any]) -> Budget:
    """What was given, else what the problem suggests, else the default."""
    return Budget().updated({**problem.suggested, **given})


def arms_of(
    sharing: Sequence[Architecture],
    balancers: Sequence[Balancer],
    at_features: bool,
    way: Way,
    part: Part,
) -> list[Arm]:
    """Every architecture with every method; way and estimate go to the methods that weigh gradients.

    Raises:
        PolytaskError: none of them does.
    """
    whom = {
        "--way": (way, "auto", [each for each in balancers if not isinstance(each, LossBalancer)]),
        "--estimate": (part.estimate, None, [each for each in balancers if _whole_gramian(each)]),
    }
    for option, (given, usual, some) in whom.items():
        if given != usual and not some:
            raise PolytaskError(
                f"{option} is for methods that weigh the tasks by their gradients, as MGDA and PCGrad do; got "
                f"{' '.join(type(each).__name__ for each in balancers)}"
            )
    return [
        Arm(
            each.make,
            balancer,
            at_features,
            "auto" if isinstance(balancer, LossBalancer) else way,
            part.estimate if _whole_gramian(balancer) else None,
        )
        for each in sharing
        for balancer in balancers
    ]


def sampled(arms: Sequence[Arm], samplers: Sequence[Drawing]) -> list[Arm]:
    """Every arm with every sampler."""
    return [replace(arm, sampler=each.sampler) for arm in arms for each in samplers or (SHUFFLED,)]


def _whole_gramian(balancer: Balancer) -> bool:
    """Whether it weighs by the Gramian of whole batches, which can be estimated."""
    return isinstance(balancer, GramianBalancer) and balancer.samples == 1


def slug(text: str) -> str:
    return re.sub(r"[^\w.=]+", "-", text).strip("-")[:80]
