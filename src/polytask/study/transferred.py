"""What a study of transfer found: figures per number of labels, and what they say."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from polytask.errors import PolytaskError
from polytask.evaluation import Interval
from polytask.problems import Problem
from polytask.study.arms import SINGLE_TASK
from polytask.study.kept import first_error
from polytask.study.summarise import summarise
from polytask.study.summary import KINDS, Summary, read_whole
from polytask.study.transfer_words import in_short, verdict
from polytask.training import Budget, directions

if TYPE_CHECKING:
    from polytask.study.transfer import Way

Record = Mapping[str, Any]


@dataclass(frozen=True)
class TransferSize:
    """One number of labels.

    Args:
        labels: training labels of the target.
        networks: a summary of the ways of training; its one task is the target, its baseline is training from scratch.
    """

    labels: int
    networks: Summary

    def gain(self, way: str) -> Interval | None:
        """The mean gain of a way over training from scratch in the target's metrics, in %, paired by seed."""
        arm = next((arm for arm in self.networks.arms if arm.name == way), None)
        return None if arm is None else arm.delta_m_tasks


@dataclass(frozen=True)
class TransferSummary:
    """What a study of transfer found.

    Args:
        pretrain, target: names of tasks.
        sizes: what was found with every number of labels, the smallest first.
        recipes: what the ways of fine-tuning are called.
        chosen: the one whose mean gain over the sizes was best on validation data.
        verdict: in words; the first sentence is the headline.
    """

    FILE: ClassVar[str] = "transfer.json"

    pretrain: tuple[str, ...]
    target: str
    sizes: tuple[TransferSize, ...]
    recipes: tuple[str, ...]
    chosen: str
    verdict: tuple[str, ...]

    @property
    def best(self) -> str:
        """The way that is best on validation data with the most labels; from scratch where none gains there."""
        scratch, *others = (arm for arm in self.sizes[-1].networks.arms if arm.scores)
        gaining = [arm for arm in others if (arm.validation or 0.0) > 0]
        return max(gaining, key=lambda arm: arm.validation or 0.0, default=scratch).name

    def network(self, records: Iterable[Record]) -> Record | None:
        """The record of the network to use: the best way with the most labels, with the first seed that finished it."""
        last = self.sizes[-1]
        return last.networks.first_of(called(self.best, last.labels), records)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "TransferSummary":
        """The summary that was written down as plain data (`transfer.json`).

        Raises:
            PolytaskError: the data are not of such a summary.
        """
        return read_whole(plain, cls, (TransferSize, *KINDS), "a study of transfer")


def called(way: str, labels: int) -> str:
    """What a way is called in the records of a study."""
    return f"{way}, {labels} labels"


def summed_up(
    problem: Problem,
    pretrain: Sequence[str],
    target: str,
    ways: Sequence["Way"],
    records: Mapping[int, Sequence[Record]],
    seeds: Sequence[int],
    budget: Budget,
    command: str,
    confidence: float = 0.95,
) -> TransferSummary:
    """What follows from the records.

    Args:
        problem: with all labels.
        pretrain, target: names of tasks.
        ways: of training the target, from scratch first.
        records: of the networks that learned the target, by the number of labels.
        seeds, budget, command, confidence: as in `transfer`.

    Raises:
        PolytaskError: no network from scratch was finished.
    """
    posed = problem.only(target)
    sizes = tuple(
        TransferSize(labels, _networks(posed, ways, labels, found, seeds, budget, command, confidence))
        for labels, found in records.items()
    )
    if not any(size.networks.arms[0].scores for size in sizes):
        every = [dict(each) for found in records.values() for each in found]
        raise PolytaskError(f"no network was trained from scratch: {first_error(every)}")
    recipes = [way.label for way in ways if way.fine_tuning is not None]
    chosen = max(recipes, key=lambda name: _on_validation(sizes, name))
    joint = next(way.label for way in ways if way.together)
    said = verdict(sizes, pretrain, target, recipes, chosen, joint)
    return TransferSummary(tuple(pretrain), target, sizes, tuple(recipes), chosen, said)


def _networks(
    posed: Problem,
    ways: Sequence["Way"],
    labels: int,
    records: Sequence[Record],
    seeds: Sequence[int],
    budget: Budget,
    command: str,
    confidence: float,
) -> Summary:
    """Scores, gains over training from scratch, and costs, of the target alone."""
    scratch, *others = ways
    names = {called(way.label, labels): way.label for way in ways} | {called(scratch.label, labels): SINGLE_TASK}
    shown = [_of_target(record, posed.tasks[0].name, names) for record in records]
    found = summarise(posed, directions(posed.tasks), others, seeds, budget, shown, command, confidence)
    first = replace(found.arms[0], name=scratch.label, sharing=scratch.sharing_name)
    size = TransferSize(labels, replace(found, arms=(first, *found.arms[1:]), title=f"{labels:,} labels"))
    return replace(size.networks, verdict=(in_short(size),))


def _of_target(record: Record, target: str, names: Mapping[str, str]) -> Record:
    """A record as `summarise` reads it: scores of the target, and training from scratch as the baseline."""
    parts = {
        "scores": {split: {target: each[target]} for split, each in record.get("scores", {}).items()},
        "classes": {name: each for name, each in record.get("classes", {}).items() if name == target},
    }
    return {**record, **parts, "arm": names[record["arm"]]}


def _on_validation(sizes: Sequence[TransferSize], way: str) -> float:
    """The mean over the sizes of a way's gain on validation data; those without one are left out."""
    found = [
        arm.validation
        for size in sizes
        for arm in size.networks.arms
        if arm.name == way and arm.validation is not None and not math.isnan(arm.validation)
    ]
    return math.fsum(found) / len(found) if found else -math.inf
