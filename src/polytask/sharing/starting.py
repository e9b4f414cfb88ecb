"""Begin where trained networks ended."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar, cast

from torch import Tensor

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask, key
from polytask.sharing.model import MultiTaskModel
from polytask.sharing.stages import halves, stages_of, trunks

Model = TypeVar("Model", bound=MultiTaskModel)
State = Mapping[str, Tensor]
Stages = tuple[int, ...] | Literal["all"]

SHOWN = 4
"""Differences that an error lists."""


def start_from(model: Model, states: State | Mapping[str, State], stages: Stages = "all", heads: bool = True) -> Model:
    """Give a model the weights of one that was trained before, or the network of each task those of its own one.

    A `state_dict()` of one model: its trunk becomes the trunk of this model, of every network where each task has one.
    Whatever else bears the same name and has the same shape in both is taken as well: heads of tasks that both have,
    units of cross-stitch, experts.

    A `state_dict()` per task: the network of each task, backbone and head, is taken from its own one. What the
    architecture has besides (units of cross-stitch and NDDR, mixtures of sluice networks) stays as it is, and so do the
    networks of tasks that are not named.

    Args:
        model: is changed in place. For states by task it has a network per task: `CrossStitch`, `NDDR`, `Sluice`,
            `SoftSharing`, `Independent`, or `HardSharing(shared_stages=0)`.
        states: of one model with a whole trunk, of whatever architecture; or by task, of `HardSharing`, whose trunk
            becomes the task's backbone, or of one of those above. Heads bear the same names there.
        stages: whose weights are taken, 0 (the lowest) to S - 1, as in (0, 1).
        heads: take what lies above the trunk, too; never where the last stage is left out, or beside states by task.

    Returns:
        The model.

    Raises:
        PolytaskError: the model has no such task or stage, or no network per task; a state holds no trunk, several, or
            one of another form: the message lists what does not fit. The model is as it was.

    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("a"), tasks.MultiClass("b", 3)]
    >>> trained = sharing.HardSharing(sharing.MLP(4), both)
    >>> model = start_from(sharing.HardSharing(sharing.MLP(4), [tasks.Binary("c")]), trained.state_dict())
    >>> bool((model.shared.stages[1].linear.weight == trained.shared.stages[1].linear.weight).all())
    True
    >>> alone = {task.name: sharing.HardSharing(sharing.MLP(4), [task]) for task in both}
    >>> stitched = sharing.CrossStitch(sharing.MLP(4), both)
    >>> started = start_from(stitched, {name: each.state_dict() for name, each in alone.items()})
    >>> bool((started.networks.of("b").head.weight == alone["b"].heads.of("b").weight).all())
    True
    """
    model.load_state_dict(model.state_dict() | fitting(model, states, stages, heads))
    return model


def fitting(
    model: MultiTaskModel, states: State | Mapping[str, State], stages: Stages = "all", heads: bool = True
) -> dict[str, Tensor]:
    """What `start_from` takes, by its name in the model's own `state_dict()`; arguments and errors as there."""
    wanted = _wanted(model, stages, heads)
    if any(isinstance(each, Tensor) for each in states.values()):
        return _whole(model, cast(State, states), wanted)
    return _by_task(model, cast(Mapping[str, State], states), wanted)


def can_start(model: MultiTaskModel) -> bool:
    """Whether every task has a network of its own that `start_from` can give weights.

    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("a"), tasks.Binary("b")]
    >>> [can_start(make(sharing.MLP(4), both)) for make in (sharing.NDDR, sharing.HardSharing)]
    [True, False]
    """
    try:
        return all(_place(model, task.name) for task in model.tasks)
    except PolytaskError:
        return False


@dataclass(frozen=True)
class _Wanted:
    """Which weights of a model are to be taken.

    Args:
        stage: that each weight of the trunk belongs to.
        stages: those to take.
        all: they are all there are, and the trained trunk shall have no more.
        above: also what lies above the trunk.
    """

    stage: Mapping[str, int]
    stages: frozenset[int]
    all: bool
    above: bool

    def trunk(self, name: str) -> bool:
        """Whether a weight belongs to one of the stages."""
        return self.stage.get(name, -1) in self.stages


