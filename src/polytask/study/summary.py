"""What a study found, as plain data: everything that the table, the verdict and the report show."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from polytask.errors import PolytaskError
from polytask.evaluation import Interval
from polytask.study.rare import Correlation


@dataclass(frozen=True)
class MetricInfo:
    """A metric, its direction and its unit."""

    name: str
    higher_is_better: bool
    unit: str


@dataclass(frozen=True)
class TaskInfo:
    """A task as readers of results need to know it.

    Args:
        labels: how many training labels each class has, where single classes are scored.
        class_metric: what the score of a single class is.
    """

    name: str
    kind: str
    auxiliary: bool
    importance: float
    metrics: tuple[MetricInfo, ...]
    labels: dict[str, int] = field(default_factory=dict)
    class_metric: str = ""


@dataclass(frozen=True)
class ArmSummary:
    """One way of training, over all its seeds.

    Args:
        scores: test scores in own units, by task and metric.
        gains: relative gain over single-task training with the same seed, in %, + is better.
        task_gain: the mean of a task's gains, in %.
        delta_m_metrics, delta_m_tasks: both definitions, in %, over the tasks that are not auxiliary.
        tasks_better, tasks_worse: tasks whose interval lies above (below) 0.
        seconds, parameters, memory_mib: of the whole arm; of single-task training, of all its networks together.
        chosen: this arm had the best validation delta_m.
        validation: mean validation delta_m over tasks in %, which the choice was made with; None for the baseline.
        multiply_adds: of one prediction of all tasks, where they were counted.
        start_seconds: training time of the single-task networks that the arm started from, not in `seconds`; None
            where it started from nothing.
        shared_stages: how many stages of the backbone all tasks share, where the architecture says so.
        family: the name that all arms have which differ in nothing but `shared_stages`.
        class_gains: by task and class, the score minus that of single-task training with the same seed, in points.
        patterns: by task, the rank correlation between a class's number of training labels and its mean gain.
    """

    name: str
    baseline: bool
    sharing: str
    balancer: str
    seeds: tuple[int, ...]
    failed: tuple[str, ...]
    scores: dict[str, dict[str, Interval]]
    gains: dict[str, dict[str, Interval]]
    task_gain: dict[str, Interval]
    delta_m_metrics: Interval | None
    delta_m_tasks: Interval | None
    mean_rank: float
    tasks_better: int
    tasks_worse: int
    seconds: Interval
    parameters: int
    memory_mib: float
    chosen: bool
    validation: float | None
    multiply_adds: int | None = None
    start_seconds: float | None = None
    shared_stages: int | None = None
    family: str = ""
    class_gains: dict[str, dict[str, Interval]] = field(default_factory=dict)
    patterns: dict[str, Correlation] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """A whole study."""

    FILE: ClassVar[str] = "study.json"

    problem: str
    title: str
    summary: str
    source: str
    licence: str
    notes: tuple[str, ...]
    tasks: tuple[TaskInfo, ...]
    arms: tuple[ArmSummary, ...]
    verdict: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: dict[str, Any]
    command: str
    confidence: float = 0.95

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Summary":
        """The summary that was written down as plain data (`study.json`).

        Raises:
            PolytaskError: the data are not of a summary.

        >>> from polytask._plain import plain
        >>> one = Summary("p", "t", "s", "", "", (), (), (), ("No evidence.",), (0,), {"epochs": 3}, "")
        >>> Summary.from_json(plain(one)) == one
        True
        """
        return read_whole(plain, cls, KINDS, "a study")

    def network(self, records: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """The record of the network to use: of the chosen arm, with the first of the seeds that it was finished with.

        Args:
            records: of all runs.

        Returns:
            None where no arm was chosen.
        """
        chosen = next((arm.name for arm in self.arms if arm.chosen), None)
        return None if chosen is None else self.first_of(chosen, records)

    def first_of(self, arm: str, records: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """The record of what is called so, with the first of the seeds that it was finished with."""
        mine = {each["seed"]: each for each in records if each["arm"] == arm and each["status"] == "finished"}
        return next((mine[seed] for seed in self.seeds if seed in mine), None)


KINDS: Sequence[type] = (Summary, ArmSummary, TaskInfo, MetricInfo, Interval, Correlation)
"""What a summary is made of."""


S = TypeVar("S")


def read_whole(plain: Mapping[str, Any], kind: type[S], parts: Iterable[type], study: str) -> S:
    """What a study found, as it was written down.

    Args:
        plain: as `plain` wrote it down.
        kind, parts: of the whole, and what it is made of.
        study: in words.

    Raises:
        PolytaskError: the data are not of this kind.
    """
    try:
        found = read(plain, (kind, *parts))
    except (TypeError, KeyError, AttributeError) as error:
        raise PolytaskError(f"these are not the results of {study} that this polytask knows ({error})") from error
    if not isinstance(found, kind):
        raise PolytaskError(f"these are not the results of {study} that this polytask knows")
    return found


def read(value: Any, kinds: Iterable[type]) -> Any:
    """What `plain` wrote down, of these kinds; numbers that were NaN are null there."""
    by_name = {kind.__name__: kind for kind in kinds}
    if isinstance(value, list):
        return tuple(read(each, kinds) for each in value)
    if not isinstance(value, dict):
        return value
    if value.get("class") not in by_name:
        return {name: read(each, kinds) for name, each in value.items()}
    kind = by_name[value["class"]]
    args = {name: read(each, kinds) for name, each in value["args"].items()}
    for each in fields(kind):
        if each.type in by_name.values() and not isinstance(args[each.name], each.type):  # type: ignore[arg-type]
            raise TypeError(f"'{each.name}' is no {each.type.__name__}")  # type: ignore[union-attr]
    lost = {each.name: math.nan for each in fields(kind) if each.type is float and args[each.name] is None}
    return kind(**args | lost)
