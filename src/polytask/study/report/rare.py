"""Rare classes: the gain of every class against its number of training labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polytask.study.rare import Correlation, RareClasses, rare_classes
from polytask.study.report.dots import Dot, DotChart, aside, digits_of, dot_of, gain_scale
from polytask.study.report.marks import FOCUS, Mark, letters, ordered
from polytask.study.report.numbers import amount, between, finite, fixed, short
from polytask.study.report.scales import Scale, spanning

if TYPE_CHECKING:
    from polytask.evaluation.intervals import Interval
    from polytask.study.summary import Summary

PANELS = FOCUS
"""Arms that have a panel; the table has them all."""


@dataclass(frozen=True)
class Rare:
    """One task.

    Args:
        task: its name.
        metric: the score of a single class.
        panels: a chart and what it says in words, for every arm in focus.
        legend: of the classes, the fewest labels first.
        head, rows: of the table of all arms.
    """

    task: str
    metric: str
    panels: tuple[tuple[DotChart, str], ...]
    legend: tuple[Mark, ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def rare(summary: "Summary", marks: dict[str, Mark]) -> tuple[Rare, ...]:
    """The tasks with at least three classes that are scored."""
    order = {arm.name: marks[arm.name] for arm in ordered(summary.arms) if not arm.baseline}
    return tuple(_task(found, order) for found in rare_classes(summary).values())


def _task(found: RareClasses, order: Mapping[str, Mark]) -> Rare:
    arms = {name: mark for name, mark in order.items() if name in found.patterns}
    shown = [name for name, mark in arms.items() if mark.focus][:PANELS]
    every = [each for name in shown for each in found.gains[name].values()]
    y, digits = gain_scale(every), digits_of(every)
    x = spanning([float(count) for count in found.labels.values() if count], log=True, pad=0.08)
    panels = tuple((_panel(found, name, arms[name], x, y, digits), in_words(found.patterns[name])) for name in shown)
    signs = tuple(Mark("", sign, label, 0) for label, sign in _signs(found).items())
    head = ("class", "training labels", *(f"{name}, points" for name in arms))
    rows = tuple(
        (label, f"{count:,}".replace(",", "\u202f"), *(_cell(found.gains[name].get(label), digits) for name in arms))
        for label, count in found.labels.items()
    )
    said = ("rank correlation", "", *(fixed(found.patterns[name].r, 2, sign=True) for name in arms))
    return Rare(found.task, found.metric, panels, signs, head, (*rows, said))


def in_words(pattern: Correlation) -> str:
    """What the rank correlation says.

    >>> in_words(Correlation(-0.9, 0.01, 12))
    'Classes with few labels gained more: rank correlation r = −0.90, 12 classes, p = 0.01.'
    >>> in_words(Correlation(0.1, 0.8, 4))
    'No pattern that chance would not give as well: rank correlation r = +0.10, 4 classes, p = 0.8.'
    """
    if finite(pattern.r) is None:
        return f"All {pattern.n} classes have equally many labels, or gained alike: there is no order to compare."
    chance = f"p = {pattern.chance:.2g}" if pattern.chance >= 0.001 else "p < 0.001"
    figures = f"rank correlation r = {fixed(pattern.r, 2, sign=True)}, {pattern.n} classes, {chance}."
    if not pattern.clear:
        return f"No pattern that chance would not give as well: {figures}"
    return f"Classes with {'few' if pattern.r < 0 else 'many'} labels gained more: {figures}"


def _signs(found: RareClasses) -> dict[str, str]:
    return {label: letters(k) for k, label in enumerate(found.labels)}


def _cell(each: "Interval | None", digits: int) -> str:
    inside = between(each, digits, True)
    return fixed(each.mean if each else None, digits, True) + (f" ({inside})" if inside else "")


def _panel(found: RareClasses, arm: str, mark: Mark, x: Scale, y: Scale, digits: int) -> DotChart:
    signs = _signs(found)
    dots: list[Dot] = []
    missing = []
    for label, count in found.labels.items():
        of = Mark(mark.key, signs[label], label, mark.slot)
        dot = dot_of(of, found.gains[arm].get(label), y, digits)
        if dot is None or not count:
            missing.append(of)
        else:
            dots.append(aside(dot, 100 * x.at(float(count)), f"{count:,} labels", dots))
    said = "; ".join(f"{dot.mark.name} {dot.cost}, {dot.text} points" for dot in dots)
    return DotChart(
        title=arm,
        sign=mark,
        dots=tuple(dots),
        ticks=tuple((100 - 100 * y.at(tick), short(tick)) for tick in y.ticks(5)),
        zero=100 - 100 * y.at(0.0),
        description=f"{arm}: gain in {found.metric} of every class of {found.task} against training labels. {said}.",
        missing=tuple(missing),
        x_ticks=tuple((100 * x.at(tick), amount(tick).replace(".00", "").replace(".0", "")) for tick in x.ticks(4)),
        log=True,
    )
