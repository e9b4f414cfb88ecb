"""A run folder as tasks, network and weights again. Nothing is made but classes of polytask's own catalogues."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from polytask._plain import rebuild, rebuilt
from polytask._text import did_you_mean
from polytask.cli.catalogues import (
    ARCHITECTURES,
    BACKBONES,
    BALANCERS,
    ESTIMATES,
    OPTIMIZERS,
    PROBLEMS,
    RECIPES,
    ROW_SAMPLERS,
    SCHEDULES,
    TASK_KINDS,
)
from polytask.cli.chosen import PREPROCESSING, run_told
from polytask.cli.errors import Refused
from polytask.cli.names import Call
from polytask.cli.tables import ADDED, PredictedTable, passed_over, pictures_in, readable
from polytask.data.form import Form
from polytask.data.tables import TablePreprocessing
from polytask.data.tables.images import folder_of
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.sharing import Imported, MultiTaskModel, PartInput
from polytask.sharing.backbones.fusion import PARTS
from polytask.study import Arm
from polytask.study.hidden import made_again
from polytask.tasks import Task
from polytask.training import L2SP, Budget, FineTuning, evaluate, load_state, load_tree
from polytask.training.folder import read_json

ROWS_AT_ONCE = 8192
NOT_WHOLE = (KeyError, TypeError, AttributeError, IndexError, Refused)


@dataclass(frozen=True)
class SavedRun:
    """A trained network with its tasks, read from the folder of its run.

    Args:
        folder: of the run.
        job: what was asked for, as in job.json.
        tasks: fitted on the training labels.
        arm: how it was trained.
        budget: what it might spend.
        model: with the weights of the best epoch.
    """

    folder: Path
    job: Mapping[str, Any]
    tasks: tuple[Task, ...]
    arm: Arm
    budget: Budget
    model: MultiTaskModel

    @classmethod
    def open(cls, folder: Path, trust: Sequence[str] = ()) -> "SavedRun":
        """Read the folder.

        Args:
            folder: of the run; or of a study, which stands for the network that it chose.
            trust: modules of one's own that may be imported, where the network is made with them.

        Raises:
            PolytaskError: it is not the folder of a run, or a file in it was cut short or is of another run.
        """
        folder = run_told(folder)
        job = read_json(folder / "job.json")
        try:
            tasks = tuple(_task(each) for each in job["tasks"])
            _refuse_unknown_code(folder, job["backbone"], trust)
            backbone = rebuild(job["backbone"], [*BACKBONES.members, *PARTS, PartInput, Imported])
            told = job["arm"]
            sharing = partial(ARCHITECTURES.find(told["sharing"]["class"]), **rebuilt(told["sharing"]["args"], RECIPES))
            balancer = rebuild(told["balancer"], BALANCERS.members)
            estimate = rebuild(told["estimate"], ESTIMATES.members) if told.get("estimate") else None
            made = sharing if sharing.keywords else sharing.func
            arm = Arm(
                made,
                balancer,
                bool(told["at_features"]),
                told.get("way", Arm.way),
                estimate,
                bool(told.get("from_single_task", Arm.from_single_task)),
                fine_tuning=rebuild(told["fine_tuning"], (FineTuning, L2SP)) if told.get("fine_tuning") else None,
                sampler=rebuild(told["sampler"], ROW_SAMPLERS.members) if told.get("sampler") else None,
            )
            budget = _budget(job["budget"])
        except NOT_WHOLE as error:
            raise PolytaskError(
                f"{folder / 'job.json'} does not describe a run that this polytask knows ({error}); was it changed, or "
                "written by another version?"
            ) from error
        model = arm.sharing(backbone, tasks)
        path = folder / "model.safetensors"
        if not path.is_file():
            raise PolytaskError(f"{folder} has no weights yet (model.safetensors): no epoch of the run is over")
        load_state(model, load_tree(path), path)
        return cls(folder, job, tasks, arm, budget, model.eval())

    @property
    def title(self) -> str:
        """The run in a few words."""
        how = "single-task" if self.job["baseline"] else self.arm.name
        return f"{self.job['problem']}: {how}, seed {self.job['seed']}"

    @property
    def form(self) -> Form:
        """What a sample of its inputs looks like.

        Raises:
            PolytaskError: the run is of a polytask that did not write it down.
        """
        return Form.from_json(read_json(self.folder / "inputs.json"))

    def problem(self, data_root: Path | None = None) -> Problem:
        """The problem that the network was trained on, with this network's tasks.

        Raises:
            PolytaskError: its data are not there, or not what they were.
        """
        spec = self.job["spec"]
        if not spec.get("name"):
            raise PolytaskError(
                f"problem '{self.job['problem']}' was made in Python, and polytask can't make it again by name; score "
                "the network there, with training.evaluate"
            )
        more = {} if data_root is None else {"data_root": data_root}
        member, settings = PROBLEMS.checked(Call(spec["name"], {**spec["args"], **more}))
        made = made_again(member(**settings), spec)
        before = read_json(self.folder / "run.json")["data"]["train"]
        if made.splits["train"].fingerprint() != before:
            raise PolytaskError(
                f"the data of problem '{made.name}' are no longer those that {self.folder} was trained on: "
                f"bring back the data of {spec['args'] or 'then'}, or train again"
            )
        return made

    def scores(self, problem: Problem, split: str) -> dict[str, dict[str, float]]:
        """The network's scores on a split."""
        if split not in problem.splits:
            raise PolytaskError(f"there is no split '{split}'; {did_you_mean(split, problem.splits)}")
        return evaluate(self.model, self.tasks, problem.splits[split])

    def predicted(self, path: Path) -> "PredictedTable":
        """A table with the predictions added as columns "predicted ..."; for a network that reads nothing but a
        picture, the pictures of a folder.

        Raises:
            PolytaskError: the run is not of a table, or the table does not fit.
        """
        preprocessing = self.preprocessing
        pictures = pictures_in(path, preprocessing) if path.is_dir() else None
        table = preprocessing.read_frame(path) if pictures is None else pictures
        read = readable(preprocessing.placed(folder_of(path)), table)
        notes = [*read.notes, *(passed_over(path) if pictures is not None else [])]
        found = self._network_outputs(read.inputs)
        columns = {name: values for task in self.tasks for name, values in task.columns(found[task.name]).items()}
        added = pl.DataFrame([pl.Series(f"{ADDED}{name}", values) for name, values in columns.items()])
        blank = pl.Series(range(table.height)).is_in(list(read.unpredicted))
        added = added.with_columns(pl.when(~blank).then(pl.all()))
        told = (tuple(each.values()) for each in (read.unpredicted, read.pictureless))
        return PredictedTable(table, added, tuple(notes), *told)

    @property
    def preprocessing(self) -> TablePreprocessing:
        """What was learned about the columns of the table that it was trained on.

        Raises:
            PolytaskError: it was not trained on a table, or the file is not whole.
        """
        self.check_of_table()
        learned = self.folder / PREPROCESSING
        try:
            return TablePreprocessing.from_json(read_json(learned))
        except NOT_WHOLE as error:
            raise PolytaskError(f"{learned} is not whole ({type(error).__name__}: {error}); train again") from error

    @property
    def of_table(self) -> bool:
        """Whether it was trained on a table."""
        return (self.folder / PREPROCESSING).is_file()

    def check_of_table(self) -> None:
        """Raise unless it was trained on a table."""
        if not self.of_table:
            raise PolytaskError(
                f"{self.folder} was trained on {self.job['problem']}, which is no table; give predict a folder of "
                "images where the network reads images, score it by `polytask evaluate`, or call it from Python"
            )

    @torch.no_grad()
    def _network_outputs(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = len(next(iter(inputs.values())))
        pieces = [
            self.model({name: each[first : first + ROWS_AT_ONCE] for name, each in inputs.items()})
            for first in range(0, rows, ROWS_AT_ONCE)
        ]
        return {task.name: torch.cat([piece[task.name] for piece in pieces]) for task in self.tasks}


def _refuse_unknown_code(folder: Path, told: Any, trust: Sequence[str]) -> None:
    """An error where a network is made with modules that are not trusted: opening a run runs no code of others."""
    for name in _imported_names(told):
        package = name.partition(".")[0]
        if package not in trust:
            raise PolytaskError(
                f"the network of {folder} is made with {name}, which is not part of polytask; if you know what it "
                f"does, allow it: --trust {package}"
            )


def _imported_names(told: Any) -> list[str]:
    """The dotted names among what was written down."""
    if isinstance(told, Mapping):
        own = [str(told["args"]["name"])] if told.get("class") == Imported.__name__ else []
        return own + [name for each in told.values() for name in _imported_names(each)]
    if isinstance(told, list):
        return [name for each in told for name in _imported_names(each)]
    return []


def _task(told: Mapping[str, Any]) -> Task:
    args = {name: value for name, value in told.items() if name != "kind"}
    made: Task = rebuild({"class": told["kind"], "args": args}, TASK_KINDS)
    return made


def _budget(told: Mapping[str, Any]) -> Budget:
    args = dict(told["args"])
    return Budget(
        **args
        | {
            "optimizer": OPTIMIZERS.find(args["optimizer"]),
            "schedule": rebuild(args["schedule"], SCHEDULES.members),
        }
    )
