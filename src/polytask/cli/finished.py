"""Finished studies in their folders: what each kind left there, how it is printed, how its page is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from polytask.cli import show, show_transfer
from polytask.cli.text import say
from polytask.errors import PolytaskError
from polytask.study import AuxiliarySummary, Summary, TransferSummary, UnseenSummary
from polytask.study.kept import RECORDS, Record, S, read_found
from polytask.study.report import auxiliaries, page, transfer, unseen


@dataclass(frozen=True)
class Kind(Generic[S]):
    """A kind of study.

    Args:
        command: that makes it.
        summary: the class of what it found.
        tables: prints that.
        page: writes its page, of the summary and the records of all runs, to a path.
        use: says how to use what came out, of the summary, the records and the folder.
    """

    command: str
    summary: type[S]
    tables: Callable[[S], None]
    page: Callable[[S, Sequence[Record], Path], Path]
    use: Callable[[S, Sequence[Record], Path], None] = lambda found, records, folder: None

    def tell(self, found: S, records: Sequence[Record], folder: Path) -> None:
        """Print what was found, and write the page into the folder."""
        self.tables(found)
        say(f"Report: {self.page(found, records, folder / 'report.html')}")
        self.use(found, records, folder)

    def tell_again(self, folder: Path) -> None:
        """The same, of what the folder holds."""
        self.tell(*read_found(folder, self.summary), folder)


@dataclass(frozen=True)
class Other:
    """A folder of polytask without a finished study.

    Args:
        file: that tells it.
        told: what it is and what to do with it; {folder} stands for the folder.
    """

    file: str
    told: str


COMPARISON = Kind("compare", Summary, show.results, page.write, show.chosen)
AUXILIARIES = Kind("auxiliaries", AuxiliarySummary, show.brought, auxiliaries.write, show.chosen)
TRANSFER = Kind("transfer", TransferSummary, show_transfer.results, transfer.write, show_transfer.chosen)
UNSEEN = Kind("unseen", UnseenSummary, show.unseen, unseen.write)
KINDS: tuple[Kind[Any], ...] = (COMPARISON, AUXILIARIES, TRANSFER, UNSEEN)
OTHERS = (
    Other(
        "search.json",
        "{folder} is the folder of a search of weights, which has no report; score one of its networks by `polytask "
        "evaluate RUN`, with a folder of {folder}/runs, or compare the weights that it found by `polytask compare`",
    ),
    Other(
        "job.json",
        "{folder} is the folder of one run, and a report is of a study of many; `polytask evaluate {folder}` scores "
        "the run, `polytask describe {folder}` shows its data and network",
    ),
    Other(
        RECORDS,
        "the study in {folder} is not finished; start the same command again to go on with it",
    ),
)


def tell_again(folder: Path) -> None:
    """Print and write again what a study found; of several in one folder the latest.

    Raises:
        PolytaskError: it is not the folder of a finished study; what it is, and what to do.
    """
    there = [kind for kind in KINDS if (folder / kind.summary.FILE).is_file()]
    if not there:
        raise PolytaskError(_what_it_is(folder))
    max(there, key=lambda kind: (folder / kind.summary.FILE).stat().st_mtime_ns).tell_again(folder)


def _what_it_is(folder: Path) -> str:
    for other in OTHERS:
        if (folder / other.file).is_file():
            return other.told.format(folder=folder)
    made = ", ".join(f"{kind.summary.FILE} (polytask {kind.command})" for kind in KINDS)
    came = f"{folder} has none of them" if folder.is_dir() else f"there is no folder {folder}"
    return f"expected the folder of a finished study, which holds one of {made}; {came}"
