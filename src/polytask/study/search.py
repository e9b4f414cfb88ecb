"""`search_weights`: the best fixed weights, chosen on validation data; the baseline that methods have to beat."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from polytask._plain import plain
from polytask.balancing import Static
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.sharing import HardSharing
from polytask.study.arms import Arm, Sharing
from polytask.study.kept import first_error, references
from polytask.study.rehearse import rehearse
from polytask.study.run import Job, baselines, finished
from polytask.study.running import Record, budget_of, run_all, seeds_of, workers
from polytask.training import Budget
from polytask.training.checkpoint import write_whole
from polytask.training.evaluate import Scores, selection_score

SMALLEST = 1e-6
"""Of the numbers that TPE draws."""

DIGITS = 4
"""Decimals of a weight: what is printed is what was trained."""


@dataclass(frozen=True)
class Trial:
    """Fixed weights, and how well networks trained with them did.

    Args:
        weights: by task name; they sum to the number of tasks.
        validation: delta_m over tasks in %, against single-task networks, on validation data, the mean over the
            seeds; NaN when a run failed. This decides.
        test: the same on test data; it decides nothing.
        error: of the first run that failed.
    """

    weights: Mapping[str, float]
    validation: float
    test: float
    error: str | None = None


@dataclass(frozen=True)
class Search:
    """What a search found.

    Args:
        folder: where everything is kept.
        trials: in the order in which they were asked for; the first has equal weights.
        networks: how many were trained, single-task ones included.
        sharing: the architecture.
    """

    folder: Path
    trials: tuple[Trial, ...]
    networks: int
    sharing: Sharing = HardSharing

    @property
    def best(self) -> Trial:
        """The best one on validation data."""
        return max(self.compared, key=lambda trial: trial.validation)

    @property
    def compared(self) -> list[Trial]:
        """Those that did not fail."""
        return [trial for trial in self.trials if math.isfinite(trial.validation)]

    @property
    def arm(self) -> Arm:
        """The weights found, for `compare`."""
        return Arm(self.sharing, Static(self.best.weights))

    @property
    def spread(self) -> tuple[float, float, float]:
        """The worst, the median and the best delta_m on validation data: how much the weights matter."""
        values = [trial.validation for trial in self.compared]
        return min(values), median(values), max(values)


class Sampler(ABC):
    """Which weights are tried."""

    at_once: int | None = None
    """Trials that are asked for before their results are looked at; None: all of them."""

    @abstractmethod
    def shares(self, number: int, tasks: int, trials: int, seen: Sequence[Trial]) -> Sequence[float] | None:
        """The share of every task, positive, in trial `number` of `trials` (from 1; 0 has equal weights).

        None: there are no more. It depends on nothing but the arguments, so that a search can go on where it stopped.
        """


@dataclass(frozen=True)
class Dirichlet(Sampler):
    """Random weights on the simplex; more trials go on where fewer ended.

    Args:
        concentration: 1 is uniform, more stays nearer to equal weights, less goes nearer to the corners.
        seed: of the draws.

    >>> Dirichlet().shares(1, tasks=2, trials=20, seen=())
    [0.73..., 0.26...]
    """

    concentration: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.concentration > 0:
            raise PolytaskError(f"the concentration of Dirichlet must be positive, got {self.concentration}")

    def shares(self, number: int, tasks: int, trials: int, seen: Sequence[Trial]) -> Sequence[float]:
        drawn = np.random.default_rng([self.seed, number]).dirichlet([self.concentration] * tasks)
        found: list[float] = np.maximum(drawn, 10.0**-DIGITS).tolist()
        return found


@dataclass(frozen=True)
class Grid(Sampler):
    """The finest regular grid inside the simplex that the trials suffice for.

    >>> [Grid().shares(k, tasks=2, trials=4, seen=()) for k in (1, 2, 3)]
    [(0.25, 0.75), (0.75, 0.25), None]
    """

    def shares(self, number: int, tasks: int, trials: int, seen: Sequence[Trial]) -> Sequence[float] | None:
        if tasks == 1:
            return None

        def besides(parts: int) -> int:
            """Points of a grid of so many parts, besides the middle."""
            return math.comb(parts - 1, tasks - 1) - (parts % tasks == 0)

        parts = tasks
        while besides(parts + 1) < trials:
            parts += 1
        if parts == tasks:
            raise PolytaskError(
                f"a grid for {tasks} tasks needs at least {tasks + 1} trials, got {trials}; give more, or try Dirichlet"
            )
        points = [_steps(cuts, parts) for cuts in combinations(range(1, parts), tasks - 1)]
        apart = [point for point in points if len(set(point)) > 1]
        return tuple(each / parts for each in apart[number - 1]) if number <= len(apart) else None


@dataclass(frozen=True)
class TPE(Sampler):
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011): looks where earlier trials were good.

    Needs `pip install 'polytask[search]'`. The first ten trials are random.

    Args:
        seed: of the draws.
        at_once: trials that may run side by side, before their results are looked at.
    """

    seed: int = 0
    at_once: int = 4

    def __post_init__(self) -> None:
        if find_spec("optuna") is None:
            raise PolytaskError("TPE needs Optuna: pip install 'polytask[search]'; or try Dirichlet")
        if self.at_once < 1:
            raise PolytaskError(f"at_once of TPE must be at least 1, got {self.at_once}")

    def shares(self, number: int, tasks: int, trials: int, seen: Sequence[Trial]) -> Sequence[float]:
        """Weights are -log u_i, u uniform: on the simplex that is the uniform distribution."""
        import optuna

        shown = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            sampler = optuna.samplers.TPESampler(seed=self.seed + number)
            study = optuna.create_study(sampler=sampler, direction="maximize")
            one = optuna.distributions.FloatDistribution(SMALLEST, 1.0 - SMALLEST)
            space: dict[str, Any] = {str(k): one for k in range(tasks)}
            for trial in seen:
                if math.isfinite(trial.validation):
                    params = {
                        str(k): min(max(math.exp(-weight), SMALLEST), 1.0 - SMALLEST)
                        for k, weight in enumerate(trial.weights.values())
                    }
                    study.add_trial(
                        optuna.trial.create_trial(params=params, distributions=space, value=trial.validation)
                    )
            drawn = study.ask(space).params
        finally:
            optuna.logging.set_verbosity(shown)
        found = [-math.log(drawn[str(k)]) for k in range(tasks)]
        return [max(each / math.fsum(found), 10.0**-DIGITS) for each in found]


