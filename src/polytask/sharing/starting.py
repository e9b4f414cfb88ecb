"""Begin where trained single-task networks ended."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

from torch import Tensor, nn

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask, key
from polytask.sharing.model import MultiTaskModel

Model = TypeVar("Model", bound=MultiTaskModel)
State = Mapping[str, Tensor]

SHOWN = 4
"""Differences that an error lists."""


def start_from(model: Model, states: Mapping[str, State]) -> Model:
    """Give the network of each task the weights of one that was trained before, backbone and head.

    What the architecture has besides (units of cross-stitch and NDDR, mixtures of sluice networks) stays as it is,
    and so do the networks of tasks that are not named.

    Args:
        model: with a network per task: `CrossStitch`, `NDDR`, `Sluice`, `SoftSharing`, `Independent`, or
            `HardSharing(shared_stages=0)`. It is changed in place.
        states: by task, the `state_dict()` of a model that has this task: of `HardSharing`, whose trunk becomes the
            task's backbone, or of one of those above. The task's head bears the same name there.

    Returns:
        The model.

    Raises:
        PolytaskError: the model has no such task, or no network per task; a state holds no network of the task, or one
            of another form: the message lists what does not fit. The model is as it was.

    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("a"), tasks.MultiClass("b", 3)]
    >>> alone = {task.name: sharing.HardSharing(sharing.MLP(4), [task]) for task in both}
    >>> model = sharing.CrossStitch(sharing.MLP(4), both)
    >>> started = start_from(model, {name: each.state_dict() for name, each in alone.items()})
    >>> weights = started.networks.of("b").head.weight
    >>> bool((weights == alone["b"].heads.of("b").weight).all())
    True
    """
    names = [task.name for task in model.tasks]
    for unknown in sorted(set(states).difference(names)):
        raise PolytaskError(f"this model has no task '{unknown}'; {did_you_mean(unknown, names)}")
    found = [(_place(model, task), _network(task, state)) for task, state in states.items()]
    wrong = [
        line
        for task, (place, network) in zip(states, found, strict=True)
        for part in _PARTS
        for line in _differences(f"{part} of '{task}'", getattr(place, part), getattr(network, part))
    ]
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise PolytaskError(
            f"the trained networks do not fit into this {type(model).__name__}: {'; '.join(wrong[:SHOWN])}{more}. "
            "Train them with the same backbone, tasks and decoder"
        )
    for place, network in found:
        for part in _PARTS:
            getattr(place, part).load_state_dict(getattr(network, part))
    return model


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


class _Place(NamedTuple):
    """Where the network of a task is in a model."""

    backbone: nn.Module
    head: nn.Module


class _Network(NamedTuple):
    """The weights of a task's network."""

    backbone: State
    head: State


_PARTS = _Network._fields


def _place(model: MultiTaskModel, task: str) -> _Place:
    networks, branches = getattr(model, "networks", None), getattr(model, "branches", None)
    if isinstance(networks, PerTask):
        network = networks.of(task)
        return _Place(network.get_submodule("backbone"), network.get_submodule("head"))
    if isinstance(branches, PerTask) and branches and hasattr(branches.of(task), "whole"):
        heads = model.get_submodule("heads")
        assert isinstance(heads, PerTask)
        return _Place(branches.of(task).get_submodule("whole"), heads.of(task))
    raise PolytaskError(
        f"this {type(model).__name__} has no whole network per task, which could start from a trained one; take "
        "CrossStitch, NDDR, Sluice, SoftSharing, Independent or HardSharing(shared_stages=0)"
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


def _differences(what: str, module: nn.Module, state: State) -> Iterator[str]:
    own = module.state_dict()
    for name, each in own.items():
        if name not in state:
            yield f"the {what} lacks {name}"
        elif state[name].shape != each.shape:
            yield f"the {what} has {name} of shape {list(state[name].shape)} instead of {list(each.shape)}"
    for name in state:
        if name not in own:
            yield f"the {what} has {name}, which the model has not"
