"""The report of a study of transfer: gains and scores against the number of labels, and what they say."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytask.study.report import numbers, sections
from polytask.study.report.dots import DotChart, digits_of, gain_scale, tone
from polytask.study.report.gains import gains
from polytask.study.report.lines import Drawn, LineChart, line_chart
from polytask.study.report.marks import COLOURS, FOCUS, Mark, task_marks
from polytask.study.report.page import document, in_words, save
from polytask.study.report.scales import Scale, spanning
from polytask.study.report.series import Series
from polytask.study.report.tables import Cell, Column, Row, Table
from polytask.study.transfer_words import HELPED, HURT, effect
from polytask.study.transferred import called

if TYPE_CHECKING:
    from polytask.evaluation.intervals import Interval
    from polytask.study.summary import ArmSummary, MetricInfo
    from polytask.study.transferred import TransferSummary

Read = Callable[["ArmSummary"], "Interval | None"]

TEMPLATE = "transfer.html.j2"
AXIS = "training labels"
LOG_FROM = 5
"""How many times the smallest size the largest one is, at least, where the axis is logarithmic."""


@dataclass(frozen=True)
class AgainstScratch(Cell):
    """A value that is compared with training from scratch."""

    @property
    def spoken(self) -> str:
        return {"better": "better than from scratch", "worse": "worse than from scratch"}.get(self.tone, "")


def render(summary: "TransferSummary", records: Sequence[Mapping[str, Any]]) -> str:
    """The study as one HTML page that opens offline, as `render` makes it of a comparison.

    Args:
        summary: what the study found.
        records: the runs it was made from, for the learning curves.
    """
    return document(TEMPLATE, _context(summary, list(records)))


def write(summary: "TransferSummary", records: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Write the page to `path` and return it."""
    return save(render(summary, records), path)


