"""How the rows of a table come to their splits, and what a reader of the results must know of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import polars as pl
import torch
from torch import Tensor

from polytask.data.leakage import WARNING, crossings, share
from polytask.data.splits import DEFAULT_FRACTIONS, split, split_by_time, split_stratified
from polytask.data.tables.splitting import given_rows, group_numbers, times_of
from polytask.errors import PolytaskError

ALL = ("all",)
"""Stratified by all targets."""
FROM_TRAIN = {"train": 0.85, "validation": 0.15}
"""Shares where a split column names no validation rows."""


class Columns(Protocol):
    """A table that gives some columns of all its rows."""

    def select(self, names: Iterable[str], /) -> pl.DataFrame: ...


@dataclass(frozen=True)
class SplitRule:
    """How rows come to their split: at random where nothing is said.

    Args:
        column: it says train, validation or test for every row. Without validation rows, 15 % of the training rows
            validate, chosen as the other arguments say.
        time: earlier rows train, later ones validate, the last ones test; rows of one time stay together. With
            `column`, it is looked at whether the rows that are tested on are later than those trained on.
        stratify: targets of which every split gets its share (`split_stratified`), by name, or ("all",).
        shares: of train, validation and test; 70, 15 and 15 % where nothing is said.

    Raises:
        PolytaskError: both time and stratify, or shares that are not of the three splits or don't sum to 1.
    """

    column: str | None = None
    time: str | None = None
    stratify: tuple[str, ...] = ()
    shares: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.time and self.stratify:
            raise PolytaskError("rows are split by time or stratified, not both: leave out 'time' or 'stratify'")
        if self.column and self.shares is not None:
            raise PolytaskError("the split column decides how large the splits are: leave out 'shares' or 'column'")
        told = self.shares
        if told is not None and (
            set(told) != set(DEFAULT_FRACTIONS) or abs(sum(told.values()) - 1) > 1e-6 or min(told.values()) <= 0
        ):
            raise PolytaskError(
                f"the shares of the splits must be positive numbers for {', '.join(DEFAULT_FRACTIONS)} that sum to 1, "
                f"got {dict(told)}"
            )

    def uses(self) -> dict[str, str]:
        """The columns that it needs, and what for."""
        return {name: use for name, use in ((self.column, "split"), (self.time, "time")) if name}

    def stratified_by(self, targets: Iterable[str]) -> tuple[str, ...]:
        """The names of the targets."""
        names = tuple(targets)
        return names if self.stratify == ALL and ALL[0] not in names else self.stratify


@dataclass(frozen=True)
class Division:
    """The row numbers of every split, and what a reader of the results must know."""

    rows: dict[str, Tensor]
    notes: list[str]


def divide(
    rule: SplitRule,
    table: Columns,
    alike: Tensor,
    labels: Mapping[str, Tensor],
    group: str | None = None,
    seed: int = 0,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
) -> Division:
    """Divide the rows of a table into splits, and look for leaks between them.

    Rows with the same inputs stay together, or, with a group column, rows of one group (those without one: with rows
    of the same inputs). A split by time keeps rows of one time together, and groups, placed by their last row.

    Args:
        rule: how.
        table: where the columns of the rule, and the group, are taken from.
        alike: [rows] a number per row, equal where the inputs are.
        labels: by task, of all rows.
        group: the column of groups.
        seed: chooses the split.
        fractions: shares, where the rule names none.

    Raises:
        PolytaskError: a word in the split column that names no split, a time that is missing, a split that would be
            empty.

    Cost: a few sorts of as many numbers as there are rows; stratified, see `polytask.data.stratification.stratify`.
    """
    groups = alike if group is None else group_numbers(table.select([group]).to_series(), alike)
    times = None if rule.time is None else times_of(table.select([rule.time]).to_series())

    def cut(these: Tensor, shares: Mapping[str, float]) -> dict[str, Tensor]:
        if times is not None:
            found = split_by_time(times[these], shares, None if group is None else groups[these])
        elif rule.stratify:
            chosen = {name: labels[name][these] for name in rule.stratified_by(labels)}
            found = split_stratified(chosen, shares, seed, groups[these])
        else:
            found = split(len(these), shares, seed, groups[these])
        return {name: these[rows] for name, rows in found.items()}

    if rule.column is None:
        rows = cut(torch.arange(len(alike)), rule.shares or fractions)
    else:
        rows = given_rows(table.select([rule.column]).to_series())
        if not len(rows["validation"]):
            rows |= cut(rows["train"], FROM_TRAIN)
        elif rule.stratify:
            raise PolytaskError(
                f"split column '{rule.column}' names the rows of every split, so that nothing is left to stratify: "
                "leave out 'stratify', or the column"
            )
    notes = [] if group is None else [each.same_group(group) for each in crossings(_at(groups, rows))]
    notes += [each.same_inputs() for each in crossings(_at(alike, rows))]
    notes += [] if times is None else _before(_at(times, rows), rule.time or "")
    return Division(rows, notes + (_twins(alike) if groups is alike and not rule.uses() else []))


def _at(values: Tensor, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: values[these] for name, these in rows.items()}


def _before(times: Mapping[str, Tensor], column: str) -> list[str]:
    """Warnings about rows that are scored on and lie before the end of the training rows."""
    last = times["train"].max()
    found = []
    for name, each in times.items():
        early = int((each < last).sum())
        if name != "train" and early:
            found.append(
                f"{WARNING}: {early:,} of {len(each):,} {name} rows ({share(early, len(each))}) before the last "
                f"train row by '{column}': what is learned may come from their future"
            )
    return found


def _twins(alike: Tensor) -> list[str]:
    """Say how many rows repeat another row's inputs."""
    repeated = len(alike) - len(torch.unique(alike))
    if not repeated:
        return []
    return [f"{repeated:,} rows repeat the inputs of another row; rows with the same inputs share a split"]
