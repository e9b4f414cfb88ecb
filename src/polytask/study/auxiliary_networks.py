"""Which networks a study of auxiliary tasks trains: the main tasks with every set of auxiliary tasks that it needs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.study.arms import Arm, Labelled
from polytask.study.run import Job
from polytask.training import Budget

NONE = "no auxiliary task"
ALL = "all auxiliary tasks"


@dataclass(frozen=True)
class Network(Labelled):
    """The main tasks with some auxiliary ones, trained in one way.

    Args:
        helpers: the auxiliary tasks.
        further: it is trained in another way than the networks that differ in their auxiliary tasks alone.
    """

    helpers: tuple[str, ...] = ()
    further: bool = False


def with_main(problem: Problem, main: Sequence[str]) -> Problem:
    """The problem with these main tasks first, and all others auxiliary; without any named, as its tasks are marked.

    Raises:
        PolytaskError: there is no such task, no auxiliary task is left, or none is marked.
    """
    names = [task.name for task in problem.tasks]
    for name in main:
        if name not in names:
            raise PolytaskError(f"there is no task '{name}' to be a main one; {did_you_mean(name, names)}")
    chosen = [task.name for task in problem.tasks if (task.name in main if main else not task.auxiliary)]
    marked = [replace(task, auxiliary=task.name not in chosen) for task in problem.tasks]
    if len(chosen) == len(names):
        told = "every task is a main one" if main else "no task is marked auxiliary"
        raise PolytaskError(
            f"{told} in '{problem.name}' ({', '.join(names)}): name those that count, and the others are auxiliary "
            f"(main=['{names[0]}'], --main {names[0]})"
        )
    return replace(problem, tasks=tuple(sorted(marked, key=lambda task: task.auxiliary)))


def planned(problem: Problem, arm: Arm, also: Sequence[Arm] = ()) -> list[Network]:
    """The networks of a study, the one without auxiliary tasks first; each set of auxiliary tasks once.

    Raises:
        PolytaskError: a way begins with trained networks: what these had learned could not be told from what auxiliary
            tasks bring.

    >>> from polytask import problems
    >>> [network.name for network in planned(with_main(problems.digits(100, auxiliary=True), ["left"]), Arm())]
    ['no auxiliary task', 'all auxiliary tasks', 'all but sum, only right', 'all but right, only sum']
    """
    for each in (arm, *also):
        if each.begins_trained:
            raise PolytaskError(
                f"'{each.name}' begins with trained networks; a study of auxiliary tasks trains all of its own from "
                "nothing: leave out from_single_task and fine_tuning"
            )
    helpers = names_of(problem, auxiliary=True)
    sets: dict[tuple[str, ...], list[str]] = {(): [NONE], helpers: [ALL if len(helpers) > 1 else f"with {helpers[0]}"]}
    if len(helpers) > 1:
        for name in reversed(helpers):
            sets.setdefault(tuple(each for each in helpers if each != name), []).append(f"all but {name}")
        for name in helpers:
            sets.setdefault((name,), []).append(f"only {name}")
    found = [_network(arm, ", ".join(labels), each) for each, labels in sets.items()]
    others = [each for each in also if each.described != arm.described]
    return found + [_network(each, f"{found[1].label}, {_apart(each, arm)}", helpers, True) for each in others]


def names_of(problem: Problem, auxiliary: bool) -> tuple[str, ...]:
    """The names of the auxiliary tasks, or of the main ones."""
    return tuple(task.name for task in problem.tasks if task.auxiliary == auxiliary)


def _network(arm: Arm, label: str, helpers: tuple[str, ...], further: bool = False) -> Network:
    settings = {each.name: getattr(arm, each.name) for each in fields(arm)}
    return Network(**settings, label=label, helpers=helpers, further=further)


def _apart(arm: Arm, usual: Arm) -> str:
    """What a further way is called: by its balancer, and by its architecture where that is another one."""
    return arm.balancer_name if arm.sharing_name == usual.sharing_name else arm.name


def job_of(problem: Problem, network: Network, seed: int, budget: Budget) -> Job:
    """The training of a network: as many steps as with all rows of the problem."""
    mains = names_of(problem, auxiliary=False)
    return Job(problem.only(*mains, *network.helpers), network, seed, budget, len(problem.splits["train"]))
