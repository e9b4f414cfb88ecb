"""Tasks that a network never saw: told by their descriptors alone, against not told, and against their own labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from polytask._plain import plain
from polytask._text import did_you_mean
from polytask.data import TensorData
from polytask.errors import PolytaskError
from polytask.evaluation import interval
from polytask.problems import Problem
from polytask.sharing import Conditioned
from polytask.study.arms import Arm, Labelled
from polytask.study.kept import Kept, Record, command_line, first_error, run_folder, without_copies, write_found
from polytask.study.rehearse import rehearse
from polytask.study.run import Job
from polytask.study.running import budget_of, seeds_of, workers
from polytask.study.summarise import task_info
from polytask.study.summary import MetricInfo
from polytask.study.untold import CONSTANT, NOT_TOLD, OWN, TOLD, WAYS, UnseenSummary, gain_of, mean_of, told_of, verdict
from polytask.tasks import Task, present
from polytask.training import Budget, constant_scores, directions, evaluate
from polytask.training.checkpoint import load_state
from polytask.training.folder import RunFolder


@dataclass(frozen=True)
class Unseen:
    """The results of a study of unseen tasks: every run's record, and what follows from them."""

    folder: Path
    records: list[Record]
    summary: UnseenSummary


def unseen(
    problem: Problem,
    left_out: int | Sequence[Sequence[str]] = 4,
    arm: Arm | None = None,
    seeds: int | Sequence[int] = 3,
    budget: Budget | Mapping[str, Any] | None = None,
    folder: Path | str = "results/unseen",
    *,
    jobs: int | None = None,
    backend: str | None = None,
    confidence: float = 0.95,
    on_record: Callable[[Record, int, int], None] | None = None,
) -> Unseen:
    """Train on some tasks, and ask the network for the others, which it knows by their descriptors alone (zero-shot).

    Every task is left out once. Of each, four scores are told on test data: of the best *constant* that the labels of
    the other tasks allow; of a network that is *not told* which task it works for; of the same network *told* by the
    descriptor; and of a single-task network that was trained on the task's *own labels*. All networks have one trunk
    and budget. Nothing is chosen by labels of the tasks left out. Regression targets are standardised by the labels of
    all tasks of the training together, since the scale of an unseen task is not known.

    Args:
        problem: tasks of one kind, each with a `descriptor`.
        left_out: how many groups the tasks are left out in (task k is in group k modulo this number), or the groups.
        arm: how the network is made and trained; `Conditioned(one_head=True)` with equal weights by default. The model
            must have `for_tasks`.
        seeds: how many, or which.
        budget: for every network; what is not given is what the problem suggests.
        folder: where everything is kept; what is finished there is not trained again.
        jobs, backend, confidence, on_record: as in `compare`.

    Cost: two networks per group and seed, and one per task and seed.

    Raises:
        PolytaskError: a task without descriptor, tasks of several kinds, a group that leaves nothing to train on, a
            model that can't be told of new tasks; said before anything is trained.

    >>> import tempfile
    >>> from polytask import problems
    >>> few = problems.harbours(count=3, n_train=20)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = unseen(few, [["harbour 3"]], seeds=1, budget={"epochs": 1}, folder=folder)
    >>> [(each.task, list(each.scores)) for each in found.summary.tasks]
    [('harbour 3', ['constant', 'not told', 'told', 'own labels'])]
    """
    root = Path(folder).resolve()
    asked = seeds_of(seeds)
    workers(jobs, backend)
    spent = budget_of(problem, budget)
    arm = arm or Arm(partial(Conditioned, one_head=True))
    groups = groups_of(problem, left_out)
    posed: dict[str, dict[tuple[str, ...], Problem]] = {NOT_TOLD: {}, TOLD: {}}
    for group in groups:
        others = [task.name for task in problem.tasks if task.name not in group]
        posed[TOLD][group] = one_scale(problem.only(*others))
        posed[NOT_TOLD][group] = _nothing_told(posed[TOLD][group])
    rehearse(posed[TOLD][groups[0]], [arm], spent, asked, backend, confidence)
    _check_model(posed[TOLD][groups[0]], arm, problem.task(groups[0][0]))
    samples = len(problem.splits["train"])
    joint = {
        (way, group, seed): Job(of[group], _labelled(arm, f"{way}, {_without(group, number)}"), seed, spent, samples)
        for way, of in posed.items()
        for number, group in enumerate(groups, 1)
        for seed in asked
    }
    listed = {name for group in groups for name in group}
    names = [task.name for task in problem.tasks if task.name in listed]
    own = {
        (name, seed): Job(problem.only(name), None, seed, replace(spent, select=None), samples)
        for name in names
        for seed in asked
    }
    kept = Kept(root, without_copies([*joint.values(), *own.values()]), on_record)
    kept.read()
    kept.train(kept.jobs, jobs, backend)
    if failed := [record for record in kept.records if record["error"]]:
        raise PolytaskError(f"{len(failed)} of {len(kept.records)} networks failed: {first_error(failed)}")
    by_key = {record["key"]: record for record in kept.records}
    scores: dict[str, dict[str, dict[int, dict[str, float]]]] = {name: {way: {} for way in WAYS} for name in names}
    for group in groups:
        alike = [_as(problem.task(name), posed[TOLD][group].tasks[0]) for name in group]
        for seed in asked:
            constant = _constant(posed[TOLD][group], alike, problem)
            for name in group:
                record = by_key[own[name, seed].key]
                scores[name][OWN][seed] = record["scores"]["test"][name]
                scores[name][CONSTANT][seed] = constant[name]
            for way in (NOT_TOLD, TOLD):
                job = joint[way, group, seed]
                told = alike if way == TOLD else [replace(task, descriptor=NOTHING) for task in alike]
                for name, found in _scored(job, run_folder(root, by_key[job.key]), told, problem).items():
                    scores[name][way][seed] = found
    ways = directions(problem.tasks)
    tasks = tuple(told_of(name, scores[name], ways[name], asked, confidence) for name in scores)
    means = {
        what: interval(
            [mean_of([gain_of(scores[n], *pair, ways[n], seed) for n in scores]) for seed in asked], confidence
        )
        for what, pair in {"gain": (TOLD, NOT_TOLD), "short_of": (OWN, TOLD)}.items()
    }
    summary = UnseenSummary(
        problem=problem.name,
        summary=problem.summary,
        source=problem.source,
        licence=problem.licence,
        notes=problem.all_notes,
        kind=type(problem.tasks[0]).__name__,
        metrics=_metrics(problem),
        tasks=tasks,
        groups=tuple(groups),
        gain=means["gain"],
        short_of=means["short_of"],
        verdict=verdict(tasks, means["gain"], means["short_of"], confidence),
        arm=arm.name,
        seeds=tuple(asked),
        budget=plain(spent)["args"],
        command=command_line("polytask.study.unseen(...)"),
        confidence=confidence,
    )
    write_found(root, summary, kept.records)
    return Unseen(root, kept.records, summary)


