"""What is told after every epoch: the inside of networks (cross-stitch weights, means of masks), shares of samplers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from polytask.study.report.lines import Drawn, LineChart, line_chart, shared_scale
from polytask.study.report.marks import COLOURS, FOCUS, Mark, letters, ordered
from polytask.study.report.series import Record, finished, get, over_seeds

if TYPE_CHECKING:
    from polytask.study.summary import Summary

PANELS = 12
"""Panels of one arm at most."""
POOLS = 12
"""Lines of a panel of shares at most: of the pools whose shares change most."""

Panels = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Inside:
    """One arm: its panels on a common axis, the lines that they have, and how many panels (or lines) more there are."""

    mark: Mark
    panels: tuple[LineChart, ...]
    legend: tuple[Mark, ...]
    left_out: int


def inside(summary: "Summary", records: Sequence[Record], marks: dict[str, Mark]) -> tuple[Inside, ...]:
    """The arms that told anything, in the order of the tables. A line has one colour in all panels of its arm."""
    told = ((marks[arm.name], finished(records, arm.name)) for arm in ordered(summary.arms) if not arm.baseline)
    return tuple(found for mark, runs in told if (found := _arm(mark, runs, _inside)) is not None)


def drawn(summary: "Summary", records: Sequence[Record], marks: dict[str, Mark]) -> tuple[Inside, ...]:
    """The shares of the draws that samplers gave the pools, of those arms where they changed."""
    found = []
    for arm in ordered(summary.arms):
        runs = [] if arm.baseline else finished(records, arm.name)
        moved = _moved([epoch.get("drawn") or {} for record in runs for epoch in record.get("epochs") or ()])
        shown = _arm(marks[arm.name], runs, partial(_drawn, list(moved)[:POOLS])) if moved else None
        found += [replace(shown, left_out=max(0, len(moved) - POOLS))] if shown else []
    return tuple(found)


def _moved(shares: Sequence[Mapping[str, float]]) -> list[str]:
    """The pools, that whose share changed most first; none where no share changed."""
    pools = list(dict.fromkeys(name for each in shares for name in each))
    seen = {name: [each[name] for each in shares if name in each] for name in pools}
    change = {name: max(found) - min(found) for name, found in seen.items()}
    return sorted(pools, key=lambda name: -change[name]) if any(each > 1e-6 for each in change.values()) else []


def _inside(epoch: Any) -> Panels:
    return get(epoch, "inside") or {}


def _drawn(pools: Sequence[str], epoch: Any) -> Panels:
    shares = get(epoch, "drawn") or {}
    return {"Share of the draws": {name: shares.get(name) for name in pools}} if shares else {}


def _arm(mark: Mark, runs: Sequence[Record], told: Callable[[Any], Panels]) -> Inside | None:
    names: dict[str, list[str]] = {}
    for epoch in (epoch for record in runs for epoch in record.get("epochs") or ()):
        for panel, lines in told(epoch).items():
            names.setdefault(panel, []).extend(line for line in lines if line not in names[panel])
    signs = _signs(mark, list(dict.fromkeys(line for lines in names.values() for line in lines)))
    drawn = {
        panel: [Drawn(signs[line], series) for line in lines if (series := over_seeds(runs, _read(told, panel, line)))]
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


def _read(told: Callable[[Any], Panels], panel: str, line: str) -> Callable[[Any], Any]:
    return lambda epoch: get(told(epoch), panel, line)
