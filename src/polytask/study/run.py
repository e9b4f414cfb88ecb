"""One training of one network, from a problem to a record."""

import copy
import json
import math
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

import polytask
from polytask._memory import keep_freed_memory
from polytask._plain import checksum, plain
from polytask.data.form import Form
from polytask.errors import PolytaskError
from polytask.evaluation import forward_cost
from polytask.problems import Problem
from polytask.sharing import MultiTaskModel
from polytask.study.alone import way_alone
from polytask.study.arms import SINGLE_TASK, Arm
from polytask.study.examples import Rows, examples, rows_alone
from polytask.study.members import told
from polytask.training import Budget, FineTuned, evaluate, fit
from polytask.training.checkpoint import write_whole
from polytask.training.folder import read_json
from polytask.training.starting import start_from_runs

SCHEMA = 1


@dataclass(frozen=True)
class Job:
    """One network to train.

    Args:
        problem: with the tasks of this network only.
        arm: how; None: alone, as the single-task baseline.
        seed: of the initialisation, the batch order and dropout.
        budget: what it may spend.
        samples_per_epoch: training samples that make an epoch: those of the whole problem, also for a task that has
            labels in some of the rows only, so that all networks take equally many steps.
        examples: test samples whose predictions are kept as pictures (`example_rows`).
        starts: what an arm that begins trained starts from: the folder of one run, whose trunk becomes that of this
            network; or those of single-task runs, by task.
    """

    problem: Problem
    arm: Arm | None
    seed: int
    budget: Budget
    samples_per_epoch: int | None = None
    examples: Rows = ()
    starts: Path | Mapping[str, Path] = field(default_factory=dict)

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
    def way(self) -> Arm:
        """The arm, or how the single-task baseline is trained."""
        return self.arm or way_alone(self.problem)

    @cached_property
    def key(self) -> str:
        """A checksum of everything that determines the result: equal keys, equal runs."""
        asked = {name: value for name, value in self.described.items() if name != "spec"}
        return checksum(asked | {"data": self.problem.fingerprint(), "model": self._network(), "schema": SCHEMA})

    def _network(self) -> list[Any]:
        """The network as built: what a user's own function makes does not show in the function's name."""
        with torch.random.fork_rng():
            model = self.way.sharing(self.problem.backbone, self.problem.tasks)
        return [repr(model), *((name, list(each.shape)) for name, each in model.state_dict().items())]

    @cached_property
    def described(self) -> dict[str, Any]:
        """The job as plain data."""
        starts = _keys_of(self.starts) if self.arm is not None and self.arm.begins_trained else {}
        return {
            "problem": self.problem.name,
            "spec": plain(self.problem.spec),
            "backbone": plain(self.problem.backbone),
            "tasks": [task.describe() for task in self.problem.tasks],
            "arm": self.way.described,
            "baseline": self.arm is None,
            "seed": self.seed,
            "budget": plain(self.budget),
            "samples_per_epoch": self.samples_per_epoch,
            **({"starts": starts} if starts else {}),
        }


def _keys_of(starts: Path | Mapping[str, Path]) -> str | dict[str, str]:
    """The keys of the runs that a job starts from."""
    return _key_of(starts) if isinstance(starts, Path) else {task: _key_of(each) for task, each in starts.items()}


def _key_of(folder: Path) -> str:
    """The key of the run in a folder, which in a study is the folder's name."""
    path = folder / "record.json"
    return read_json(path)["key"] if path.is_file() else folder.name


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
    if (record := finished(job, folder)) is not None:
        return record
    keep_freed_memory()
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            results = _results(job, folder, reference, on_epoch, trackers)
        record = _record(job) | {"status": "finished", "error": None} | results
    except PolytaskError as error:
        return _record(job) | {"status": "failed", "error": str(error)}
    except BrokenPipeError:  # nobody reads on what is printed after an epoch: no fault of the run
        raise
    except Exception as error:  # a fault of ours or of the user's own module: told, and the study goes on
        told = f"{type(error).__name__}: {error}"
        return _record(job) | {"status": "failed", "error": told, "trace": traceback.format_exc()}
    finally:
        torch.set_num_threads(before)
    try:
        if _first_process():
            write_whole(folder / "record.json", json.dumps(record, ensure_ascii=False).encode())
    except PolytaskError as error:
        return record | {"warning": str(error)}
    return record


def finished(job: Job, folder: Path) -> dict[str, Any] | None:
    """The record of the job, if its folder holds it."""
    path = folder / "record.json"
    record = read_json(path) if path.is_file() else None
    return record if record is not None and record["key"] == job.key else None


def _first_process() -> bool:
    """Whether this process writes: under a launcher of several, only the first does."""
    return os.environ.get("RANK", "0") == "0"


