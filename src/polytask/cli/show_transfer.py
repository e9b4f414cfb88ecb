"""What `polytask transfer` prints."""

from collections.abc import Sequence
from pathlib import Path

from polytask._text import listed
from polytask.cli import show
from polytask.cli.text import counted, grid, say, spread, wrapped
from polytask.cli.text import show as shown
from polytask.study import TransferSummary
from polytask.study.kept import Record
from polytask.study.transfer import Plan
from polytask.training import Budget


def plan(found: Plan, seeds: Sequence[int], budget: Budget, folder: Path) -> None:
    """What is going to be trained."""
    show.problem(found.problem)
    networks = len(seeds) * (1 + len(found.sizes) * len(found.ways))
    say(f"To train: {counted(networks, 'network')} in {folder}", "bold")
    wrapped(f"first on {listed(found.pretrain, show.LISTED)}", 2)
    sizes = ", ".join(f"{size:,}" for size in found.sizes)
    ways = listed([way.label for way in found.ways], show.LISTED, "; ")
    wrapped(f"then {found.target} with {sizes} labels: {ways}", 2)
    show.settings(seeds, budget)


def results(summary: TransferSummary) -> None:
    """Scores and gains against the number of labels, then the verdict."""
    labels = [f"{size.labels:,}" for size in summary.sizes]
    (task,) = summary.sizes[0].networks.tasks
    ways = [arm.name for arm in summary.sizes[0].networks.arms]
    say()
    for metric in task.metrics:
        unit = f", {metric.unit}" if metric.unit else ""
        table = grid(f"{task.name}: {metric.name}{unit} {'↑' if metric.higher_is_better else '↓'}", *labels)
        for k, way in enumerate(ways):
            arms = [size.networks.arms[k] for size in summary.sizes]
            table.add_row(way, *(spread(arm.scores.get(task.name, {}).get(metric.name)) for arm in arms))
        shown(table)
    table = grid("gain over from scratch, %", *labels)
    for way in ways[1:]:
        mark = " *" if len(summary.recipes) > 1 and way == summary.chosen else ""
        table.add_row(f"{way}{mark}", *(spread(size.gain(way), sign=True) for size in summary.sizes))
    shown(table)
    show.verdict(summary.verdict)


def chosen(summary: TransferSummary, records: Sequence[Record], folder: Path) -> None:
    """Where the network to use is, why it is that one, and how to use it."""
    say(f"With {summary.sizes[-1].labels:,} labels, the best on validation data: {summary.best}.")
    show.chosen(summary, records, folder)