NOTHING = (1.0,)
"""The descriptor of every task in a network that is not told which one it works for."""


def one_scale(problem: Problem) -> Problem:
    """The problem with its tasks fitted on the training labels of all of them together."""
    targets = problem.splits["train"].targets
    first = problem.tasks[0]
    labels = torch.cat([targets[task.name][present(targets[task.name])] for task in problem.tasks])
    fitted = first.fitted(labels)
    return replace(problem, tasks=tuple(_as(task, fitted) for task in problem.tasks))


def _as(task: Task, fitted: Task) -> Task:
    """A task with what another one of its kind has learned from labels."""
    return replace(
        fitted, name=task.name, descriptor=task.descriptor, importance=task.importance, auxiliary=task.auxiliary
    )


def _nothing_told(problem: Problem) -> Problem:
    return replace(problem, tasks=tuple(replace(task, descriptor=NOTHING) for task in problem.tasks))


def _metrics(problem: Problem) -> tuple[MetricInfo, ...]:
    """Of the tasks, with a unit where it is that of all of them."""
    ways = directions(problem.tasks)
    first, *others = (task_info(task, ways, {}).metrics for task in problem.tasks)
    return tuple(metric if all(metric in other for other in others) else replace(metric, unit="") for metric in first)


def _without(group: Sequence[str], number: int) -> str:
    return f"without {len(group)} task{'s' if len(group) > 1 else ''} (group {number})"