def _context(summary: "TransferSummary", records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    one = summary.sizes[0].networks
    marks = _marks(summary)
    (task,) = one.tasks
    (sign,) = task_marks([task]).values()
    words = [effect(size.gain(summary.chosen)) for size in summary.sizes]
    return {
        "summary": summary,
        "one": one,
        "task": task,
        "marks": marks,
        "tone": "worse" if HURT in words else "better" if HELPED in words else "open",
        "percent": f"{100 * one.confidence:g} %",
        "intervals": len(one.seeds) > 1,
        "seeds": one.seeds,
        "gained": _against(summary, "gain over from scratch, %", lambda arm: arm.delta_m_tasks, marks, gain=True),
        "scored": [_against(summary, _words(metric), _score(task.name, metric.name), marks) for metric in task.metrics],
        "gain_table": _gain_table(summary, marks),
        "score_tables": [(metric, _score_table(summary, metric, marks)) for metric in task.metrics],
        "by_size": [_by_size(size, marks, sign) for size in summary.sizes],
        "curves": [_curve(summary, size.labels, records, marks, sign) for size in summary.sizes],
        "spent": _spent(summary, marks),
        "failures": [
            (f"{arm.name}, {size.labels:,} labels", error)
            for size in summary.sizes
            for arm in size.networks.arms
            for error in arm.failed
        ],
        "budget": in_words(one.budget),
        "versions": in_words(next((record["versions"] for record in records if record.get("versions")), {})),
    }


def _marks(summary: "TransferSummary") -> dict[str, Mark]:
    """Every way keeps its sign and its colour at all sizes: 0 is training from scratch."""
    names = [arm.name for arm in summary.sizes[0].networks.arms]
    return {
        name: Mark(f"a{k}", str(k), name, (k - 1) % COLOURS + 1 if k else 0, k > COLOURS, k < FOCUS)
        for k, name in enumerate(names)
    }


def _words(metric: "MetricInfo") -> str:
    unit = f", {metric.unit}" if metric.unit else ""
    return f"{metric.name}{unit} {'↑' if metric.higher_is_better else '↓'}"


def _score(task: str, metric: str) -> Read:
    return lambda arm: arm.scores.get(task, {}).get(metric)


def _against(
    summary: "TransferSummary", subtitle: str, read: Read, marks: Mapping[str, Mark], gain: bool = False
) -> LineChart:
    """One panel: what is read of every way, against the number of labels."""
    found = {name: _read(summary, name, read) for name in marks}
    drawn = [Drawn(marks[name], series) for name, each in found.items() if (series := _series(each))]
    every = [interval for each in found.values() for _, interval in each]
    ends = [end for each in every for end in (each.mean, each.low, each.high)]
    sizes = [float(size.labels) for size in summary.sizes]
    return line_chart(
        summary.target,
        subtitle,
        f"{subtitle} of {summary.target}",
        drawn,
        gain_scale(every) if gain else spanning(ends),
        0.0 if gain else None,
        axis=AXIS,
        x=_axis(sizes),
        x_ticks=sizes,
    )


def _axis(sizes: Sequence[float]) -> Scale:
    log = sizes[-1] >= LOG_FROM * sizes[0]
    return Scale(sizes[0], sizes[-1], log) if sizes[-1] > sizes[0] else spanning(sizes, pad=0.0)


def _read(summary: "TransferSummary", name: str, read: Read) -> "list[tuple[int, Interval]]":
    """By size, where there is a number."""
    found = ((size.labels, arm) for size in summary.sizes for arm in size.networks.arms if arm.name == name)
    told = ((labels, read(arm)) for labels, arm in found)
    return [(labels, each) for labels, each in told if each is not None and numbers.finite(each.mean) is not None]


def _series(found: "Sequence[tuple[int, Interval]]") -> Series | None:
    """Means, with the ends of their intervals in place of the lowest and highest seed."""
    if not found:
        return None
    return Series(
        tuple(float(labels) for labels, _ in found),
        tuple(each.mean for _, each in found),
        tuple(each.mean if each.low is None else each.low for _, each in found),
        tuple(each.mean if each.high is None else each.high for _, each in found),
        tuple(each.n for _, each in found),
    )


def _gain_table(summary: "TransferSummary", marks: Mapping[str, Mark]) -> Table:
    """Gains in %, a column per size, and what each says in a word."""
    ways = [name for name in marks if name != summary.sizes[0].networks.arms[0].name]
    every = [size.gain(way) for size in summary.sizes for way in ways]
    digits = digits_of([each for each in every if each is not None])

    def cell(interval: "Interval | None") -> Cell:
        inside = numbers.between(interval, digits, sign=True)
        text = numbers.fixed(interval.mean if interval else None, digits, sign=True)
        return AgainstScratch(text, f"{inside}{': ' if inside else ''}{effect(interval)}", tone=tone(interval))

    columns = tuple(Column(f"{size.labels:,} labels", True, "% over from scratch") for size in summary.sizes)
    rows = [_row(summary, way, marks, [cell(size.gain(way)) for size in summary.sizes]) for way in ways]
    return Table((), columns, tuple(rows))


def _score_table(summary: "TransferSummary", metric: "MetricInfo", marks: Mapping[str, Mark]) -> Table:
    """Test scores in a metric, a column per size."""
    task = summary.target
    columns = [
        [(arm, arm.scores.get(task, {}).get(metric.name)) for arm in size.networks.arms] for size in summary.sizes
    ]
    digits = numbers.places(each.mean for column in columns for _, each in column if each is not None)

    def cell(arm: "ArmSummary", interval: "Interval | None") -> Cell:
        text = numbers.fixed(interval.mean if interval else None, digits)
        told = None if arm.baseline else arm.gains.get(task, {}).get(metric.name)
        return AgainstScratch(text, numbers.between(interval, digits), tone=tone(told))

    head = tuple(Column(f"{size.labels:,} labels", metric.higher_is_better, metric.unit) for size in summary.sizes)
    rows = [_row(summary, name, marks, [cell(*column[k]) for column in columns]) for k, name in enumerate(marks)]
    return Table((), head, tuple(rows))


def _row(summary: "TransferSummary", name: str, marks: Mapping[str, Mark], cells: Sequence[Cell]) -> Row:
    """The row of a way; it is marked where it was chosen over all sizes."""
    arms = [arm for size in summary.sizes for arm in size.networks.arms if arm.name == name]
    several = len(summary.recipes) > 1
    arm = replace(
        arms[0],
        chosen=several and name == summary.chosen,
        failed=tuple(error for each in arms for error in each.failed),
        seeds=min((each.seeds for each in arms), key=len),
    )
    return Row(marks[name], arm, tuple(cells))


def _by_size(size: Any, marks: dict[str, Mark], sign: Mark) -> tuple[str, str, DotChart]:
    """Words and dots of one size."""
    (chart,) = gains(size.networks, marks, {sign.name: sign})["main"]
    title = f"{size.labels:,} labels"
    description = chart.description.replace("single-task", "training from scratch")
    return title, size.networks.verdict[0], replace(chart, title=title, sign=None, description=description)


def _curve(
    summary: "TransferSummary",
    labels: int,
    records: Sequence[Mapping[str, Any]],
    marks: dict[str, Mark],
    sign: Mark,
) -> LineChart | None:
    """The main metric on validation data by epoch, with so many labels."""
    names = {called(name, labels): name for name in marks}
    here = [{**record, "arm": names[record["arm"]]} for record in records if record["arm"] in names]
    found = sections.curves(summary.sizes[0].networks, here, marks, {sign.name: sign})
    return replace(found.panels[0].chart, title=f"{labels:,} labels", sign=None) if found.panels else None


def _spent(summary: "TransferSummary", marks: Mapping[str, Mark]) -> list[tuple[Mark, str, str, str]]:
    """Seconds, seconds of pre-training and parameters of every way, with all sizes together the mean."""
    found = []
    for name, mark in marks.items():
        arms = [arm for size in summary.sizes for arm in size.networks.arms if arm.name == name and arm.scores]
        if arms:
            before = next((arm.start_seconds for arm in arms if arm.start_seconds is not None), None)
            seconds = sum(arm.seconds.mean for arm in arms) / len(arms)
            told = "" if before is None else numbers.duration(before)
            found.append((mark, numbers.duration(seconds), told, numbers.amount(arms[0].parameters)))
    return found
