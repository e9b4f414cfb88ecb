"""The tables: what each arm gained and cost, and its test scores task by task."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polytask.study.report.dots import tone
from polytask.study.report.marks import Mark, ordered
from polytask.study.report.numbers import MISSING, amount, between, duration, finite, fixed, mebibytes, places

if TYPE_CHECKING:
    from polytask.study.summary import ArmSummary, MetricInfo, Summary, TaskInfo

COLUMNS = 6  # metric columns of one score table; more tasks make more tables rather than a wider one
WORDS = {"better": "better than single-task", "worse": "worse than single-task", "open": ""}


@dataclass(frozen=True)
class Cell:
    """One value: text, the interval below it, best of its column or not, tone against single-task."""

    text: str
    range: str = ""
    best: bool = False
    tone: str = "open"

    @property
    def spoken(self) -> str:
        """The tone in words."""
        return WORDS[self.tone]


@dataclass(frozen=True)
class Row:
    """One arm."""

    mark: Mark
    arm: "ArmSummary"
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Column:
    """Head of a column; `up` is True, False, or None where more is neither better nor worse."""

    name: str
    up: bool | None
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """Columns under groups (a task, with its width in columns), one row per arm."""

    groups: tuple[tuple["TaskInfo", Mark, int], ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Failure:
    """A run that did not finish."""

    arm: str
    where: str
    error: str


def overall(summary: "Summary", marks: Mapping[str, Mark]) -> Table:
    """One row per arm: delta_m in both definitions, mean rank, tasks better and worse, and what it cost."""
    arms = ordered(summary.arms)
    several = len([arm for arm in arms if not arm.baseline]) > 1
    deltas = [
        _column(arms, lambda arm: arm.delta_m_tasks, True, several, sign=True),
        _column(arms, lambda arm: arm.delta_m_metrics, True, several, sign=True),
    ]
    ranks = _plain(arms, lambda arm: arm.mean_rank, lambda value: fixed(value, 2))
    counts = [Cell("") if arm.baseline else Cell(f"{arm.tasks_better} / {arm.tasks_worse}") for arm in arms]
    spent = [
        _plain(arms, lambda arm: arm.seconds.mean if arm.seconds else None, duration),
        _plain(arms, lambda arm: arm.parameters, amount),
        _plain(arms, lambda arm: arm.memory_mib, mebibytes),
    ]
    counted = any(finite(arm.multiply_adds) for arm in arms)
    spent += [_plain(arms, lambda arm: arm.multiply_adds, amount)] if counted else []
    columns = (
        Column("Δm, tasks", True, "mean over tasks, % over single-task"),
        Column("Δm, metrics", True, "mean over metrics, % over single-task"),
        Column("Mean rank", False, "over all metrics, 1 is best"),
        Column("Better / worse", None, "tasks whose interval leaves 0 out"),
        Column("Time", False, "training, one seed"),
        Column("Parameters", False, "all networks together"),
        Column("Memory", False, "peak"),
        *([Column("Multiply-adds", False, "one prediction of all tasks")] if counted else []),
    )
    rows = zip(arms, *deltas, ranks, counts, *spent, strict=True)
    return Table((), columns, tuple(Row(marks[arm.name], arm, cells) for arm, *rest in rows if (cells := tuple(rest))))


def scores(summary: "Summary", marks: Mapping[str, Mark], tasks: Mapping[str, Mark], auxiliary: bool) -> list[Table]:
    """Test scores in own units, at most COLUMNS columns a table."""
    arms = ordered(summary.arms)
    tables: list[Table] = []
    chunk: list[TaskInfo] = []
    wanted = [task for task in summary.tasks if task.auxiliary == auxiliary and task.metrics]
    for task in wanted:
        if chunk and sum(len(each.metrics) for each in chunk) + len(task.metrics) > COLUMNS:
            tables.append(_scores(arms, chunk, marks, tasks))
            chunk = []
        chunk.append(task)
    return [*tables, _scores(arms, chunk, marks, tasks)] if chunk else tables


def _scores(
    arms: Sequence["ArmSummary"],
    chunk: Sequence["TaskInfo"],
    marks: Mapping[str, Mark],
    tasks: Mapping[str, Mark],
) -> Table:
    heads = [(task, metric) for task in chunk for metric in task.metrics]
    cells = [_metric_column(arms, task, metric) for task, metric in heads]
    return Table(
        tuple((task, tasks[task.name], len(task.metrics)) for task in chunk),
        tuple(Column(metric.name, metric.higher_is_better, metric.unit) for _, metric in heads),
        tuple(Row(marks[arm.name], arm, tuple(column[index] for column in cells)) for index, arm in enumerate(arms)),
    )


def _metric_column(arms: Sequence["ArmSummary"], task: "TaskInfo", metric: "MetricInfo") -> list[Cell]:
    cells = _column(arms, lambda arm: arm.scores.get(task.name, {}).get(metric.name), metric.higher_is_better, True)
    tones = [tone(None if arm.baseline else arm.gains.get(task.name, {}).get(metric.name)) for arm in arms]
    return [Cell(cell.text, cell.range, cell.best, each) for cell, each in zip(cells, tones, strict=True)]


def _column(
    arms: Sequence["ArmSummary"],
    read: Callable[["ArmSummary"], Any],
    up: bool,
    contest: bool,
    sign: bool = False,
) -> list[Cell]:
    """Cells of intervals, the best mean marked (all of those that read the same)."""
    found = [read(arm) for arm in arms]
    means = [None if each is None else finite(each.mean) for each in found]
    digits = min(2, places(means) - 1) if sign else places(means)
    known = [mean for mean in means if mean is not None]
    best = fixed((max if up else min)(known), digits, sign) if contest and len(known) > 1 else None
    cells = []
    for arm, each, mean in zip(arms, found, means, strict=True):
        text = fixed(mean, digits, sign)
        said = "" if arm.baseline and each is None else text
        cells.append(Cell(said, between(each, digits, sign), text == best, tone(each) if sign else "open"))
    return cells


def _plain(arms: Sequence["ArmSummary"], read: Callable[["ArmSummary"], Any], say: Callable[[Any], str]) -> list[Cell]:
    """Cells of plain numbers of which the lowest is best."""
    values = [finite(read(arm)) for arm in arms]
    known = [value for value in values if value is not None]
    least = say(min(known)) if len(known) > 1 else None
    texts = [MISSING if value is None else say(value) for value in values]
    contest = len(set(texts) - {MISSING}) > 1
    return [Cell(text, best=contest and text == least) for text in texts]


def failures(summary: "Summary", records: Iterable[Mapping[str, Any]]) -> list[Failure]:
    """Every failed run with its error: from the records, else from what the summary knows."""
    found = []
    for record in records:
        if record.get("status") == "failed":
            tasks = ", ".join(str(name) for name in record.get("tasks") or ()) if record.get("baseline") else ""
            where = f"seed {record.get('seed')}" + (f", {tasks}" if tasks else "")
            found.append(Failure(str(record.get("arm")), where, str(record.get("error") or "no message")))
    told = {failure.arm for failure in found}
    rest = [Failure(arm.name, "", text) for arm in summary.arms if arm.name not in told for text in arm.failed]
    return found + rest
