"""`compare`: single-task baselines and joint candidates under one budget and several seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.study.arms import Arm
from polytask.study.examples import example_rows
from polytask.study.kept import Kept, command_line, first_error, references, write_found
from polytask.study.rehearse import rehearse
from polytask.study.run import Job, baselines
from polytask.study.running import Record, budget_of, seeds_of, workers
from polytask.study.summarise import summarise
from polytask.study.summary import Summary
from polytask.training import Budget, directions


@dataclass(frozen=True)
class Study:
    """The results of a comparison: what it was, every run's record, and what follows from them."""

    folder: Path
    records: list[Record]
    summary: Summary


def compare(
    problem: Problem,
    arms: Sequence[Arm] = (),
    seeds: int | Sequence[int] = 3,
    budget: Budget | Mapping[str, Any] | None = None,
    folder: Path | str = "results",
    *,
    jobs: int | None = None,
    backend: str | None = None,
    confidence: float = 0.95,
    on_record: Callable[[Record, int, int], None] | None = None,
) -> Study:
    """Train the single-task baselines and every arm with every seed, and sum up what was gained or lost per task.

    Every network gets the same budget; the best epoch of each is chosen on validation data, and so is the arm that
    the verdict speaks of; the test split is read once per network, afterwards. Of tasks that can be shown, the networks
    of the first seed keep pictures of four test samples. A run that is finished in `folder` is
    not trained again, an interrupted one goes on from its checkpoint, a failed one is tried again.

    Args:
        problem: tasks and data.
        arms: ways of training together; hard sharing with Equal is always among them, single-task always trained.
        seeds: how many, or which; each chooses initialisation and batch order, the same for all arms.
        budget: for every network; what is not given is what the problem suggests.
        folder: where everything is kept.
        jobs: networks trained at the same time; by default one per core (one in all with a GPU). Jobs x threads
            never exceed the cores.
        backend: of joblib ("loky", "dask", "ray", ...); by default the one joblib is configured with.
        confidence: of the intervals.
        on_record: called after every run with its record, how many are over and how many there are.

    Raises:
        PolytaskError: what was asked for can't work (said before anything is trained), or no seed has all its
            baselines. When only joint runs fail, the study says which and why.
    """
    root, asked = Path(folder).resolve(), seeds_of(seeds)
    workers(jobs, backend)
    spent = budget_of(problem, budget)
    candidates = _with_equal(arms)
    took = rehearse(problem, candidates, spent, asked, backend, confidence)
    shown = example_rows(problem)
    alone = baselines(problem, asked, spent, shown)
    together = [
        Job(problem, arm, seed, spent, examples=shown if seed == asked[0] else (), starts=_starts(alone, seed, root))
        for seed in asked
        for arm in candidates
    ]
    kept = Kept(root, [*alone, *together], on_record)
    kept.read()
    kept.train(alone, jobs, backend)
    alone_scores = references(kept.records, problem)
    if not alone_scores:
        raise PolytaskError(f"no seed has all its single-task baselines: {first_error(kept.records)}")
    longest_first = sorted(together, key=lambda job: -took[job.arm_name])
    kept.train([job for job in longest_first if job.seed in alone_scores], jobs, backend, alone_scores)
    records, command = kept.records, command_line("polytask.study.compare(...)")
    summary = summarise(problem, directions(problem.tasks), candidates, asked, spent, records, command, confidence)
    write_found(root, summary, records)
    return Study(root, records, summary)


def _starts(alone: Sequence[Job], seed: int, root: Path) -> dict[str, Path]:
    """The folders of the single-task networks of a seed, by task."""
    return {job.problem.tasks[0].name: root / "runs" / job.key for job in alone if job.seed == seed}


def _with_equal(arms: Sequence[Arm]) -> list[Arm]:
    """The arms without repetition, with hard sharing and equal weights among them."""
    for arm in arms:
        if not isinstance(arm, Arm):
            raise PolytaskError(
                f"an arm is how a network is trained, as in study.Arm(balancer=balancing.PCGrad()); got {arm!r}"
            )
    found = {arm.name: arm for arm in [Arm(), *arms]}
    return list(found.values())