def groups_of(problem: Problem, left_out: int | Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The tasks that are left out together.

    Args:
        problem, left_out: as in `unseen`.

    Raises:
        PolytaskError: they can't be left out.
    """
    names = [task.name for task in problem.tasks]
    bare = [task.name for task in problem.tasks if not task.descriptor]
    if bare:
        raise PolytaskError(
            f"{', '.join(bare[:4])} {'has' if len(bare) == 1 else 'have'} no descriptor, so that a network can't be "
            "told of them: give every task one, as in Regression('harbour', descriptor=(1.2, 0.4)); texts become "
            "numbers by data.hashed_words"
        )
    kinds = {(type(task), task.outputs) for task in problem.tasks}
    if len(kinds) > 1:
        raise PolytaskError(
            f"one network can be told of tasks of one kind only, got {', '.join(sorted(k.__name__ for k, _ in kinds))}"
        )
    if isinstance(left_out, int):
        if not 2 <= left_out <= len(names):
            raise PolytaskError(f"{len(names)} tasks can be left out in 2 to {len(names)} groups, got {left_out}")
        return [tuple(names[k::left_out]) for k in range(left_out)]
    groups = [tuple(group) for group in left_out]
    for name in (name for group in groups for name in group):
        if name not in names:
            raise PolytaskError(f"there is no task '{name}' to leave out; {did_you_mean(name, names)}")
    listed = [name for group in groups for name in group]
    if not groups or not all(groups) or len(set(listed)) < len(listed):
        raise PolytaskError(f"name the tasks to leave out, each in one group, got {[list(group) for group in groups]}")
    if any(len(group) == len(names) for group in groups):
        raise PolytaskError("all tasks are left out at once: nothing is left to train on")
    return groups


def _labelled(arm: Arm, label: str) -> Labelled:
    return Labelled(**{each.name: getattr(arm, each.name) for each in fields(Arm)}, label=label)


def _check_model(problem: Problem, arm: Arm, new: Task) -> None:
    """The network of the arm can be told of a task that it was not made for."""
    with torch.random.fork_rng():
        model: Any = arm.sharing(problem.backbone, problem.tasks)
    if not hasattr(model, "for_tasks"):
        raise PolytaskError(
            f"{arm.sharing_name} can't be told of tasks that it was not made for; take Conditioned(one_head=True)"
        )
    model.for_tasks([_as(new, problem.tasks[0])])


def _scored(job: Job, folder: Path, tasks: Sequence[Task], problem: Problem) -> dict[str, dict[str, float]]:
    """Test scores of tasks that a trained network never saw."""
    assert job.arm is not None
    with torch.random.fork_rng():
        model: Any = job.arm.sharing(job.problem.backbone, job.problem.tasks)
    load_state(model, RunFolder(folder).load_best(), folder)
    data = problem.splits["test"].only(*(task.name for task in tasks))
    return evaluate(model.for_tasks(tasks), tasks, data)


def _constant(seen: Problem, tasks: Sequence[Task], problem: Problem) -> dict[str, dict[str, float]]:
    """Test scores of the best constant for the labels of all tasks that were seen."""
    train, test = seen.splits["train"], problem.splits["test"]
    labels = torch.cat([train.targets[task.name][present(train.targets[task.name])] for task in seen.tasks])
    pooled = TensorData(torch.zeros(len(labels)), {task.name: labels for task in tasks})
    return constant_scores(tasks, pooled, test.only(*(task.name for task in tasks)))
