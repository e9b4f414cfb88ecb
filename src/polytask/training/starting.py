"""Begin where runs ended."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from torch import Tensor

from polytask.errors import PolytaskError
from polytask.sharing import MultiTaskModel
from polytask.sharing.starting import State, start_from
from polytask.training.folder import RunFolder, read_json

Model = TypeVar("Model", bound=MultiTaskModel)
Folders = Path | str | Mapping[str, Path | str] | Iterable[Path | str]
Start = Folders | State | Mapping[str, State]
"""Trained weights, or where they are: of one model, or by task."""


def start_from_runs(
    model: Model, folders: Folders, stages: tuple[int, ...] | Literal["all"] = "all", heads: bool = True
) -> Model:
    """Give a model the best weights of a run, or the network of each task those of its own one; see
    `sharing.start_from`.

    Args:
        model: is changed in place.
        folders: of one run: its trunk becomes that of the model. Or of runs, by the task to take from each; or the
            folders of single-task runs, as `polytask compare` leaves them in `runs` for its baseline: then the model
            has a network per task.
        stages, heads: as in `sharing.start_from`.

    Returns:
        The model.

    Raises:
        PolytaskError: a folder is not that of a finished run; without task names, one of several trained several tasks,
            or two of one task; or as in `sharing.start_from`.
    """
    return start_from(model, trained(folders), stages, heads)


def trained(start: Start) -> State | Mapping[str, State]:
    """Trained weights, read from the folders of runs where these are given."""
    if isinstance(start, str | Path):
        return RunFolder(Path(start)).load_best()
    found: Mapping[str, Any] = start if isinstance(start, Mapping) else by_task([Path(each) for each in start])
    if any(isinstance(each, Tensor) for each in found.values()):
        return cast(State, found)
    return {
        task: RunFolder(Path(each)).load_best() if isinstance(each, str | Path) else each
        for task, each in found.items()
    }


def by_task(folders: Iterable[Path]) -> dict[str, Path]:
    """The folders of single-task runs by the task that each trained.

    Raises:
        PolytaskError: one is no folder of a run, or trained several tasks, or two trained one task.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        tasks = [each["name"] for each in read_json(folder / "run.json")["tasks"]]
        if len(tasks) > 1:
            raise PolytaskError(
                f"{folder} trained {len(tasks)} tasks ({', '.join(tasks)}); say which one to take from it, as in "
                f'{{"{tasks[0]}": folder}}'
            )
        if tasks[0] in found:
            raise PolytaskError(f"{found[tasks[0]]} and {folder} both trained '{tasks[0]}'; give one of them")
        found[tasks[0]] = folder
    return found
