"""The network that a study chose, by the folder of the study, and the command that uses a network."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from polytask.data.form import Form
from polytask.errors import PolytaskError
from polytask.study import AuxiliarySummary, Summary, TransferSummary
from polytask.study.kept import Found, read_found, run_folder
from polytask.training.folder import read_json

PREPROCESSING = "preprocessing.json"
"""What a run on a table holds."""


class Choice(Found, Protocol):
    """What a study found that chose a network."""

    def network(self, records: Iterable[Mapping[str, Any]], /) -> Mapping[str, Any] | None:
        """The record of the network to use."""


CHOOSING: tuple[type[Choice], ...] = (Summary, AuxiliarySummary, TransferSummary)


def run_in(folder: Path) -> Path | None:
    """The folder of a run: the one given, or that of the network which the latest study in it chose.

    Returns:
        None where there is neither a run nor a study that chooses.

    Raises:
        PolytaskError: the study chose none.
    """
    if (folder / "job.json").is_file():
        return folder
    there = [kind for kind in CHOOSING if (folder / kind.FILE).is_file()]
    if not there:
        return None
    study, records = read_found(folder, max(there, key=lambda kind: (folder / kind.FILE).stat().st_mtime_ns))
    found = study.network(records)
    if found is None:
        raise PolytaskError(f"the study in {folder} chose no network; give the folder of a run, in {folder / 'runs'}")
    return run_folder(folder, found)


def command_for(run: Path) -> str | None:
    """The command that uses the network of a run; None where it can be used from Python only, or is not there."""
    if not (run / "job.json").is_file():
        return None
    form = run / "inputs.json"
    if (run / PREPROCESSING).is_file() or (form.is_file() and Form.from_json(read_json(form)).of_pixels):
        return f"polytask predict {shlex.quote(str(run))} ..."
    named = read_json(run / "job.json")["spec"].get("name")
    return f"polytask evaluate {shlex.quote(str(run))}" if named else None


def run_told(folder: Path) -> Path:
    """The same; where it is not the folder given, a line says so.

    Raises:
        PolytaskError: there is no run, and no study that chose one.
    """
    if not folder.is_dir():
        raise PolytaskError(f"there is no folder {folder}; expected the folder of a run, as `polytask train` makes")
    run = run_in(folder)
    if run is None and (folder / "runs").is_dir():
        raise PolytaskError(
            f"{folder} is the folder of a study that chose no network, as finished ones of compare, auxiliaries and "
            f"transfer do; give the folder of a run, in {folder / 'runs'}"
        )
    if run is None:
        raise PolytaskError(f"there is no job.json in {folder}: it is not the folder of a run of polytask")
    if run != folder:
        print(f"Chosen network of {folder} (seed {read_json(run / 'job.json')['seed']}): {run}")
    return run
