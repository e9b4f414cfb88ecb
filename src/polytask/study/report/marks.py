"""Who is who in every chart: arms carry numbers, tasks letters, and both keep their colours throughout."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polytask.study.report.numbers import finite

if TYPE_CHECKING:
    from polytask.study.summary import ArmSummary, Summary, TaskInfo

COLOURS = 7
FOCUS = 7  # more lines than this in one chart: the others are drawn in grey until asked for


@dataclass(frozen=True)
class Mark:
    """The identity of one arm, task or pair of tasks in charts: sign, colour slot (0 = ink), line style."""

    key: str
    sign: str
    name: str
    slot: int
    dashed: bool = False
    focus: bool = True


def ordered(arms: Sequence["ArmSummary"]) -> list["ArmSummary"]:
    """Baselines first, then from the largest to the smallest delta_m; unknown ones last."""

    def gain(arm: "ArmSummary") -> float:
        value = finite(arm.delta_m_tasks.mean) if arm.delta_m_tasks else None
        return -math.inf if value is None else value

    return sorted(arms, key=lambda arm: (not arm.baseline, -gain(arm)))


def arm_marks(summary: "Summary") -> dict[str, Mark]:
    """The mark of every arm, by name, in the order of the tables: 0 is the single-task baseline."""
    arms = ordered(summary.arms)
    joint = [arm for arm in arms if not arm.baseline]
    first = [arm for arm in joint if arm.chosen] + [arm for arm in joint if not arm.chosen]
    focus = {arm.name for arm in (joint if len(arms) <= FOCUS else first[: FOCUS - 2])}
    marks: dict[str, Mark] = {}
    for arm in arms:
        number = len(marks) if arm.baseline else 1 + joint.index(arm)
        marks[arm.name] = (
            Mark(f"a{len(marks)}", str(number), arm.name, 0)
            if arm.baseline
            else Mark(f"a{len(marks)}", str(number), arm.name, *_colour(number - 1), focus=arm.name in focus)
        )
    return marks


def task_marks(tasks: Sequence["TaskInfo"]) -> dict[str, Mark]:
    """The mark of every task, by name: A, B, ... Z, AA, ..."""
    return {
        task.name: Mark(f"t{index}", letters(index), task.name, *_colour(index), focus=index < FOCUS)
        for index, task in enumerate(tasks)
    }


def pair_marks(tasks: dict[str, Mark], focus: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Mark]:
    """The mark of every pair of tasks; those in `focus` are coloured, all others grey."""
    marks: dict[tuple[str, str], Mark] = {}
    pairs = list(itertools.combinations(tasks, 2))
    for first, second in [*focus, *(pair for pair in pairs if pair not in set(focus))]:
        one, two = tasks[first], tasks[second]
        slot, dashed = _colour(len(marks))
        key, sign, name = f"p{one.key}{two.key}", f"{one.sign}{two.sign}", f"{first} · {second}"
        marks[first, second] = Mark(key, sign, name, slot, dashed, (first, second) in focus)
    return marks


def letters(index: int) -> str:
    """0 -> A, 25 -> Z, 26 -> AA.

    >>> letters(0), letters(25), letters(26)
    ('A', 'Z', 'AA')
    """
    return (letters(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)


def _colour(index: int) -> tuple[int, bool]:
    return index % COLOURS + 1, index >= COLOURS
