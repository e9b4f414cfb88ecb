"""What a study found, as plain data: everything that the table, the verdict and the report show."""

from dataclasses import dataclass
from typing import Any

from polytask.evaluation import Interval


@dataclass(frozen=True)
class MetricInfo:
    """A metric, its direction and its unit."""

    name: str
    higher_is_better: bool
    unit: str


@dataclass(frozen=True)
class TaskInfo:
    """A task as readers of results need to know it."""

    name: str
    kind: str
    auxiliary: bool
    importance: float
    metrics: tuple[MetricInfo, ...]


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


@dataclass(frozen=True)
class Summary:
    """A whole study."""

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
