"""What all studies ask for, and how their networks are trained: several at a time, each in a folder of its own."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed, parallel_config

from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.study.run import Job, train
from polytask.training import Budget

Record = dict[str, Any]


def seeds_of(asked: int | Sequence[int]) -> list[int]:
    """The seeds, where a number of them means the first ones."""
    return list(range(asked)) if isinstance(asked, int) else list(asked)


def budget_of(problem: Problem, asked: Budget | Mapping[str, Any] | None) -> Budget:
    """The budget; what is not given is what the problem suggests."""
    return asked if isinstance(asked, Budget) else Budget().updated({**problem.suggested, **(asked or {})})


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
