"""Tasks that stand for many: the gain of every member against its number of training labels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polytask.study.arms import SINGLE_TASK
from polytask.study.members import Members, mean_known, members
from polytask.study.rare import CLASSES, rank_correlation
from polytask.study.report.marks import FOCUS, Mark, ordered
from polytask.study.report.numbers import amount, fixed, places, short
from polytask.study.report.scales import Scale, central, spanning

if TYPE_CHECKING:
    from polytask.study.summary import Summary

SHOWN = 500
"""Dots in a panel; of more members some are left out, evenly by their number of labels."""


@dataclass(frozen=True)
class MemberPanel:
    """One arm: dots (place from left and top in percent, text) on two axes, and what it says in words."""

    title: str
    sign: Mark
    words: str
    dots: tuple[tuple[float, float, str], ...]
    ticks: tuple[tuple[float, str], ...]
    x_ticks: tuple[tuple[float, str], ...]
    zero: float
    description: str


@dataclass(frozen=True)
class MembersOf:
    """One task.

    Args:
        task, measure: its name; the metric with its unit.
        panels: of the arms in focus.
        note: what was left out of them.
        head, rows: the mean scores of ten groups, the members with the fewest labels first.
        every_head, every: the scores of every member.
    """

    task: str
    measure: str
    panels: tuple[MemberPanel, ...]
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    every_head: tuple[str, ...]
    every: tuple[tuple[str, ...], ...]


def members_of(
    summary: "Summary", records: Sequence[Mapping[str, Any]], marks: Mapping[str, Mark]
) -> tuple[MembersOf, ...]:
    """The tasks with members of which the single-task networks have scores."""
    order = [arm.name for arm in ordered(summary.arms)]
    found = members(records).values()
    return tuple(_task(each, order, marks) for each in found if SINGLE_TASK in each.scores)


def _task(found: Members, order: Sequence[str], marks: Mapping[str, Mark]) -> MembersOf:
    arms = [name for name in order if name in found.scores]
    joint = [name for name in arms if name != SINGLE_TASK]
    focus = [name for name in joint if marks[name].focus][:FOCUS]
    x = spanning([float(count) for count in found.labels if count], log=True, pad=0.04)
    y = spanning(central([each for name in focus for each in found.gains(name) if not math.isnan(each)]), (0.0,))
    unit = f", {found.unit}" if found.unit else ""
    digits = places([each for name in arms for each in found.scores[name] if not math.isnan(each)])
    columns = [found.scores[name] for name in arms]
    return MembersOf(
        task=found.task,
        measure=f"{found.metric}{unit} {'↑' if found.higher_is_better else '↓'}",
        panels=tuple(_panel(found, name, marks[name], x, y, digits) for name in focus),
        note=_note(found),
        head=("training labels", "members", *arms),
        rows=tuple(_group(found, group, columns, digits) for group in found.groups()),
        every_head=("member", "training labels", *arms),
        every=tuple(
            (name, str(found.labels[k]), *(fixed(each[k], digits) for each in columns))
            for k, name in enumerate(found.names)
        ),
    )


def _group(found: Members, group: range, columns: Sequence[Sequence[float]], digits: int) -> tuple[str, ...]:
    low, high = found.labels[group[0]], found.labels[group[-1]]
    between = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    means = (fixed(mean_known(each[k] for k in group), digits) for each in columns)
    return (between.replace(",", "\u202f"), str(len(group)), *means)


def _note(found: Members) -> str:
    told = []
    if len(found.names) > SHOWN:
        told.append(f"{SHOWN} of {len(found.names):,} members are drawn, evenly by their number of labels")
    silent = sum(math.isnan(each) for each in found.scores[SINGLE_TASK])
    if silent:
        told.append(f"{silent:,} members have no score in the test split (no label there, or all alike)")
    unlabelled = sum(not count for count in found.labels)
    if unlabelled:
        told.append(f"{unlabelled:,} members have no training label")
    return "; ".join(told)


def in_words(found: Members, arm: str) -> str:
    """How many members gained, how much, and whether it goes with the number of labels.

    >>> one = Members("y", "rmse", "h", False, ("a", "b"), (3, 9), {"single-task": (2.0, 4.0), "joint": (1.0, 4.5)})
    >>> in_words(one, "joint")
    '1 of 2 members are better than single-task, 1 worse; the mean gain is +0.250 h.'
    """
    gains = [(count, gain) for count, gain in zip(found.labels, found.gains(arm), strict=True) if not math.isnan(gain)]
    values = [gain for _, gain in gains]
    better, worse = sum(each > 0 for each in values), sum(each < 0 for each in values)
    unit = f" {found.unit}" if found.unit else ""
    said = (
        f"{better} of {len(values)} members are better than single-task, {worse} worse; the mean gain is "
        f"{fixed(mean_known(values), places(values), sign=True)}{unit}."
    )
    if len(values) < CLASSES:
        return said
    pattern = rank_correlation([count for count, _ in gains], values)
    if math.isnan(pattern.r):
        return f"{said} All have equally many labels, or gained alike: there is no order to compare."
    if not pattern.clear:
        return f"{said} It does not go with the number of labels (rank correlation {fixed(pattern.r, 2, sign=True)})."
    who = "few" if pattern.r < 0 else "many"
    return f"{said} Members with {who} labels gained more (rank correlation {fixed(pattern.r, 2, sign=True)})."


def _panel(found: Members, arm: str, mark: Mark, x: Scale, y: Scale, digits: int) -> MemberPanel:
    gains = found.gains(arm)
    step = max(1.0, len(found.names) / SHOWN)
    chosen = [int(k * step) for k in range(min(SHOWN, len(found.names)))]
    drawn = [k for k in chosen if found.labels[k] and not math.isnan(gains[k])]
    unit = f" {found.unit}" if found.unit else ""
    dots = tuple(
        (
            100 * x.at(float(found.labels[k])),
            100 - 100 * y.inside(gains[k]),
            f"{found.names[k]}: {found.labels[k]} labels, {fixed(gains[k], digits, sign=True)}{unit}",
        )
        for k in drawn
    )
    words = in_words(found, arm)
    return MemberPanel(
        title=arm,
        sign=mark,
        words=words,
        dots=dots,
        ticks=tuple((100 - 100 * y.at(tick), short(tick)) for tick in y.ticks(5)),
        x_ticks=tuple((100 * x.at(tick), amount(tick).replace(".00", "").replace(".0", "")) for tick in x.ticks(4)),
        zero=100 - 100 * y.at(0.0),
        description=f"{arm}: gain of every member of {found.task} in {found.metric} against training labels. {words}",
    )
