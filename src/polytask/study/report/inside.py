"""What the networks tell of their inside over the training: cross-stitch weights, means of masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polytask.study.report.lines import Drawn, LineChart, line_chart, shared_scale
from polytask.study.report.marks import COLOURS, FOCUS, Mark, letters, ordered
from polytask.study.report.series import Record, finished, get, over_seeds

if TYPE_CHECKING:
    from polytask.study.summary import Summary

PANELS = 12
"""Panels of one arm at most."""


@dataclass(frozen=True)
class Inside:
    """One arm: its panels on a common axis, the lines that they have, and how many panels more there are."""

    mark: Mark
    panels: tuple[LineChart, ...]
    legend: tuple[Mark, ...]
    left_out: int


def inside(summary: "Summary", records: Sequence[Record], marks: dict[str, Mark]) -> tuple[Inside, ...]:
    """The arms that told anything, in the order of the tables. A line has one colour in all panels of its arm."""
    told = ((marks[arm.name], finished(records, arm.name)) for arm in ordered(summary.arms) if not arm.baseline)
    return tuple(found for mark, runs in told if (found := _arm(mark, runs)) is not None)


def _arm(mark: Mark, runs: Sequence[Record]) -> Inside | None:
    names: dict[str, list[str]] = {}
    for epoch in (epoch for record in runs for epoch in record.get("epochs") or ()):
        for panel, lines in (get(epoch, "inside") or {}).items():
            names.setdefault(panel, []).extend(line for line in lines if line not in names[panel])
    signs = _signs(mark, list(dict.fromkeys(line for lines in names.values() for line in lines)))
    drawn = {
        panel: [Drawn(signs[line], series) for line in lines if (series := over_seeds(runs, _read(panel, line)))]
        for panel, lines in list(names.items())[:PANELS]
    }
    y = shared_scale([item for lines in drawn.values() for item in lines], (), ratio_like=False)
    charts = tuple(
        line_chart(panel, "", f"{panel} of {mark.name}", lines, y) for panel, lines in drawn.items() if lines
    )
    return Inside(mark, charts, tuple(signs.values()), max(0, len(names) - PANELS)) if charts else None


def _signs(arm: Mark, lines: Sequence[str]) -> dict[str, Mark]:
    return {
        line: Mark(f"{arm.key}i{k}", letters(k).lower(), line, k % COLOURS + 1, dashed=k >= COLOURS, focus=k < FOCUS)
        for k, line in enumerate(lines)
    }


def _read(panel: str, line: str) -> Callable[[Any], Any]:
    return lambda epoch: get(epoch, "inside", panel, line)