def _steps(cuts: Sequence[int], end: int) -> tuple[int, ...]:
    return tuple(b - a for a, b in zip((0, *cuts), (*cuts, end), strict=True))


def search_weights(
    problem: Problem,
    budget: Budget | Mapping[str, Any] | None = None,
    trials: int = 20,
    folder: Path | str = "results/search",
    *,
    sampler: Sampler | None = None,
    sharing: Sharing = HardSharing,
    seeds: int | Sequence[int] = 1,
    jobs: int | None = None,
    backend: str | None = None,
    on_record: Callable[[Record, int, int], None] | None = None,
) -> Search:
    """Train with many fixed weights under one budget, and choose those with the best delta_m on validation data.

    The weights w_i > 0, sum_i w_i = t, are those of `Static`; the first trial has equal weights, so that the result is
    never worse than these on validation data. delta_m is that of `compare`: against single-task networks with the same
    budget and seed, which are trained first. Runs are kept as those of `compare` are: in the same folder neither
    trains again what the other has trained, and an interrupted search goes on.

    Args:
        problem: tasks and data.
        budget: for every network; what is not given is what the problem suggests.
        trials: how many weights, equal ones included.
        folder: where everything is kept.
        sampler: which weights; `Dirichlet()` by default, uniform on the simplex.
        sharing: an architecture of `polytask.sharing`.
        seeds: how many, or which; a trial's score is the mean over them. Compare with other seeds afterwards.
        jobs, backend, on_record: as in `compare`.

    Raises:
        PolytaskError: what was asked for can't work, or every trial failed.
    """
    root = Path(folder).resolve()
    asked = seeds_of(seeds)
    drawn = sampler or Dirichlet()
    if trials < 1:
        raise PolytaskError(f"trials must be at least 1, got {trials}")
    workers(jobs, backend)
    spent = budget_of(problem, budget)
    rehearse(problem, [Arm(sharing, Static())], spent, asked, backend)
    names = [task.name for task in problem.tasks]
    planned = trials if drawn.at_once else len(_proposed(drawn, names, trials, []))
    over: dict[str, Record] = {}

    def run(work: Sequence[tuple[Job, Scores | None]]) -> None:
        left = {}
        for job, reference in work:
            if (record := finished(job, root / "runs" / job.key)) is not None:
                keep(record)
            else:
                left[job.key] = (job, reference)
        for record in run_all(list(left.values()), root / "runs", jobs, backend):
            keep(record)

    def keep(record: Record) -> None:
        over[record["key"]] = record
        if on_record is not None:
            on_record(record, len(over), len(asked) * (len(names) + planned))

    run([(job, None) for job in baselines(problem, asked, spent)])
    alone = {split: references(over.values(), problem, split) for split in ("validation", "test")}
    if len(alone["validation"]) < len(asked):
        raise PolytaskError(f"not every seed has all its single-task baselines: {first_error(over.values())}")
    tried: list[Trial] = []
    while weights := _proposed(drawn, names, trials, tried):
        jobs_of = [[Job(problem, Arm(sharing, Static(each)), seed, spent) for seed in asked] for each in weights]
        run([(job, alone["validation"][job.seed]) for one in jobs_of for job in one])
        for each, one in zip(weights, jobs_of, strict=True):
            tried.append(_trial(problem, each, [over[job.key] for job in one], alone))
        write_whole(root / "search.json", json.dumps(plain(tried), indent=1, ensure_ascii=False).encode())
    if not any(math.isfinite(trial.validation) for trial in tried):
        raise PolytaskError(f"no trial could be compared with single-task training: {first_error(over.values())}")
    return Search(root, tuple(tried), len(over), sharing)


