"""The panels over training: learning curves, task weights, and how the tasks' gradients agree."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polytask.study.report.lines import Drawn, LineChart, line_chart, shared_scale
from polytask.study.report.marks import FOCUS, Mark, ordered, pair_marks
from polytask.study.report.numbers import fixed, short
from polytask.study.report.series import (
    Record,
    Series,
    between_tasks,
    cosine,
    finished,
    get,
    over_seeds,
    ratio,
)

if TYPE_CHECKING:
    from polytask.study.summary import MetricInfo, Summary, TaskInfo


@dataclass(frozen=True)
class Panel:
    """A chart and the choices under which it shows."""

    chart: LineChart
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Curves:
    """Learning curves: the choices of what to show (key, words) and all panels."""

    choices: tuple[tuple[str, str], ...]
    panels: tuple[Panel, ...]
    uneven: bool


@dataclass(frozen=True)
class Weights:
    """Weight trajectories, one panel per arm that moves them; the others in words."""

    panels: tuple[LineChart, ...]
    constant: tuple[tuple[Mark, str], ...]
    legend: tuple[Mark, ...]


@dataclass(frozen=True)
class Conflict:
    """Per arm the cosine and the ratio of magnitudes of the tasks' gradients; `hidden` pairs are grey."""

    arms: tuple[tuple[Mark, tuple[LineChart, ...]], ...]
    legend: tuple[Mark, ...]
    hidden: int


def curves(summary: "Summary", records: Sequence[Record], marks: dict[str, Mark], tasks: dict[str, Mark]) -> Curves:
    """One panel per task and metric (validation), and one per task with the training and validation loss."""
    names = list(dict.fromkeys(metric.name for task in summary.tasks for metric in task.metrics))
    keys = {name: f"m{index}" for index, name in enumerate(names)}
    panels, used = [], set()
    for task in summary.tasks:
        for index, metric in enumerate(task.metrics):
            chart = _metric_panel(task, metric, records, marks, tasks)
            if chart:
                used.add(keys[metric.name])
                panels.append(Panel(chart, (*(("main",) if index == 0 else ()), keys[metric.name])))
        chart = _loss_panel(task, records, marks, tasks)
        if chart:
            used.add("loss")
            panels.append(Panel(chart, ("loss",) if task.metrics else ("main", "loss")))
    mains = {task.metrics[0].name for task in summary.tasks if task.metrics}
    choices = [("main", "Main metric")] if len(mains) > 1 else []
    choices += [(keys[name], name) for name in names if keys[name] in used]
    choices += [("loss", "loss")] if "loss" in used else []
    lengths = {len(record.get("epochs") or ()) for record in records if record.get("status") == "finished"}
    return Curves(tuple(choices), tuple(panels), len(lengths) > 1)


def _drawn(
    records: Sequence[Record], marks: dict[str, Mark], read: Callable[[Any], Any], dotted: bool = False
) -> list[Drawn]:
    found = ((mark, over_seeds(finished(records, name), read)) for name, mark in marks.items())
    return [Drawn(mark, series, dotted) for mark, series in found if series]


def _metric_panel(
    task: "TaskInfo",
    metric: "MetricInfo",
    records: Sequence[Record],
    marks: dict[str, Mark],
    tasks: dict[str, Mark],
) -> LineChart | None:
    drawn = _drawn(records, marks, lambda epoch: get(epoch, "validation", task.name, metric.name))
    unit = f", {metric.unit}" if metric.unit else ""
    words = f"{metric.name}{unit} {'↑' if metric.higher_is_better else '↓'}"
    what = f"Validation {metric.name} of task {task.name}"
    return line_chart(task.name, words, what, drawn, sign=tasks[task.name]) if drawn else None


def _loss_panel(
    task: "TaskInfo", records: Sequence[Record], marks: dict[str, Mark], tasks: dict[str, Mark]
) -> LineChart | None:
    drawn = _drawn(records, marks, lambda epoch: get(epoch, "validation", task.name, "loss"))
    drawn += _drawn(records, marks, lambda epoch: get(epoch, "train", task.name, "loss"), dotted=True)
    what = f"Validation and training loss of task {task.name}"
    return line_chart(task.name, "loss ↓", what, drawn, sign=tasks[task.name]) if drawn else None