def _wanted(model: MultiTaskModel, stages: Stages, heads: bool) -> _Wanted:
    found = stages_of(model)
    chosen = frozenset(chosen_stages(stages, found))
    return _Wanted(found, chosen, stages == "all", heads and max(found.values(), default=-1) in {*chosen, -1})


def chosen_stages(stages: Stages, found: Mapping[str, int], what: str = "stages") -> tuple[int, ...]:
    """Numbers of stages, as they are asked for.

    Raises:
        PolytaskError: one that the model has not.
    """
    count = max(found.values(), default=-1) + 1
    if stages == "all":
        return tuple(range(count))
    given = stages if isinstance(stages, tuple | list) else ()
    if given != stages or not all(isinstance(each, int) and 0 <= each < count for each in given):
        raise PolytaskError(
            f'{what}: expected "all" or numbers of stages from 0 (the lowest) to {count - 1} (the last of this model), '
            f"as in (0, 1), got {stages!r}"
        )
    return tuple(sorted(set(given)))


def _by_task(model: MultiTaskModel, states: Mapping[str, State], wanted: _Wanted) -> dict[str, Tensor]:
    names = [task.name for task in model.tasks]
    for unknown in sorted(set(states).difference(names)):
        raise PolytaskError(f"this model has no task '{unknown}'; {did_you_mean(unknown, names)}")
    found = [(_place(model, task), _network(task, state)) for task, state in states.items()]
    own = model.state_dict()
    taken: dict[str, Tensor] = {}
    wrong: list[str] = []
    for task, (place, network) in zip(states, found, strict=True):
        for part in _PARTS if wanted.above else _PARTS[:1]:
            prefix, there = getattr(place, part), getattr(network, part)
            here = {name: each for name, each in _below(prefix, own) if _asked(prefix + name, wanted)}
            wrong += _differences(f"the {part} of '{task}'", here, there, wanted.all)
            taken |= {prefix + name: there[name] for name in here if name in there}
    _refuse(
        model,
        wrong,
        "the trained networks do not fit into this",
        "Train them with the same backbone, tasks and decoder",
    )
    return taken


def _asked(name: str, wanted: _Wanted) -> bool:
    return wanted.trunk(name) or name not in wanted.stage


def _whole(model: MultiTaskModel, state: State, wanted: _Wanted) -> dict[str, Tensor]:
    own = model.state_dict()
    taken: dict[str, Tensor] = {}
    wrong: list[str] = []
    for place, (names, whole) in _trunks(model, own).items():
        asked = {name: full for name, full in names.items() if wanted.trunk(full)}
        if not asked:
            continue
        there = _trained_trunk(model, state, place, asked)
        here = {name: own[full] for name, full in asked.items()}
        wrong += _differences("the trained trunk", here, there, wanted.all and whole)
        taken |= {full: there[name] for name, full in asked.items() if name in there}
    above = {name: each for name, each in own.items() if name not in wanted.stage and name in state}
    if wanted.above:
        wrong += _differences("the trained model", above, state, strict=False)
        taken |= {name: state[name] for name in above}
    _refuse(
        model, wrong, "the trained weights do not fit into this",
        "Train with the same backbone; leave out stages (stages=, load=), or what lies above them (heads=False)",
    )  # fmt: skip
    if not taken and own:
        raise PolytaskError(
            f"nothing of the trained weights fits into this {type(model).__name__}: no name is the same; give the "
            "state_dict() of a model with the same backbone"
        )
    return taken


def _trunks(model: MultiTaskModel, own: State) -> dict[str, tuple[dict[str, str], bool]]:
    """Where trunks are in a model: their weights by their names in a whole trunk, and whether it is one."""
    found = {prefix: ({name: prefix + name for name, _ in _below(prefix, own)}, True) for prefix, _ in trunks(model)}
    for prefix, _, first in halves(model):
        found[prefix] = ({_counted(name, first): prefix + name for name, _ in _below(prefix, own)}, False)
    return found