def _proposed(sampler: Sampler, tasks: Sequence[str], trials: int, tried: Sequence[Trial]) -> list[dict[str, float]]:
    """The weights to try next; none when the search is over."""
    found = []
    for number in range(len(tried), min(trials, len(tried) + (sampler.at_once or trials))):
        shares = sampler.shares(number, len(tasks), trials, tried) if number else [1 / len(tasks)] * len(tasks)
        if shares is not None:
            scaled = (round(len(tasks) * each / math.fsum(shares), DIGITS) for each in shares)
            found.append(dict(zip(tasks, scaled, strict=True)))
    return found


def _trial(
    problem: Problem,
    weights: Mapping[str, float],
    records: Sequence[Record],
    alone: Mapping[str, Mapping[int, Scores]],
) -> Trial:
    """The mean over the seeds of delta_m on both splits."""
    failed = [record["error"] for record in records if record["status"] != "finished"]
    if failed:
        return Trial(weights, math.nan, math.nan, failed[0])
    validation, test = (
        math.fsum(_delta_m(problem, record["scores"][split], alone[split][record["seed"]]) for record in records)
        / len(records)
        for split in ("validation", "test")
    )
    return Trial(weights, validation, test)


def _delta_m(problem: Problem, scores: Scores, alone: Scores) -> float:
    """delta_m over tasks, in %; what could not be computed has no gain."""
    together, apart = (
        {
            task: {name: math.nan if value is None else value for name, value in found.items()}
            for task, found in each.items()
        }
        for each in (scores, alone)
    )
    return 100 * selection_score(problem.tasks, apart)(together)
