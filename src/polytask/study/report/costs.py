"""Cost against gain: scatters of delta_m against training time, parameters and multiply-adds."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from polytask.study.report.dots import Dot, DotChart, aside, digits_of, dot_of, gain_scale
from polytask.study.report.marks import Mark, ordered
from polytask.study.report.numbers import amount, duration, finite, short
from polytask.study.report.scales import Scale, spanning

if TYPE_CHECKING:
    from polytask.study.summary import ArmSummary, Summary


def costs(summary: "Summary", marks: dict[str, Mark]) -> list[DotChart]:
    """Scatters of delta_m against training time, parameters and, where they were counted, multiply-adds of one
    prediction of all tasks; single-task lies at zero."""
    counted = any(finite(arm.multiply_adds) for arm in summary.arms)
    return [
        _scatter(summary, marks, "Training time", lambda arm: arm.seconds.mean if arm.seconds else None, duration),
        _scatter(summary, marks, "Parameters", lambda arm: arm.parameters, amount),
        *([_scatter(summary, marks, "Multiply-adds", lambda arm: arm.multiply_adds, amount)] if counted else []),
    ]


def _scatter(
    summary: "Summary",
    marks: dict[str, Mark],
    title: str,
    cost: Callable[["ArmSummary"], Any],
    say: Callable[[Any], str],
) -> DotChart:
    arms = ordered(summary.arms)
    y = gain_scale([arm.delta_m_tasks for arm in arms])
    digits = digits_of([arm.delta_m_tasks for arm in arms])
    spent = [value for arm in arms if (value := finite(cost(arm))) is not None and value > 0]
    log = bool(spent) and max(spent) > 15 * min(spent)
    x = spanning(spent, () if log else (0.0,), log=log, pad=0.08)
    if not log:
        x = Scale(0.0, x.high)
    dots: list[Dot] = []
    missing = []
    for arm in arms:
        at = finite(cost(arm))
        nought = Dot(marks[arm.name], 100 * y.at(0.0), None, None, False, False, "open", "0", "")
        dot = nought if arm.baseline else dot_of(marks[arm.name], arm.delta_m_tasks, y, digits)
        if dot is None or at is None or at <= 0:
            missing.append(marks[arm.name])
            continue
        dots.append(aside(dot, 100 * x.at(at), say(at), dots))
    said = "; ".join(f"{dot.mark.name} {dot.cost}, {dot.text} %" for dot in dots)
    return DotChart(
        title=title,
        sign=None,
        dots=tuple(dots),
        ticks=tuple((100 - 100 * y.at(tick), short(tick)) for tick in y.ticks(5)),
        zero=100 - 100 * y.at(0.0),
        description=f"Δm against {title.lower()}; up and left is better. {said or 'No values'}.",
        missing=tuple(missing),
        x_ticks=tuple(
            (100 * x.at(tick), say(tick).replace(".00 ", " ").replace(".0 ", " ") if tick else "0")
            for tick in x.ticks(4)
        ),
        log=log,
        head=("arm", title.lower(), "Δm %", "interval"),
        rows=tuple((dot.mark.name, dot.cost, dot.text, dot.range or "none") for dot in dots),
    )
