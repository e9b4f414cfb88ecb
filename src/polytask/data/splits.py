"""Train, validation and test rows that never share a sample or a group: at random, stratified, or by time."""

from collections.abc import Mapping

import torch
from torch import Tensor

from polytask.data.strata import strata
from polytask.data.stratification import stratify
from polytask.errors import PolytaskError

DEFAULT_FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}


def split(
    rows: int,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    groups: Tensor | None = None,
) -> dict[str, Tensor]:
    """Rows of each split, chosen at random; a group is never divided.

    Args:
        rows: how many there are.
        fractions: share of every split; they sum to 1.
        seed: chooses the split.
        groups: [rows] integers; rows of one group stay together (the shares are then met as nearly as whole
            groups allow).

    Returns:
        The sorted row numbers of every split.

    Raises:
        PolytaskError: when fractions do not sum to 1 or a split would be empty.

    >>> {name: len(rows) for name, rows in split(100).items()}
    {'train': 70, 'validation': 15, 'test': 15}
    """
    _check_fractions(fractions)
    _check_groups(groups, rows)
    generator = torch.Generator().manual_seed(seed)
    owner = torch.arange(rows) if groups is None else torch.unique(groups, return_inverse=True)[1]
    count = rows if groups is None else int(owner.max()) + 1
    return _cut(owner, torch.randperm(count, generator=generator), fractions, "groups")


def split_by_time(
    times: Tensor, fractions: Mapping[str, float] = DEFAULT_FRACTIONS, groups: Tensor | None = None
) -> dict[str, Tensor]:
    """Rows of each split in the order of time: all of the first split before all of the second, and so on.

    Rows of one time stay together, in the split in whose share of the rows their middle lies. Rows of one group stay
    together at the time of its last row: no row of an earlier split is later than a group of a later split ends, but
    rows of a group may lie before the end of an earlier split.

    Args:
        times: [rows] numbers.
        fractions: share of every split, in the order of time; they sum to 1.
        groups: [rows] integers; rows of one group stay together.

    Returns:
        The sorted row numbers of every split.

    Raises:
        PolytaskError: a time is missing (NaN), fractions do not sum to 1, or a split would be empty.

    Cost: a sort of the times.

    >>> rows = split_by_time(torch.tensor([5.0, 1.0, 2.0, 1.0]), {"train": 0.5, "test": 0.5})
    >>> {name: found.tolist() for name, found in rows.items()}
    {'train': [1, 3], 'test': [0, 2]}
    """
    _check_fractions(fractions)
    if bool(missing := torch.isnan(times).sum()):
        raise PolytaskError(
            f"{int(missing)} of {len(times)} rows have no time (first: row {int(torch.isnan(times).byte().argmax())}): "
            "fill it in, leave these rows out, or split otherwise"
        )
    _check_groups(groups, len(times))
    if groups is not None:
        _, group = torch.unique(groups, return_inverse=True)
        last = times[:1].expand(int(group.max()) + 1).scatter_reduce(0, group, times, "amax", include_self=False)
        times = last[group]
    _, owner = torch.unique(times, return_inverse=True)
    return _cut(owner, torch.arange(int(owner.max()) + 1), fractions, "different times")


def split_stratified(
    targets: Mapping[str, Tensor],
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    groups: Tensor | None = None,
    bins: int = 10,
) -> dict[str, Tensor]:
    """Rows of each split, such that each has nearly its share of every class, and range of numbers, of every target.

    Rows without a label of some target are dealt by their other targets; the number of labels of each target is shared
    out with its classes. See `polytask.data.stratification.stratify` for the rule, and for what it costs.

    Args:
        targets: [rows] or [rows, columns] each: classes as whole numbers (missing: -100), or numbers (missing: NaN);
            of maps, whether a sample has a label.
        fractions: share of every split; they sum to 1.
        seed: chooses among equally good splits.
        groups: [rows] integers; rows of one group stay together.
        bins: numbers are stratified by so many quantiles (10 is our choice).

    Returns:
        The sorted row numbers of every split.

    Raises:
        PolytaskError: no target, fractions that do not sum to 1, or a split would be empty.

    >>> rare = torch.tensor([1] * 4 + [0] * 16)
    >>> rows = split_stratified({"rare": rare}, {"train": 0.5, "validation": 0.25, "test": 0.25})
    >>> {name: int(rare[found].sum()) for name, found in rows.items()}
    {'train': 2, 'validation': 1, 'test': 1}
    """
    _check_fractions(fractions)
    if not targets:
        raise PolytaskError("name at least one target to stratify by")
    _check_groups(groups, len(next(iter(targets.values()))))
    codes = torch.cat([strata(target, bins) for target in targets.values()], 1)
    return _named(stratify(codes, list(fractions.values()), seed, groups), fractions, f"{len(codes)} rows")


def _check_fractions(fractions: Mapping[str, float]) -> None:
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) <= 0:
        raise PolytaskError(f"the shares of the splits must be positive and sum to 1, got {dict(fractions)}")


def _check_groups(groups: Tensor | None, rows: int) -> None:
    if groups is not None and len(groups) != rows:
        raise PolytaskError(f"groups must hold one number for each of the {rows} rows, got {len(groups)}")


def _cut(owner: Tensor, order: Tensor, fractions: Mapping[str, float], what: str) -> dict[str, Tensor]:
    """Whole owners of rows, in this order, cut into splits: one goes to where the middle of its rows lies."""
    sizes = torch.bincount(owner, minlength=len(order))[order]
    middle = (sizes.cumsum(0) - sizes / 2) / len(owner)
    edges = torch.tensor(list(fractions.values()), dtype=torch.float64).cumsum(0)[:-1]
    place = torch.empty(len(order), dtype=torch.long)
    place[order] = torch.bucketize(middle.double(), edges)
    return _named(place[owner], fractions, f"{len(owner)} rows in {len(order)} {what}")


def _named(place: Tensor, fractions: Mapping[str, float], told: str) -> dict[str, Tensor]:
    """The rows of every split; an error when one is empty."""
    found = {name: (place == k).nonzero()[:, 0] for k, name in enumerate(fractions)}
    empty = [name for name, rows in found.items() if not len(rows)]
    if empty:
        raise PolytaskError(
            f"the {' and '.join(empty)} split would be empty: {told} are too few for the shares {dict(fractions)}; "
            "give more rows or other shares"
        )
    return found
