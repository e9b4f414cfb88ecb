"""`compare`: single-task baselines and joint candidates under one budget and several seeds."""

import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed, parallel_config

from polytask._plain import plain
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.study.arms import Arm
from polytask.study.examples import example_rows
from polytask.study.rehearse import rehearse
from polytask.study.run import Job, baselines, finished, train
from polytask.study.summarise import summarise
from polytask.study.summary import Summary
from polytask.training import Budget, directions
from polytask.training.checkpoint import write_whole

Record = dict[str, Any]


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
    root = Path(folder).resolve()
    asked = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    workers(jobs, backend)
    spent = budget if isinstance(budget, Budget) else Budget().updated({**problem.suggested, **(budget or {})})
    candidates = _with_equal(arms)
    took = rehearse(problem, candidates, spent, asked, backend, confidence)
    shown = example_rows(problem)
    alone = baselines(problem, asked, spent, shown)
    together = [
        Job(problem, arm, seed, spent, examples=shown if seed == asked[0] else (), starts=_starts(alone, seed, root))
        for seed in asked
        for arm in candidates
    ]
    order = [job.key for job in [*alone, *together]]
    records: list[Record] = []

    def keep(record: Record) -> None:
        records.append(record)
        records.sort(key=lambda each: order.index(each["key"]))
        _write_records(root, records)
        if on_record is not None:
            on_record(record, len(records), len(order))

    for job in [*alone, *together]:
        if (record := finished(job, root / "runs" / job.key)) is not None:
            keep(record)

    def run(work: Sequence[tuple[Job, Mapping[str, Mapping[str, float]] | None]]) -> None:
        done = {record["key"] for record in records}
        left = [(job, reference) for job, reference in work if job.key not in done]
        for record in run_all(left, root / "runs", jobs, backend):
            keep(record)

    run([(job, None) for job in alone])
    alone_scores = references(records, problem)
    if not alone_scores:
        raise PolytaskError(f"no seed has all its single-task baselines: {first_error(records)}")
    longest_first = sorted(together, key=lambda job: -took[job.arm_name])
    run([(job, alone_scores[job.seed]) for job in longest_first if job.seed in alone_scores])
    summary = summarise(problem, directions(problem.tasks), candidates, asked, spent, records, _command(), confidence)
    write_whole(root / "study.json", json.dumps(plain(summary), indent=1, ensure_ascii=False).encode())
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


def workers(jobs: int | None, backend: str | None = None) -> tuple[int, int]:
    """How many processes, and threads for each: together never more than the cores of this machine, unless a backend
    of several machines is named.

    >>> processes, threads = workers(None)
    >>> processes * threads <= len(os.sched_getaffinity(0))
    True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = jobs if jobs is not None else 1 if torch.cuda.is_available() else cores
    if wanted < 1:
        raise PolytaskError(f"jobs must be at least 1, got {wanted}")
    processes = wanted if backend is not None and jobs is not None else min(wanted, cores)
    return processes, max(1, cores // processes)


def run_all(
    work: Sequence[tuple[Job, Mapping[str, Mapping[str, float]] | None]],
    root: Path,
    jobs: int | None,
    backend: str | None,
) -> Iterator[Record]:
    """Train, several at a time, in folders of their own below `root`; records as they come."""
    processes, threads = workers(jobs, backend)
    calls = [delayed(train)(job, root / job.key, reference, threads) for job, reference in work]
    with parallel_config(backend=backend) if backend else nullcontext():
        yield from _unordered(processes, calls)


def _unordered(processes: int, calls: Iterable[Any]) -> Iterable[Record]:
    """Results as they come, where the backend can do that."""
    listed = list(calls)
    try:
        parallel = Parallel(processes, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
    except ValueError:
        parallel = Parallel(processes, batch_size=1, pre_dispatch="n_jobs")
    return parallel(listed)


def references(
    records: Iterable[Record], problem: Problem, split: str = "validation"
) -> dict[int, dict[str, dict[str, float]]]:
    """Scores of the single-task networks, for every seed that has all of them; NaN where one could not be computed."""
    found: dict[int, dict[str, dict[str, float]]] = {}
    for record in records:
        if record["baseline"] and record["status"] == "finished":
            for task, scores in record["scores"][split].items():
                told = {name: math.nan if score is None else score for name, score in scores.items()}
                found.setdefault(record["seed"], {})[task] = told
    return {seed: scores for seed, scores in sorted(found.items()) if len(scores) == len(problem.tasks)}


def first_error(records: Iterable[Record]) -> str:
    """What the first run that failed says."""
    return next((record["error"] for record in records if record["error"]), "no error was told")


def _write_records(root: Path, records: Sequence[Record]) -> None:
    write_whole(
        root / "records.jsonl",
        "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records).encode(),
    )


def _command() -> str:
    """The command line that was given, for the report."""
    program = Path(sys.argv[0])
    ours = program.name == "polytask" or program.parts[-2:] == ("polytask", "__main__.py")
    return shlex.join(["polytask", *sys.argv[1:]]) if ours else "polytask.study.compare(...)"
