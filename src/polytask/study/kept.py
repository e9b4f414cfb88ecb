"""The runs of a study in its folder: what is finished is not trained again, every record is written down at once."""

import json
import math
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

from polytask._plain import plain
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.study.run import Job, finished
from polytask.study.running import Record, run_all
from polytask.training.checkpoint import write_whole
from polytask.training.folder import read_json

References = Mapping[int, Mapping[str, Mapping[str, float]]]
OnRecord = Callable[[Record, int, int], None]

RECORDS, RUNS = "records.jsonl", "runs"
"""What a study keeps in its folder: a record per line, and a folder per run."""


class Kept:
    """The records of a study, in the order of its jobs, and the file that holds them.

    Args:
        root: the folder of the study; runs are in `runs`, records in `records.jsonl`.
        jobs: all that will be trained.
        on_record: called after every run with its record, how many are over and how many there are.
    """

    def __init__(self, root: Path, jobs: Sequence[Job], on_record: OnRecord | None = None) -> None:
        self.root, self.jobs, self.on_record = root, list(jobs), on_record
        self.records: list[Record] = []
        self._place = {job.key: place for place, job in enumerate(self.jobs)}

    def read(self) -> None:
        """Those that the folder holds already."""
        for job in self.jobs:
            if (record := finished(job, self.root / RUNS / job.key)) is not None:
                self._keep(record)

    def train(
        self,
        work: Sequence[Job],
        jobs: int | None = None,
        backend: str | None = None,
        against: References | None = None,
    ) -> None:
        """Train these, in this order, but for those that are over.

        Args:
            work: some of the jobs.
            jobs, backend: as in `compare`.
            against: the scores that gains are measured against, by seed.
        """
        over = {record["key"] for record in self.records}
        left = [(job, (against or {}).get(job.seed)) for job in work if job.key not in over]
        for record in run_all(left, self.root / RUNS, jobs, backend):
            self._keep(record)

    def _keep(self, record: Record) -> None:
        """A run is over; it is called as this study calls it, whatever study trained it."""
        named = record | {"arm": self.jobs[self._place[record["key"]]].arm_name}
        self.records.append(named)
        self.records.sort(key=lambda each: self._place[each["key"]])
        lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in self.records)
        write_whole(self.root / RECORDS, lines.encode())
        if self.on_record is not None:
            self.on_record(named, len(self.records), len(self.jobs))


class Found(Protocol):
    """What a study found; the file of this name in its folder holds it."""

    FILE: ClassVar[str]

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], /) -> Self:
        """What the file holds."""


S = TypeVar("S", bound=Found)


def write_found(root: Path, found: Found, records: Iterable[Record]) -> None:
    """Write down what a study found, and which runs it follows from: a later study in the folder may have others."""
    told = plain(found) | {"runs": {record["key"]: record["arm"] for record in records}}
    write_whole(root / found.FILE, json.dumps(told, indent=1, ensure_ascii=False).encode())


def read_found(root: Path, kind: type[S]) -> tuple[S, list[Record]]:
    """What a study of this kind found in a folder, and the records of its runs.

    Raises:
        PolytaskError: it is not there or not whole, or a run that it follows from is no longer there.
    """
    told = read_json(root / kind.FILE)
    found = kind.from_json(told)
    written = {record["key"]: record for record in _lines(root / RECORDS)}
    records = []
    for key, arm in told.get("runs", {}).items():
        path = root / RUNS / key / "record.json"
        if key not in written and not path.is_file():
            raise PolytaskError(
                f"the run {key} that {root / kind.FILE} follows from is neither in {RECORDS} nor in {root / RUNS}; "
                "start the study's command again to bring it back"
            )
        records.append((written.get(key) or read_json(path)) | {"arm": arm})
    return found, records


def _lines(path: Path) -> list[Record]:
    """The records in a file, one a line; none where there is no file."""
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except ValueError as error:
        raise PolytaskError(f"{path} is not whole ({error}); start the study's command again to mend it") from None


def run_folder(root: Path, record: Mapping[str, Any]) -> Path:
    """Where the run of a record is, in the folder of a study."""
    return root / RUNS / str(record["key"])


def without_copies(jobs: Iterator[Job] | Sequence[Job]) -> list[Job]:
    """The jobs, each run once."""
    return list({job.key: job for job in jobs}.values())


def command_line(otherwise: str) -> str:
    """The command that was given, for the report; `otherwise`: what to say where it was none of ours."""
    program = Path(sys.argv[0])
    ours = program.name == "polytask" or program.parts[-2:] == ("polytask", "__main__.py")
    return shlex.join(["polytask", *sys.argv[1:]]) if ours else otherwise


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
