"""The page of a study of auxiliary tasks: what each of them brought to each main task."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytask.study.report import page, sections, tables
from polytask.study.report.dots import DotChart, digits_of, dot_rows, tone
from polytask.study.report.marks import Mark, arm_marks, task_marks
from polytask.study.report.numbers import between, fixed

if TYPE_CHECKING:
    from polytask.evaluation.intervals import Interval
    from polytask.study.brought import AuxiliarySummary, Brought


@dataclass(frozen=True)
class MainTask:
    """What the auxiliary tasks brought to one main task.

    Args:
        chart: a row for all of them together, and two rows for each of several.
        rows: one for each of them.
    """

    chart: DotChart
    rows: tuple["Helper", ...]


@dataclass(frozen=True)
class Helper:
    """What one auxiliary task brought: figures by itself and beside the others, and what they say."""

    auxiliary: str
    figures: tuple[str, ...]
    reading: str


def render(summary: "AuxiliarySummary", records: Sequence[Mapping[str, Any]]) -> str:
    """The study as one self-contained HTML page, as that of a comparison (`report.render`).

    Verdict, what each auxiliary task brought (by itself and beside the others) with intervals and in words, scores of
    all networks, learning curves, task weights, agreement of gradients, how it was done.

    Args:
        summary: what the study found.
        records: the runs it was made from.

    Returns:
        The HTML text.
    """
    networks = summary.networks
    marks, tasks = arm_marks(networks), task_marks(networks.tasks)
    whole = replace(networks, arms=tuple(arm for arm in networks.arms if _has_all(arm.name, records, tasks)))
    told = page.context(networks, records) | {
        "facts": [],
        "levels": (),
        "rare": (),
        "tone": _tone(list(summary.together.values())),
        "mains": [_main(summary, main, tasks) for main in summary.together],
        "single": len(summary.auxiliary) == 1,
        "scores": [_plainly(each) for each in tables.scores(networks, marks, tasks, auxiliary=False)],
        "helpers": summary.auxiliary,
        "conflict": sections.conflict(whole, records, marks, tasks),
    }
    return page.document("auxiliaries.html.j2", told)


def write(summary: "AuxiliarySummary", records: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Write the page to `path` and return it."""
    return page.save(render(summary, records), path)


def _has_all(arm: str, records: Sequence[Mapping[str, Any]], tasks: Mapping[str, Mark]) -> bool:
    return any(record["arm"] == arm and len(record["tasks"]) == len(tasks) for record in records)


def _tone(together: Sequence["Interval"]) -> str:
    """That of the headline: "open" where main tasks disagree."""
    tones = {tone(each) for each in together}
    return tones.pop() if len(tones) == 1 else "open"


def _plainly(table: tables.Table) -> tables.Table:
    """Without marks against single-task: differences have charts of their own."""
    rows = (replace(row, cells=tuple(replace(cell, tone="open") for cell in row.cells)) for row in table.rows)
    return replace(table, rows=tuple(rows))


def _main(summary: "AuxiliarySummary", main: str, tasks: Mapping[str, Mark]) -> MainTask:
    brought = [each for each in summary.brought if each.main == main]
    single = len(brought) == 1
    together = summary.together[main]
    shown: list[tuple[Mark, Interval | None]] = [
        (Mark("all", "Σ", brought[0].auxiliary if single else "all of them together", 0), together)
    ]
    ways = summary.other_ways.items()
    shown += [(Mark(f"w{place}", "Σ", name, 0), told.get(main)) for place, (name, told) in enumerate(ways)]
    if not single:
        for one in brought:
            mark = tasks[one.auxiliary]
            shown.append((replace(mark, name=f"{one.auxiliary}, by itself"), one.alone))
            shown.append((replace(mark, name=f"{one.auxiliary}, beside the others"), one.beside))
    digits = digits_of([each for _, each in shown])
    rows = [Helper(each.auxiliary, _figures(each, digits), each.reading) for each in brought]
    return MainTask(dot_rows(f"Gain of {main}, %", shown), tuple(rows))


def _figures(one: "Brought", digits: int) -> tuple[str, ...]:
    return tuple(
        fixed(each.mean, digits, True) + " %" + (f" ({inside})" if (inside := between(each, digits, True)) else "")
        for each in one.intervals
    )