def weights(summary: "Summary", records: Sequence[Record], marks: dict[str, Mark], tasks: dict[str, Mark]) -> Weights:
    """One panel per arm, one line per task, a common axis; arms whose weights never move are put in words."""
    moving: list[tuple[Mark, list[Drawn]]] = []
    constant = []
    for arm in ordered(summary.arms):
        runs = [] if arm.baseline else finished(records, arm.name)
        found = {name: over_seeds(runs, _weight(name)) for name in tasks}
        drawn = [Drawn(tasks[name], series) for name, series in found.items() if series]
        if drawn and all(item.series.constant() for item in drawn):
            constant.append((marks[arm.name], _constant([item.series for item in drawn])))
        elif drawn:
            moving.append((marks[arm.name], drawn))
    y = shared_scale([item for _, drawn in moving for item in drawn], (1.0,), ratio_like=True)
    panels = [
        line_chart(mark.name, "weight", f"Task weights of {mark.name}", drawn, y, reference=1.0, sign=mark)
        for mark, drawn in moving
    ]
    return Weights(tuple(panels), tuple(constant), tuple(tasks.values()))


def _weight(name: str) -> Callable[[Any], Any]:
    return lambda epoch: get(epoch, "train", name, "weight")


def _constant(series: Sequence[Series]) -> str:
    values = [short(float(fixed(each.values()[0], 3).replace("\u202f", "").replace("−", "-"))) for each in series]
    return f"{values[0]} for every task" if len(set(values)) == 1 else ", ".join(values)


def conflict(summary: "Summary", records: Sequence[Record], marks: dict[str, Mark], tasks: dict[str, Mark]) -> Conflict:
    """Cosine and ratio of magnitudes per arm and pair; of many pairs the most opposed are in colour."""
    pairs = list(itertools.combinations(tasks, 2))
    runs = {arm.name: finished(records, arm.name) for arm in ordered(summary.arms) if not arm.baseline}
    cosines = {
        (name, pair): series
        for name in runs
        for pair in pairs
        if (series := over_seeds(runs[name], between_tasks(*pair, cosine)))
    }
    seen = [pair for pair in pairs if any(found == pair for _, found in cosines)]

    def mean(pair: tuple[str, str]) -> float:
        values = [value for (_, found), series in cosines.items() if found == pair for value in series.values()]
        return sum(values) / len(values)

    focus = seen if len(seen) <= FOCUS - 1 else sorted(seen, key=mean)[: FOCUS - 2]
    signs = pair_marks(tasks, focus)
    alike = [Drawn(signs[pair], series) for (_, pair), series in cosines.items()]
    few = len(seen) == len(focus)
    both = {
        name: (
            [Drawn(signs[pair], cosines[name, pair], shaded=few) for pair in seen if (name, pair) in cosines],
            [
                Drawn(signs[pair], found, shaded=few)
                for pair in seen
                if (found := over_seeds(runs[name], between_tasks(*pair, ratio)))
            ],
        )
        for name in runs
    }
    y = shared_scale(alike, (0.0,), ratio_like=False)
    y_ratio = shared_scale([item for _, ratios in both.values() for item in ratios], (1.0,), ratio_like=True)
    arms = []
    for name, (alike, ratios) in both.items():
        mark, pull = marks[name], f"Cosine of the tasks' gradients, {name},"
        charts = [
            line_chart(name, "cosine", pull, alike, y, 0.0, mark),
            line_chart(name, "ratio of lengths", f"Ratio of gradient lengths, {name},", ratios, y_ratio, 1.0, mark),
        ]
        if alike or ratios:
            arms.append((mark, tuple(chart for chart in charts if chart.lines)))
    return Conflict(tuple(arms), tuple(signs[pair] for pair in focus), len(seen) - len(focus))