def _counted(name: str, first: int) -> str:
    """The name in a whole trunk of a weight in its upper part, whose stages are counted from 0 again."""
    head, number, *rest = name.split(".")
    return ".".join([head, str(int(number) + first), *rest]) if head == "stages" and number.isdigit() else name


def _trained_trunk(model: MultiTaskModel, state: State, place: str, asked: Mapping[str, str]) -> dict[str, Tensor]:
    """The trunk among trained weights: that of the same place, or the only one; by names as in a whole trunk."""
    if all(full in state for full in asked.values()):
        return dict(_below(place, state)) | {name: state[full] for name, full in asked.items()}
    first = next(iter(asked))
    found = [
        prefix
        for name in state
        if f".{name}".endswith(f".{first}") and "branches." not in (prefix := name.removesuffix(first))
    ]  # (above a cut every task has its own)
    if len(found) == 1:
        return dict(_below(found[0], state))
    if found:
        raise PolytaskError(
            f"the trained weights hold {len(found)} trunks ({', '.join(found)}), and this {type(model).__name__} could "
            "start from any: take those of a model with one trunk, or give them by task, {task: weights}"
        )
    listed = ", ".join(list(state)[:3])
    raise PolytaskError(
        f"the trained weights hold no trunk like that of this {type(model).__name__}: there is no {first} (they begin "
        f"with {listed or 'nothing'}); train with the same backbone, or leave out its stage (stages=, load=)"
    )


def _refuse(model: MultiTaskModel, wrong: list[str], what: str, way_out: str) -> None:
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise PolytaskError(f"{what} {type(model).__name__}: {'; '.join(wrong[:SHOWN])}{more}. {way_out}")


class _Place(NamedTuple):
    """Where the network of a task is in a model: how the names of its weights begin."""

    backbone: str
    head: str


class _Network(NamedTuple):
    """The weights of a task's network."""

    backbone: State
    head: State


_PARTS = _Network._fields


def _place(model: MultiTaskModel, task: str) -> _Place:
    networks, branches, name = getattr(model, "networks", None), getattr(model, "branches", None), key(task)
    if isinstance(networks, PerTask):
        return _Place(f"networks.{name}.backbone.", f"networks.{name}.head.")
    if isinstance(branches, PerTask) and branches and hasattr(branches.of(task), "whole"):
        return _Place(f"branches.{name}.whole.", f"heads.{name}.")
    raise PolytaskError(
        f"this {type(model).__name__} has no whole network per task, which could start from a trained one; take "
        "CrossStitch, NDDR, Sluice, SoftSharing, Independent or HardSharing(shared_stages=0), or start all of it from "
        "one trained model"
    )


def _network(task: str, state: State) -> _Network:
    """The task's network among the weights of a model."""
    name = key(task)
    head = f"heads.{name}."
    forms = (
        (f"networks.{name}.backbone.", f"networks.{name}.head."),
        (f"branches.{name}.whole.", head),
        *([("shared.", head)] if not any(each.startswith("branches.") for each in state) else []),
    )
    for form in forms:
        found = _Network(*(dict(_below(prefix, state)) for prefix in form))
        if all(found):
            return found
    listed = ", ".join(list(state)[:3])
    raise PolytaskError(
        f"the state given for '{task}' holds no whole network with a head of that name (it begins with "
        f"{listed or 'nothing'}); expected that of HardSharing, or of a model with a network per task, which was "
        "trained with this task"
    )


def _below(prefix: str, state: State) -> Iterator[tuple[str, Tensor]]:
    return ((name.removeprefix(prefix), each) for name, each in state.items() if name.startswith(prefix))


def _differences(what: str, own: State, state: State, strict: bool) -> Iterator[str]:
    """How trained weights differ from those wanted; `strict`: they shall have no more."""
    for name, each in own.items():
        if name not in state:
            yield f"{what} lacks {name}"
        elif state[name].shape != each.shape:
            yield f"{what} has {name} of shape {list(state[name].shape)} instead of {list(each.shape)}"
    for name in state if strict else ():
        if name not in own:
            yield f"{what} has {name}, which the model has not"
