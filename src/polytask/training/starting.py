"""Begin where runs ended."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from polytask.errors import PolytaskError
from polytask.sharing import MultiTaskModel
from polytask.sharing.starting import start_from
from polytask.training.folder import RunFolder, read_json

Model = TypeVar("Model", bound=MultiTaskModel)


def start_from_runs(model: Model, folders: Mapping[str, Path | str] | Iterable[Path | str]) -> Model:
    """Give the network of each task the best weights of a run that trained it; see `sharing.start_from`.

    Args:
        model: with a network per task; it is changed in place.
        folders: of runs, by the task to take from each; or the folders of single-task runs, as `polytask compare`
            leaves them in `runs` for its baseline.

    Returns:
        The model.

    Raises:
        PolytaskError: a folder is not that of a finished run; without task names, one that trained several tasks, or
            two of one task; or as in `sharing.start_from`.
    """
    if isinstance(folders, str | Path):
        folders = [folders]
    found = folders if isinstance(folders, Mapping) else by_task([Path(each) for each in folders])
    return start_from(model, {task: RunFolder(Path(folder)).load_best() for task, folder in found.items()})


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
