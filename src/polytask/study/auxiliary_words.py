"""What a study of auxiliary tasks showed, in sentences: they follow from the intervals and from nothing else."""

import math
from collections.abc import Mapping, Sequence

from polytask.evaluation import Interval
from polytask.study.brought import Brought, percent
from polytask.study.summary import ArmSummary, Summary


def verdict(
    brought: Sequence[Brought],
    together: Mapping[str, Interval],
    networks: Summary,
    single: bool,
    further: Sequence[str] = (),
) -> tuple[str, ...]:
    """What the study showed, in sentences; the first is the headline.

    A task is said to help (or hurt) only where the whole interval lies above (below) 0.

    Args:
        brought, together, networks: as in `AuxiliarySummary`.
        single: there is one auxiliary task only.
        further: as in `AuxiliarySummary`.
    """
    count = sum(each.n > 1 for one in brought for each in one.intervals)
    return (
        " ".join(_headline(main, found, networks.confidence, single) for main, found in together.items()),
        *([] if single else [line for main in together for line in _grouped(main, brought, len(together) > 1)]),
        *(_way(arm) for arm in networks.arms if arm.name in further and arm.task_gain),
        *_chosen(networks),
        *_luck(networks.seeds),
        *_chance(count, networks.confidence),
        *_failures(networks.arms),
    )


def _ends(found: Interval) -> str:
    return f"{percent(found.low or 0.0, found.mean)} to {percent(found.high or 0.0, found.mean)}"


def _sure(found: Interval) -> str:
    mean = percent(found.mean, found.mean)
    return mean if found.low is None else f"{mean} ({_ends(found)})"


def _headline(main: str, found: Interval, confidence: float, single: bool) -> str:
    who = "The auxiliary task" if single else "All auxiliary tasks together"
    if math.isnan(found.mean):
        return f"No figure for {main}: a score could not be computed, or no seed has both networks."
    if found.low is None:
        return (
            f"One seed, no evidence either way: with {who[0].lower()}{who[1:]}, {main} scored {percent(found.mean)} "
            "against without."
        )
    sure = f"{100 * confidence:g} % interval {_ends(found)}"
    mean = percent(found.mean, found.mean)
    if found.above_zero:
        return f"{who} helped {main}: it gained {mean[1:]} ({sure})."
    if found.below_zero:
        return f"{who} hurt {main}: it lost {mean[1:]} ({sure})."
    return f"No evidence that {who[0].lower()}{who[1:]} helped or hurt {main}: {mean} ({sure})."


def _grouped(main: str, brought: Sequence[Brought], several: bool) -> list[str]:
    """Which auxiliary tasks helped a main task and which hurt it, by themselves and beside the others."""
    mine = [one for one in brought if one.main == main]
    whom = f"For {main}, " if several else ""
    return [
        _sentence(f"{whom}by itself", {one.auxiliary: one.alone for one in mine}),
        _sentence(f"{whom}beside the others", {one.auxiliary: one.beside for one in mine if one.beside is not None}),
    ]


def _sentence(where: str, found: Mapping[str, Interval]) -> str:
    places: dict[str, list[str]] = {"helping": [], "hurting": [], "no evidence either way": []}
    for name, each in found.items():
        place = "helping" if each.above_zero else "hurting" if each.below_zero else "no evidence either way"
        places[place].append(f"{name} ({percent(each.mean)})")
    told = "; ".join(f"{how}: {', '.join(names)}" for how, names in places.items() if names)
    return f"{where[0].upper()}{where[1:]}, {told}."


def _way(arm: ArmSummary) -> str:
    """What a further way of training with all auxiliary tasks did."""
    told = ", ".join(f"{main} {_sure(found)}" for main, found in arm.task_gain.items())
    return f"'{arm.name}': {told} against no auxiliary task."


def _chosen(networks: Summary) -> list[str]:
    """Which network validation data would take."""
    best = next(arm for arm in networks.arms if arm.chosen)
    if best.validation is None or best.delta_m_tasks is None:
        return ["On validation data no network with auxiliary tasks did better than the one without."]
    return [
        f"On validation data the best network was '{best.name}', {percent(best.validation)} against no auxiliary "
        f"task; on test data it has {_sure(best.delta_m_tasks)}."
    ]


def _luck(seeds: Sequence[int]) -> list[str]:
    if len(seeds) > 1:
        return []
    return ["One seed says nothing about luck: run at least 3 seeds to learn how sure these figures are."]


def _chance(count: int, confidence: float) -> list[str]:
    if count < 2:
        return []
    return [
        f"Figures are of test data, in % of the score without the task. {count} intervals were looked at; by chance "
        f"alone about {count * (1 - confidence):.1f} of them would leave 0 out."
    ]


def _failures(arms: Sequence[ArmSummary]) -> list[str]:
    failed = [(arm.name, error) for arm in arms for error in arm.failed]
    if not failed:
        return []
    return [f"{len(failed)} of the runs failed. The first, {failed[0][0]}, says for {failed[0][1]}."]
