"""How far a comparison or a training is."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from polytask.cli.text import console, duration, number


class RunsProgress:
    """A line per network that is trained, with an estimate of the time left; on a terminal also a bar.

    Who stops it by Ctrl-C is told where the finished runs are, and how to go on.

    Args:
        folder: of the study; runs that it holds already take no time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = {path.parent.name for path in folder.glob("runs/*/record.json")}
        self.fresh, self.begun = 0, 0.0
        self.console = console()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=None)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(
                f"stopped; the runs that are finished are kept in {self.folder}: start the same command again to go on"
            ) from None

    def over(self, record: Mapping[str, Any], done: int, total: int) -> None:
        """Tell that a run is over."""
        left = self._left(record, total - done)
        what = f"{record['arm']}{' ' + record['tasks'][0] if record['baseline'] else ''}, seed {record['seed']}"
        how = duration(record["seconds"]) if record["status"] == "finished" else f"FAILED: {record['error']}"
        how += " (kept from before)" if record["key"] in self.kept and record["status"] == "finished" else ""
        self.console.print(f"[{done:>{len(str(total))}}/{total}] {what}: {how}{left}", soft_wrap=True)
        self.bar.update(self.task, completed=done, total=total, description=f"training{left}")

    def _left(self, record: Mapping[str, Any], remaining: int) -> str:
        """How long the rest may take, from the runs trained since the first one (which waits for its process)."""
        if record["key"] not in self.kept:
            self.fresh += 1
            if self.fresh == 1:
                self.begun = time.monotonic()
        if self.fresh < 3 or not remaining:
            return ""
        return f"; about {duration((time.monotonic() - self.begun) / (self.fresh - 1) * remaining)} left"


def epoch_line(epoch: Mapping[str, Any], epochs: int) -> str:
    """One epoch in a line: time, the score that the best epoch is chosen by, each task's first metric.

    >>> epoch_line({"epoch": 2, "seconds": 3.0, "score": 0.25, "validation": {"a": {"loss": 1.0, "f1": 0.5}}}, 12)
    'epoch  2/12   3.0 s  score +0.2500  a f1 0.5'
    """
    found = []
    for task, scores in epoch["validation"].items():
        name = next((each for each in scores if each != "loss"), "loss")
        found.append(f"{task} {name} {number(scores[name])}")
    score = epoch["score"]
    told = "" if score is None else f"  score {score:+.4f}"
    place = f"{epoch['epoch']:>{len(str(epochs))}}/{epochs}"
    return f"epoch {place}  {duration(epoch['seconds']):>6}{told}  {', '.join(found)}"
