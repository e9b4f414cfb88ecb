"""The page of a study of unseen tasks: what descriptors told a network of tasks that it was not trained on."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytask.study.report.dots import DotChart, digits_of, dot_rows, tone
from polytask.study.report.marks import Mark, letters
from polytask.study.report.numbers import between, fixed, places
from polytask.study.report.page import document, in_words, save
from polytask.study.report.tables import Cell
from polytask.study.untold import CONSTANT, NOT_TOLD, OWN, TOLD

if TYPE_CHECKING:
    from polytask.evaluation.intervals import Interval
    from polytask.study.summary import MetricInfo
    from polytask.study.untold import UnseenSummary

TEMPLATE = "unseen.html.j2"
WAYS: Mapping[str, str] = {
    CONSTANT: "The best constant prediction that the labels of the other tasks allow.",
    NOT_TOLD: "The network, trained on the other tasks, without a word about which task it works for.",
    TOLD: "The same network, told by the descriptors of the tasks; the one left out it knows by its descriptor alone.",
    OWN: "A single-task network that was trained on the task's own labels: what is left to gain by labels.",
}
"""What was scored on every task, and what that is."""
ALL = Mark("all", "Σ", "all tasks, mean", 0)


@dataclass(frozen=True)
class OverNotTold(Cell):
    """A gain of the network that was told over the one that was not."""

    @property
    def spoken(self) -> str:
        return {"better": "better than not told", "worse": "worse than not told"}.get(self.tone, "")


def render(summary: "UnseenSummary", records: Sequence[Mapping[str, Any]]) -> str:
    """The study as one HTML page that opens offline, as that of a comparison (`report.render`).

    Args:
        summary: what the study found.
        records: the runs it was made from.

    Returns:
        The HTML text.
    """
    told = {
        "summary": summary,
        "tone": tone(summary.gain),
        "percent": f"{100 * summary.confidence:g} %",
        "intervals": len(summary.seeds) > 1,
        "ways": tuple(WAYS.items()),
        "gains": _gains(summary),
        "scores": [(metric, _scores(summary, metric)) for metric in summary.metrics],
        "budget": in_words(summary.budget),
        "versions": in_words(next((record["versions"] for record in records if record.get("versions")), {})),
    }
    return document(TEMPLATE, told)


def write(summary: "UnseenSummary", records: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Write the page to `path` and return it."""
    return save(render(summary, records), path)


def _gains(summary: "UnseenSummary") -> tuple[DotChart, DotChart]:
    """A row per task: told over not told, and what own labels would still bring."""
    marks = [Mark(f"t{k}", letters(k), task.task, 0) for k, task in enumerate(summary.tasks)]
    told = [(ALL, summary.gain), *zip(marks, (task.gain for task in summary.tasks), strict=True)]
    left = [(ALL, summary.short_of), *zip(marks, (task.short_of for task in summary.tasks), strict=True)]
    return (
        dot_rows("Told over not told: what the descriptor brought, %", told),
        dot_rows("Own labels over told: what labels of the task would still bring, %", left),
    )


def _scores(summary: "UnseenSummary", metric: "MetricInfo") -> list[tuple[str, list[Cell]]]:
    """A row per task: its scores in one metric, and the gain of told over not told."""
    found = [[of_way[metric.name] for of_way in (task.scores[way] for way in WAYS)] for task in summary.tasks]
    digits = places(each.mean for row in found for each in row)
    gains = [task.gain for task in summary.tasks]
    return [
        (task.task, [*(_cell(each, digits) for each in row), _gain(task.gain, digits_of(gains))])
        for task, row in zip(summary.tasks, found, strict=True)
    ]


def _cell(interval: "Interval", digits: int) -> Cell:
    varies = interval.low != interval.high  # the constant does not
    return Cell(fixed(interval.mean, digits), between(interval, digits) if varies else "")


def _gain(interval: "Interval", digits: int) -> Cell:
    return OverNotTold(fixed(interval.mean, digits, True), between(interval, digits, True), tone=tone(interval))
