"""What auxiliary tasks bring: the main tasks alone, with all of them, with all but one, and with one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polytask.errors import PolytaskError
from polytask.evaluation import Interval
from polytask.problems import Problem
from polytask.study.arms import SINGLE_TASK, Arm
from polytask.study.auxiliary_networks import Network, job_of, names_of, planned, with_main
from polytask.study.auxiliary_words import verdict
from polytask.study.brought import AuxiliarySummary, Brought, differences
from polytask.study.kept import Kept, Record, command_line, first_error, without_copies, write_found
from polytask.study.rehearse import rehearse
from polytask.study.running import budget_of, seeds_of, workers
from polytask.study.summarise import summarise, task_info
from polytask.study.summary import Summary
from polytask.training import Budget, directions
from polytask.training.evaluate import selection_score


@dataclass(frozen=True)
class Auxiliaries:
    """The results of a study of auxiliary tasks: every run's record, and what follows from them."""

    folder: Path
    records: list[Record]
    summary: AuxiliarySummary


def auxiliaries(
    problem: Problem,
    main: str | Sequence[str] = (),
    arm: Arm | None = None,
    also: Sequence[Arm] = (),
    seeds: int | Sequence[int] = 3,
    budget: Budget | Mapping[str, Any] | None = None,
    folder: Path | str = "results/auxiliaries",
    *,
    jobs: int | None = None,
    backend: str | None = None,
    confidence: float = 0.95,
    on_record: Callable[[Record, int, int], None] | None = None,
) -> Auxiliaries:
    """Train the main tasks without, with all, with all but one and with one of the auxiliary tasks, and say what each
    of these brought to each main task.

    Of an auxiliary task two things are told, both as gains of a main task in % with paired intervals over seeds: what
    it brings *by itself* (main tasks with it alone, against none), and what it adds *beside the others* (all of them,
    against all but it: leave-one-out). The two differ where auxiliary tasks teach the same thing (each helps by
    itself, none beside the others) or need each other.

    All networks have the same trunk, budget, number of steps and, seed by seed, the same initial weights and the same
    order of samples (where all rows have main labels). Their best epoch is chosen by the main tasks on validation data,
    and so is the network that the verdict recommends; the test split is read once per network, afterwards. Auxiliary
    scores decide nothing. With several main tasks these are always trained together.

    A run that is finished in `folder` is not trained again, an interrupted one goes on, a failed one is tried again.

    Args:
        problem: tasks and data.
        main: the main tasks; all others are auxiliary then. By default those that are not marked auxiliary.
        arm: how the networks are made and trained; hard sharing with equal weights by default.
        also: further ways, each trained with all auxiliary tasks: `balancing.GradientSimilarity()`, for instance.
        seeds: how many, or which; the same for all networks.
        budget: for every network; what is not given is what the problem suggests.
        folder: where everything is kept.
        jobs, backend, confidence, on_record: as in `compare`.

    Cost: 2 n + 2 networks per seed with n > 1 auxiliary tasks (6 with two of them, 2 with one), and one for every
    further way.

    Raises:
        PolytaskError: what was asked for can't work (said before anything is trained), or no seed has both the network
            without and the one with all auxiliary tasks.

    >>> import tempfile
    >>> from polytask import problems
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = auxiliaries(problems.digits(100, auxiliary=True), seeds=1, budget={"epochs": 1}, folder=folder)
    >>> [(each.main, each.auxiliary) for each in found.summary.brought]
    [('left', 'sum'), ('right', 'sum')]
    """
    root = Path(folder).resolve()
    asked = seeds_of(seeds)
    workers(jobs, backend)
    posed = with_main(problem, [main] if isinstance(main, str) else main)
    spent = budget_of(posed, budget)
    networks = planned(posed, arm or Arm(), also)
    selection_score([task for task in posed.tasks if not task.auxiliary], {}, spent.select)  # says what can't be
    with_all = [networks[1], *(each for each in networks if each.further)]
    rehearse(posed, with_all, spent, asked, backend, confidence)
    all_jobs = [job_of(posed, network, seed, spent) for seed in asked for network in networks]
    kept = Kept(root, without_copies(all_jobs), on_record)
    kept.read()
    kept.train(sorted(kept.jobs, key=lambda job: -len(job.problem.tasks)), jobs, backend)
    summary = summed_up(posed, networks, asked, spent, kept.records, confidence)
    write_found(root, summary, kept.records)
    return Auxiliaries(root, kept.records, summary)


