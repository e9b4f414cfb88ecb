"""The network that a comparison chose, by the folder of the comparison."""

from pathlib import Path

from polytask.errors import PolytaskError
from polytask.study import Summary
from polytask.study.kept import read_found, run_folder
from polytask.training.folder import read_json


def run_in(folder: Path) -> Path | None:
    """The folder of a run: the one given, or that of the network which the comparison in it chose, with its first seed.

    Returns:
        None where there is neither a run nor a comparison.

    Raises:
        PolytaskError: the comparison chose none.
    """
    if (folder / "job.json").is_file():
        return folder
    if not (folder / Summary.FILE).is_file():
        return None
    summary, records = read_found(folder, Summary)
    found = summary.network(records)
    if found is None:
        raise PolytaskError(f"the study in {folder} chose no network; give the folder of a run, in {folder / 'runs'}")
    return run_folder(folder, found)


def run_told(folder: Path) -> Path:
    """The same; where it is not the folder given, a line says so.

    Raises:
        PolytaskError: there is no run, and no comparison that chose one.
    """
    if not folder.is_dir():
        raise PolytaskError(f"there is no folder {folder}; expected the folder of a run, as `polytask train` makes")
    run = run_in(folder)
    if run is None and (folder / "runs").is_dir():
        raise PolytaskError(
            f"{folder} is the folder of a study, and only that of a comparison stands for a network, the chosen one; "
            f"give the folder of a run, in {folder / 'runs'}"
        )
    if run is None:
        raise PolytaskError(f"there is no job.json in {folder}: it is not the folder of a run of polytask")
    if run != folder:
        print(f"Chosen network of {folder} (seed {read_json(run / 'job.json')['seed']}): {run}")
    return run
