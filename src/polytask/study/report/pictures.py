"""What the networks say of the same few images, side by side; and the attention maps that they say it with."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from polytask.study.report.marks import Mark
from polytask.study.report.numbers import fixed
from polytask.study.report.series import Record, finished, get
from polytask.study.report.webp import size_of, smaller

if TYPE_CHECKING:
    from polytask.study.summary import Summary

BUDGET = 12_000_000
"""Bytes of all pictures of a page, which is to stay below 15 MB."""

STEPS = ((192, 75, None), (128, 70, None), (96, 60, None), (96, 60, 2), (64, 50, 1))
"""What is tried where they are more: pixels of the longer side, quality, examples."""

COARSE = 116
"""A picture with fewer pixels is shown enlarged, in squares."""

Uri = str | None


@dataclass(frozen=True)
class Shot:
    """One picture: its kind (for the choice of what to show), its data URI, and what it is in words."""

    kind: str
    uri: str
    words: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return size_of(self.uri)

    @property
    def coarse(self) -> bool:
        """Whether it has fewer pixels than it is shown with."""
        return self.size[0] < COARSE


Cell = tuple[Shot, ...]


@dataclass(frozen=True)
class TaskPictures:
    """One task: the arms that have pictures, and per example the cells input, target, and one per arm."""

    mark: Mark
    legend: tuple[tuple[str, str], ...]
    arms: tuple[Mark, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class MapPictures:
    """The attention maps of one arm: the inputs, and per map its label, its range and one cell per example."""

    mark: Mark
    inputs: tuple[Cell, ...]
    rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]
    left_out: int


@dataclass(frozen=True)
class Pictures:
    """All of them, what was done to keep the page small, and what went wrong."""

    tasks: tuple[TaskPictures, ...] = ()
    maps: tuple[MapPictures, ...] = ()
    choices: tuple[tuple[str, str], ...] = ()
    note: str = ""
    errors: tuple[tuple[str, str], ...] = ()

    def shots(self) -> Iterator[Shot]:
        """Every picture."""
        for task in self.tasks:
            yield from (shot for row in task.rows for cell in row for shot in cell)
        for each in self.maps:
            yield from (shot for cell in each.inputs for shot in cell)
            yield from (shot for *_, cells in each.rows for cell in cells for shot in cell)


def pictures(
    summary: "Summary", records: Sequence[Record], marks: Mapping[str, Mark], tasks: Mapping[str, Mark]
) -> Pictures:
    """Per task a table of targets, predictions and errors by arm; and maps by arm. Empty where nothing was kept."""
    kept = [record for record in records if isinstance(record.get("examples"), Mapping)]
    told = [record for record in kept if "tasks" in record["examples"]]
    inputs = _first(get(record, "examples", "inputs") for record in told)
    of_tasks = (_task(task.name, tasks[task.name], told, marks, inputs) for task in summary.tasks)
    of_maps = (_maps(mark, finished(told, name), inputs) for name, mark in marks.items())
    found = Pictures(
        tasks=tuple(each for each in of_tasks if each),
        maps=tuple(each for each in of_maps if each),
        errors=tuple(
            (str(record["arm"]), str(record["examples"]["error"])) for record in kept if "error" in record["examples"]
        ),
    )
    kinds = {shot.kind for shot in found.shots()}
    choices = (("prediction", "predictions"), ("error", "errors"), ("both", "both"))
    return _within(replace(found, choices=choices if {"prediction", "error"} <= kinds else ()))


def _first(lists: Any) -> list[Uri]:
    """Of lists with an entry per example, the first entry that is there."""
    known = [each for each in lists if each]
    return [next((uri for uri in each if uri), None) for each in zip(*known, strict=False)]


def _task(
    name: str, sign: Mark, told: Sequence[Record], marks: Mapping[str, Mark], inputs: Sequence[Uri]
) -> TaskPictures | None:
    having = [record for record in told if name in record["examples"]["tasks"]]
    by_arm = {arm: runs[0]["examples"]["tasks"][name] for arm in marks if (runs := finished(having, arm))}
    if not by_arm:
        return None
    targets = _first(each.get("target") for each in by_arm.values())

    def row(k: int) -> tuple[Cell, ...]:
        where = f"{name}, example {k + 1}"
        before = (
            _cell("input", inputs, k, f"Input, example {k + 1}"),
            _cell("target", targets, k, f"Target of {where}"),
        )
        return *before, *(
            _cell("prediction", told.get("prediction"), k, f"Prediction of {where}, by {arm}")
            + _cell("error", told.get("error"), k, f"Error of {where}, by {arm}")
            for arm, told in by_arm.items()
        )

    count = max(len(each["prediction"]) for each in by_arm.values())
    legends = (get(record, "examples", "legends", name) for record in having)
    legend: Mapping[str, str] = next((each for each in legends if each), {})
    arms = tuple(marks[arm] for arm in by_arm)
    return TaskPictures(sign, tuple(legend.items()), arms, tuple(row(k) for k in range(count)))


def _maps(mark: Mark, runs: Sequence[Record], inputs: Sequence[Uri]) -> MapPictures | None:
    told = next((record["examples"] for record in runs if record["examples"].get("maps")), None)
    if told is None:
        return None
    count = len(told["rows"])
    ranges = told.get("map_ranges") or {}
    rows = tuple(
        (
            label,
            " to ".join(fixed(end, 2) for end in ranges.get(label) or ()),
            tuple(_cell("map", uris, k, f"{label}, example {k + 1}, of {mark.name}") for k in range(count)),
        )
        for label, uris in told["maps"].items()
    )
    above = tuple(_cell("input", inputs, k, f"Input, example {k + 1}") for k in range(count))
    return MapPictures(mark, above, rows, int(told.get("maps_left_out") or 0))


def _cell(kind: str, uris: Sequence[Uri] | None, k: int, words: str) -> Cell:
    uri = uris[k] if uris and k < len(uris) else None
    return (Shot(kind, uri, words),) if uri else ()


def _within(found: Pictures) -> Pictures:
    """The pictures within the budget: in fewer pixels, and fewer of them, where that is needed; a note says so."""
    had = max((len(task.rows) for task in found.tasks), default=0)
    tried = found
    for side, quality, most in STEPS:
        if sum(len(shot.uri) for shot in tried.shots()) <= BUDGET:
            break
        tried = _changed(found, side, quality, most)
        fewer = f", and {most} of {had} examples" if most and most < had else ""
        note = f"To keep this page below 15 MB, pictures have at most {side} pixels a side{fewer}."
        tried = replace(tried, note=note)
    return tried


def _changed(found: Pictures, side: int, quality: int, most: int | None) -> Pictures:
    def cells(given: Sequence[Cell]) -> tuple[Cell, ...]:
        return tuple(tuple(replace(shot, uri=smaller(shot.uri, side, quality)) for shot in cell) for cell in given)

    return replace(
        found,
        tasks=tuple(replace(task, rows=tuple(map(cells, task.rows[:most]))) for task in found.tasks),
        maps=tuple(
            replace(
                each,
                inputs=cells(each.inputs[:most]),
                rows=tuple((label, ends, cells(row[:most])) for label, ends, row in each.rows),
            )
            for each in found.maps
        ),
    )
