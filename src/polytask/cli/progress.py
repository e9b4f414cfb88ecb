"""How far a comparison or a training is."""

import time
from collections import defaultdict
from collections.abc import Mapping
from itertools import starmap
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


WIDTH = 80
"""Of a line about an epoch; where it is longer, tasks are summed up."""


def epoch_line(epoch: Mapping[str, Any], epochs: int) -> str:
    """One epoch in a line: time, the score that the best epoch is chosen by, each task's first metric.

    Where that is too long: of every metric the lowest and the highest of the tasks that have it.

    >>> epoch_line({"epoch": 2, "seconds": 3.0, "score": 0.25, "validation": {"a": {"loss": 1.0, "f1": 0.5}}}, 12)
    'epoch  2/12   3.0 s  score +0.2500  a f1 0.5'
    >>> scores = {f"{kind} reviews": {"f1": 0.1 * k} for k, kind in enumerate(("books", "kitchen", "music", "toys"))}
    >>> epoch_line({"epoch": 2, "seconds": 3.0, "score": 0.25, "validation": scores}, 12)
    'epoch  2/12   3.0 s  score +0.2500  f1 0 (books reviews) to 0.3 (toys reviews)'
    """
    each: list[str] = []
    by_metric: dict[str, dict[str, float]] = defaultdict(dict)
    for task, scores in epoch["validation"].items():
        name = next((metric for metric in scores if metric != "loss"), "loss")
        each.append(f"{task} {name} {number(scores[name])}")
        by_metric[name][task] = scores[name]
    score = epoch["score"]
    told = "" if score is None else f"  score {score:+.4f}"
    place = f"{epoch['epoch']:>{len(str(epochs))}}/{epochs}"
    line = f"epoch {place}  {duration(epoch['seconds']):>6}{told}"
    whole = f"{line}  {', '.join(each)}"
    return whole if len(whole) <= WIDTH else f"{line}  {', '.join(starmap(_range, by_metric.items()))}"


def _range(metric: str, values: Mapping[str, float]) -> str:
    """A metric of several tasks: the lowest and the highest, with their tasks."""
    if len(values) == 1:
        return "".join(f"{task} {metric} {number(value)}" for task, value in values.items())
    low, high = (choose(values, key=lambda task: values[task]) for choose in (min, max))
    return f"{metric} {number(values[low])} ({low}) to {number(values[high])} ({high})"