def summed_up(
    problem: Problem,
    networks: Sequence[Network],
    seeds: Sequence[int],
    budget: Budget,
    records: Sequence[Record],
    confidence: float = 0.95,
) -> AuxiliarySummary:
    """What follows from the records.

    Args:
        problem: with its auxiliary tasks marked.
        networks: as `planned`.
        seeds, budget, confidence: as in `auxiliaries`.
        records: of all runs.

    Raises:
        PolytaskError: no seed has the networks that everything is compared with.
    """
    without, with_all, *_ = networks
    mains = names_of(problem, auxiliary=False)
    over = [{each["seed"] for each in records if each["arm"] == one.name and not each["error"]} for one in networks[:2]]
    if not over[0] & over[1]:
        raise PolytaskError(f"no seed has both '{without.name}' and '{with_all.name}': {first_error(records)}")
    ways = directions(problem.tasks)
    helpers = names_of(problem, auxiliary=True)
    by_set = {frozenset(network.helpers): network.name for network in networks if not network.further}

    def told(main: str, one: Sequence[str], other: Sequence[str]) -> tuple[Interval, dict[str, Interval]]:
        found = differences(records, by_set[frozenset(one)], by_set[frozenset(other)], main, ways[main], confidence)
        return found.pop(""), found

    brought = []
    for main in mains:
        for name in helpers:
            alone, alone_metrics = told(main, [name], [])
            rest = [each for each in helpers if each != name]
            beside, beside_metrics = told(main, helpers, rest) if rest else (None, {})
            brought.append(Brought(main, name, alone, beside, alone_metrics, beside_metrics))
    together = {main: told(main, helpers, [])[0] for main in mains}
    summary = _networks(problem, networks, seeds, budget, records, confidence)
    further = tuple(network.name for network in networks if network.further)
    sentences = verdict(brought, together, summary, len(helpers) == 1, further)
    return AuxiliarySummary(replace(summary, verdict=sentences), tuple(brought), together, sentences, further)


def _networks(
    problem: Problem,
    networks: Sequence[Network],
    seeds: Sequence[int],
    budget: Budget,
    records: Sequence[Record],
    confidence: float,
) -> Summary:
    """Scores, gains over the network without auxiliary tasks, and costs: of the main tasks alone."""
    mains = names_of(problem, auxiliary=False)
    posed = problem.only(*mains)
    command = command_line("polytask.study.auxiliaries(...)")
    without, *others = networks
    shown = [_of_main(record, mains, without.name) for record in records]
    found = summarise(posed, directions(posed.tasks), others, seeds, budget, shown, command, confidence)
    helped = any(arm.chosen and (arm.validation or 0.0) > 0 for arm in found.arms)
    first = replace(
        found.arms[0],
        name=without.name,
        sharing=without.sharing_name,
        balancer=without.balancer_name,
        chosen=not helped,
    )
    arms = (first, *(replace(arm, chosen=arm.chosen and helped) for arm in found.arms[1:]))
    ways = directions(problem.tasks)
    helpers = tuple(task_info(task, ways, {}) for task in problem.tasks if task.auxiliary)
    title = f"{problem.name}: what do the auxiliary tasks bring?"
    return replace(found, arms=arms, tasks=(*found.tasks, *helpers), title=title)


def _of_main(record: Record, mains: Sequence[str], without: str) -> Record:
    """A record as `summarise` reads it: scores of the main tasks, and what is compared with as the baseline."""
    scores = {split: {name: each[name] for name in mains} for split, each in record.get("scores", {}).items()}
    classes = {name: each for name, each in record.get("classes", {}).items() if name in mains}
    return record | {
        "scores": scores,
        "classes": classes,
        "arm": SINGLE_TASK if record["arm"] == without else record["arm"],
    }
