"""Whether transfer helped, did nothing or hurt, in words: they follow from the intervals and from nothing else."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from polytask.evaluation import Interval
from polytask.study.brought import percent

if TYPE_CHECKING:
    from polytask.study.transferred import TransferSize

HELPED, HURT, NOTHING, ONE_SEED, NO_FIGURE = (
    "helped",
    "hurt",
    "no effect shows",
    "one seed, no evidence",
    "no figure",
)
WORDS = (HELPED, HURT, NOTHING, ONE_SEED, NO_FIGURE)


def effect(gain: Interval | None) -> str:
    """What the gain over training from scratch says.

    >>> effect(Interval(1.0, 0.5, 1.5, 3)), effect(Interval(1.0, -0.5, 2.5, 3)), effect(Interval(-1.0, -1.5, -0.5, 3))
    ('helped', 'no effect shows', 'hurt')
    """
    if gain is None or math.isnan(gain.mean):
        return NO_FIGURE
    if gain.low is None:
        return ONE_SEED
    return HELPED if gain.above_zero else HURT if gain.below_zero else NOTHING


def in_short(size: "TransferSize") -> str:
    """Which ways helped, hurt or did nothing with so many labels."""
    found: dict[str, list[str]] = {}
    for arm in size.networks.arms:
        if not arm.baseline:
            found.setdefault(effect(arm.delta_m_tasks), []).append(arm.name)
    parts = [f"{word.capitalize()}: {', '.join(found[word])}." for word in WORDS if word in found]
    return " ".join(parts)


def of_size(size: "TransferSize", ways: Sequence[str]) -> str:
    """What some ways did with so many labels, with figures."""
    told = [f"{way}: {effect(gain := size.gain(way))}{_figure(gain)}" for way in ways]
    return f"With {size.labels:,} labels, against training from scratch, {'; '.join(told)}."


def headline(sizes: Sequence["TransferSize"], pretrain: Sequence[str], target: str, way: str) -> str:
    """What pre-training did to the target, over all sizes."""
    who = f"Pre-training on {_listed(pretrain)}"
    found = _by_effect(sizes, way)
    if set(found) <= {ONE_SEED, NO_FIGURE}:
        if ONE_SEED not in found:
            return f"No figure: no network for {target} could be compared with one from scratch."
        scored = _listed([f"{percent(gain.mean)} with {size.labels:,}" for size in sizes if (gain := size.gain(way))])
        return (
            f"One seed, no evidence either way: after {who[0].lower()}{who[1:]}, {target} scored {scored} labels "
            "against training from scratch; run at least 3 seeds to learn how sure that is."
        )
    if set(found) == {NOTHING}:
        return f"No evidence that {who[0].lower()}{who[1:]} helped or hurt {target} with {_labels(found[NOTHING])}."
    parts = [f"{word} {target} with {_labels(found[word])}" for word in (HELPED, HURT) if word in found]
    rest = f"; no effect shows with {_labels(found[NOTHING])}" if NOTHING in found else ""
    negative = " (negative transfer)" if HURT in found else ""
    return f"{who} {' and '.join(parts)}{negative}{rest}."


def together(sizes: Sequence["TransferSize"], target: str, way: str) -> list[str]:
    """What training together did to the target, over all sizes."""
    found = _by_effect(sizes, way)
    parts = [
        f"{told} with {_labels(found[word])}"
        for word, told in ((HELPED, "helped"), (HURT, "hurt"), (NOTHING, "no effect shows"))
        if word in found
    ]
    return [f"Training {target} together with them: {'; '.join(parts)}."] if parts else []


def _by_effect(sizes: Sequence["TransferSize"], way: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for size in sizes:
        found.setdefault(effect(size.gain(way)), []).append(size.labels)
    return found


def _figure(gain: Interval | None) -> str:
    if gain is None or math.isnan(gain.mean):
        return ""
    inside = f", {percent(gain.low)} to {percent(gain.high)}" if gain.low is not None and gain.high is not None else ""
    return f" ({percent(gain.mean)}{inside})"


def _labels(sizes: Sequence[int]) -> str:
    return f"{_listed([f'{size:,}' for size in sizes])} labels"


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> _listed(["a"]), _listed(["a", "b"]), _listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def verdict(
    sizes: Sequence["TransferSize"],
    pretrain: Sequence[str],
    target: str,
    recipes: Sequence[str],
    chosen: str,
    joint: str,
) -> tuple[str, ...]:
    """What the study showed, in sentences; the first is the headline.

    Transfer is said to help (or hurt) only where the whole interval of the gain over training from scratch lies above
    (below) 0.

    Args:
        sizes, pretrain, target, recipes, chosen: as in `TransferSummary`.
        joint: the way of training together.
    """
    return (
        headline(sizes, pretrain, target, chosen),
        *together(sizes, target, joint),
        *(of_size(size, (chosen, joint)) for size in sizes),
        *_chosen(recipes, chosen),
        *_cost(sizes, recipes),
        *_chance(sizes),
        *_failures(sizes),
    )


def _chosen(recipes: Sequence[str], chosen: str) -> list[str]:
    if len(recipes) < 2:
        return []
    return [
        f"Of {len(recipes)} recipes '{chosen}' did best on validation data, on average over the sizes: the first "
        "sentence speaks of it."
    ]


def _cost(sizes: Sequence["TransferSize"], recipes: Sequence[str]) -> list[str]:
    """What pre-training took, on top."""
    spent = [
        arm.start_seconds
        for size in sizes
        for arm in size.networks.arms
        if arm.name in recipes and arm.start_seconds is not None
    ]
    if not spent:
        return []
    return [
        f"Pre-training took {max(spent):.1f} s a seed, on top of the budget that every network had: part of a gain may "
        "be the longer training. It is made once for all sizes and recipes."
    ]


def _chance(sizes: Sequence["TransferSize"]) -> list[str]:
    gains = [arm.delta_m_tasks for size in sizes for arm in size.networks.arms if arm.delta_m_tasks is not None]
    count = sum(gain.low is not None for gain in gains)
    if count < 2:
        return []
    by_chance = count * (1 - sizes[0].networks.confidence)
    return [
        f"Figures are of test data, in % of the score from scratch with the same labels and seed. {count} intervals "
        f"were looked at; by chance alone about {by_chance:.1f} of them would leave 0 out."
    ]


def _failures(sizes: Sequence["TransferSize"]) -> list[str]:
    failed = [(arm.name, error) for size in sizes for arm in size.networks.arms for error in arm.failed]
    if not failed:
        return []
    return [f"{len(failed)} of the runs failed. The first, {failed[0][0]}, says for {failed[0][1]}."]