def _record(job: Job) -> dict[str, Any]:
    arm = job.way.described
    return {
        "schema": SCHEMA,
        "key": job.key,
        "problem": job.problem.name,
        "arm": job.arm_name,
        "baseline": job.arm is None,
        "tasks": [task.name for task in job.problem.tasks],
        "seed": job.seed,
        "budget": job.described["budget"],
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
    problem, arm = job.problem, job.way
    sample = problem.splits["train"].gather(torch.zeros(1, dtype=torch.long))
    _refuse_other(job, folder)
    if _first_process():
        write_whole(folder / "job.json", json.dumps(job.described, indent=1, ensure_ascii=False).encode())
        write_whole(folder / "inputs.json", json.dumps(Form.of(sample.inputs).to_json()).encode())
        if problem.preprocessing is not None:
            write_whole(folder / "preprocessing.json", json.dumps(problem.preprocessing.to_json()).encode())
    torch.manual_seed(job.seed)
    model = arm.sharing(problem.backbone, problem.tasks)
    begun, started = _started(model, job) if arm.begins_trained else (model, {})
    fitted = fit(
        begun,
        problem.tasks,
        problem.splits["train"],
        problem.splits["validation"],
        copy.deepcopy(arm.balancer),
        job.budget,
        seed=job.seed,
        folder=folder,
        reference=reference,
        at_features=arm.at_features,
        way=arm.way,
        estimate=arm.estimate,
        samples_per_epoch=job.samples_per_epoch,
        sampler=arm.sampler,
        probe=True,
        trackers=trackers,
        on_epoch=on_epoch,
    )
    device = next(model.parameters()).device
    by_class = {task.name: found for task in problem.tasks if (found := task.by_class()) is not None}
    by_member = {task.name: found for task in problem.tasks if (found := task.by_member()) is not None}
    classes = {task: metric.to(device) for task, (_, metric) in (by_class | by_member).items()}
    test = evaluate(model, problem.tasks, problem.splits["test"], device, classes=classes)
    return plain(
        {
            "scores": {
                "validation": fitted.epochs[fitted.best_epoch - 1]["validation"] if fitted.best_epoch else {},
                "test": test,
            },
            "classes": {
                task: {
                    "metric": name,
                    "scores": dict(zip(problem.task(task).class_names, metric.compute().tolist(), strict=True)),
                }
                for task, (name, metric) in by_class.items()
            },
            **(
                {"members": {task: told(problem, task, *each) for task, each in by_member.items()}} if by_member else {}
            ),
            "shared_stages": getattr(model, "shared_stages", None),
            "best_epoch": fitted.best_epoch,
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": fitted.seconds,
            "memory_mib": fitted.memory_mib,
            "steps": fitted.steps,
            "skipped": fitted.skipped,
            "epochs": fitted.epochs,
        }
        | _forward(model, sample.to(device).inputs)
        | started
        | _examples(model, job, device)
    )


def _forward(model: MultiTaskModel, inputs: Any) -> dict[str, Any]:
    """What one prediction of all tasks costs; what can't be counted ends no run."""
    try:
        cost = forward_cost(model, inputs)
    except Exception as error:  # of a user's own network
        return {"multiply_adds": None, "forward_mib": None, "not_counted": f"{type(error).__name__}: {error}"}
    return {"multiply_adds": cost.multiply_adds, "forward_mib": cost.memory_mib}


def _started(model: MultiTaskModel, job: Job) -> tuple[MultiTaskModel, dict[str, Any]]:
    """The network as it is to be trained, started from what the job names; which runs those were, and what they had
    spent."""
    tasks = {task.name for task in job.problem.tasks}
    if not job.starts or (not isinstance(job.starts, Path) and set(job.starts) != tasks):
        raise PolytaskError(
            f"arm '{job.arm_name}' starts from trained single-task networks: give the folder of one for every task "
            "(study.compare trains them first and does so itself), or that of one run to start all of it from"
        )
    recipe = job.arm.fine_tuning if job.arm else None
    begun = start_from_runs(model, job.starts) if recipe is None else FineTuned(model, job.starts, recipe)
    folders = [job.starts] if isinstance(job.starts, Path) else job.starts.values()
    records = [read_json(folder / "record.json") for folder in folders]
    seconds = math.fsum(record["seconds"] for record in records)
    runs = {", ".join(record["tasks"]): record["key"] for record in records}
    return begun, {"start": {"runs": runs, "seconds": seconds}}


def _examples(model: MultiTaskModel, job: Job, device: torch.device) -> dict[str, Any]:
    """Pictures of the job's examples; what went wrong with them ends no run."""
    if not job.examples:
        return {}
    try:
        found = examples(model, job.problem, job.examples, device)
    except Exception as error:  # of a user's own task
        return {"examples": {"error": f"{type(error).__name__}: {error}"}}
    return {"examples": found} if found else {}


def _refuse_other(job: Job, folder: Path) -> None:
    """Say it when the folder holds another run, before anything there is touched."""
    path = folder / "job.json"
    if not path.is_file():
        return
    there, now = read_json(path), plain(job.described)
    other = [name for name in now if there.get(name) != now[name]]
    if other:
        raise PolytaskError(
            f"{folder} holds another run (with another {', '.join(other)}); give another folder, or delete that one"
        )


def baselines(problem: Problem, seeds: Sequence[int], budget: Budget, shown: Sequence[int] = ()) -> list[Job]:
    """The single-task networks: every task alone, on its own rows, for as many steps as the joint networks, and
    chosen by its own validation score.

    Args:
        problem, seeds, budget: of the study.
        shown: test samples whose predictions the networks of the first seed keep as pictures.
    """
    alone = replace(budget, select=None)
    apart = [(problem.only(task.name), rows_alone(problem, shown, task)) for task in problem.tasks]
    samples = len(problem.splits["train"])
    return [
        Job(each, None, seed, alone, samples, rows if seed == seeds[0] else ())
        for seed in seeds
        for each, rows in apart
    ]
