"""One training of one network, from a problem to a record."""

import copy
import json
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

import polytask
from polytask._plain import checksum, plain
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.study.arms import SINGLE_TASK, Arm
from polytask.training import Budget, evaluate, fit
from polytask.training.checkpoint import write_whole
from polytask.training.folder import read_json

SCHEMA = 1


@dataclass(frozen=True)
class Job:
    """One network to train.

    Args:
        problem: with the tasks of this network only.
        arm: how; None: alone, as the single-task baseline.
        seed: of the initialisation, the batch order and dropout.
        budget: what it may spend.
    """

    problem: Problem
    arm: Arm | None
    seed: int
    budget: Budget

    @property
    def name(self) -> str:
        """What the run is called when progress is told."""
        tasks = "" if self.arm else f" {self.problem.tasks[0].name}"
        return f"{self.arm_name}{tasks}, seed {self.seed}"

    @property
    def arm_name(self) -> str:
        """The arm that the record belongs to."""
        return self.arm.name if self.arm else SINGLE_TASK

    @property
    def key(self) -> str:
        """A checksum of everything that determines the result: equal keys, equal runs."""
        asked = {name: value for name, value in self.describe().items() if name != "spec"}
        return checksum(asked | {"data": self.problem.fingerprint(), "schema": SCHEMA})

    def describe(self) -> dict[str, Any]:
        """The job as plain data."""
        return {
            "problem": self.problem.name,
            "spec": plain(self.problem.spec),
            "backbone": plain(self.problem.backbone),
            "tasks": [task.describe() for task in self.problem.tasks],
            "arm": (self.arm or Arm()).describe(),
            "baseline": self.arm is None,
            "seed": self.seed,
            "budget": plain(self.budget),
        }


def train(
    job: Job,
    folder: Path,
    reference: Mapping[str, Mapping[str, float]] | None = None,
    threads: int | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    trackers: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """Train the network of a job, unless its folder holds the record already, and return the record.

    Errors become part of the record ("status": "failed"), so that one failing run does not end a study.

    Args:
        job: what to train.
        folder: of this run; one that holds another run is refused.
        reference: validation scores that delta_m is measured against when the best epoch is chosen.
        threads: of this process.
    """
    done = folder / "record.json"
    if done.is_file() and (record := read_json(done))["key"] == job.key:
        return record
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            results = _results(job, folder, reference, on_epoch, trackers)
        record = _record(job) | {"status": "finished", "error": None} | results
    except PolytaskError as error:
        return _record(job) | {"status": "failed", "error": str(error)}
    except Exception as error:  # a fault of ours or of the user's own module: told, and the study goes on
        told = f"{type(error).__name__}: {error}"
        return _record(job) | {"status": "failed", "error": told, "trace": traceback.format_exc()}
    finally:
        torch.set_num_threads(before)
    try:
        if _first_process():
            write_whole(done, json.dumps(record, ensure_ascii=False).encode())
    except PolytaskError as error:
        return record | {"warning": str(error)}
    return record


def _first_process() -> bool:
    """Whether this process writes: under a launcher of several, only the first does."""
    return os.environ.get("RANK", "0") == "0"


def _record(job: Job) -> dict[str, Any]:
    arm = (job.arm or Arm()).describe()
    return {
        "schema": SCHEMA,
        "key": job.key,
        "problem": job.problem.name,
        "arm": job.arm_name,
        "baseline": job.arm is None,
        "tasks": [task.name for task in job.problem.tasks],
        "seed": job.seed,
        **arm,
        "versions": {"polytask": polytask.__version__, "torch": torch.__version__},
    }


def _results(
    job: Job,
    folder: Path,
    reference: Mapping[str, Mapping[str, float]] | None,
    on_epoch: Callable[[dict[str, Any]], None] | None,
    trackers: tuple[str, ...] | None,
) -> dict[str, Any]:
    problem, arm = job.problem, job.arm or Arm()
    _refuse_other(job, folder)
    if _first_process():
        write_whole(folder / "job.json", json.dumps(job.describe(), indent=1, ensure_ascii=False).encode())
        if problem.preprocessing is not None:
            write_whole(folder / "preprocessing.json", json.dumps(problem.preprocessing.to_json()).encode())
    torch.manual_seed(job.seed)
    model = arm.sharing(problem.backbone, problem.tasks)
    fitted = fit(
        model,
        problem.tasks,
        problem.splits["train"],
        problem.splits["validation"],
        copy.deepcopy(arm.balancer),
        job.budget,
        seed=job.seed,
        folder=folder,
        reference=reference,
        at_features=arm.at_features,
        probe=True,
        trackers=trackers,
        on_epoch=on_epoch,
    )
    device = next(model.parameters()).device
    return plain(
        {
            "scores": {
                "validation": fitted.epochs[fitted.best_epoch - 1]["validation"] if fitted.best_epoch else {},
                "test": evaluate(model, problem.tasks, problem.splits["test"], device),
            },
            "best_epoch": fitted.best_epoch,
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": fitted.seconds,
            "memory_mib": fitted.memory_mib,
            "steps": fitted.steps,
            "skipped": fitted.skipped,
            "epochs": fitted.epochs,
        }
    )


def _refuse_other(job: Job, folder: Path) -> None:
    """Say it when the folder holds another run, before anything there is touched."""
    path = folder / "job.json"
    if not path.is_file():
        return
    there, now = read_json(path), plain(job.describe())
    other = [name for name in now if there.get(name) != now[name]]
    if other:
        raise PolytaskError(
            f"{folder} holds another run (with another {', '.join(other)}); give another folder, or delete that one"
        )


def baselines(problem: Problem, seed: int, budget: Budget) -> list[Job]:
    """The single-task networks of one seed: every task alone, on its own rows, chosen by its own validation score."""
    alone = replace(budget, select=None)
    return [Job(problem.only(task.name), None, seed, alone) for task in problem.tasks]
