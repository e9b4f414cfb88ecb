"""Stratified splits: shares of every class of every target, with missing labels, numbers and groups."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from polytask.data import split, split_stratified
from polytask.data.strata import strata
from polytask.data.stratification import stratify
from polytask.errors import PolytaskError

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


def targets(rows: int, seed: int = 0) -> dict[str, Tensor]:
    """Classes, a rare class half of whose labels are missing, numbers, and yes-or-no labels."""
    drawn = torch.Generator().manual_seed(seed)
    rare = (torch.rand(rows, generator=drawn) < 0.03).long()
    rare[torch.rand(rows, generator=drawn) < 0.5] = -100
    hours = torch.randn(rows, generator=drawn).exp()
    hours[torch.rand(rows, generator=drawn) < 0.3] = float("nan")
    return {
        "kind": (torch.rand(rows, generator=drawn) * 3).square().long(),
        "rare": rare,
        "hours": hours,
        "tags": (torch.rand(rows, 3, generator=drawn) < torch.tensor([0.02, 0.2, 0.5])).long(),
    }


def largest_error(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> float:
    """How many rows of a stratum a split has too many or too few, at most."""
    worst = 0.0
    for target in wanted.values():
        for column in strata(target, 10).unbind(1):
            whole = torch.bincount(column[column >= 0])
            for name, rows in found.items():
                mine = column[rows]
                here = torch.bincount(mine[mine >= 0], minlength=len(whole))
                worst = max(worst, (here - SHARES[name] * whole).abs().max().item())
    return worst


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rows, most", [(200, 4.0), (1000, 4.0), (5000, 4.0)])
def test_every_split_has_its_share_of_every_class_and_range(rows: int, most: float, seed: int) -> None:
    wanted = targets(rows, seed)
    found = split_stratified(wanted, seed=seed)
    assert torch.equal(torch.cat(list(found.values())).sort().values, torch.arange(rows))
    error = largest_error(found, wanted)
    assert error <= most
    if rows >= 1000:
        assert error < largest_error(split(rows, seed=seed), wanted) / 2


def test_rare_classes_by_hand() -> None:
    """4 of 20 rows are rare: half of them train, one each validates and tests."""
    rare = torch.tensor([0, 1, 0, 0, 0] * 4)
    found = split_stratified({"rare": rare}, {"train": 0.5, "validation": 0.25, "test": 0.25}, seed=5)
    assert {name: (len(rows), int(rare[rows].sum())) for name, rows in found.items()} == {
        "train": (10, 2), "validation": (5, 1), "test": (5, 1),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_groups_stay_together_and_shares_are_nearly_met(seed: int) -> None:
    wanted = targets(4000)
    groups = torch.randint(-200, 200, (4000,), generator=torch.Generator().manual_seed(seed)) * 7
    found = split_stratified(wanted, groups=groups, seed=seed)
    owners = [set(groups[rows].tolist()) for rows in found.values()]
    assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]
    assert largest_error(found, wanted) < largest_error(split(4000, seed=seed, groups=groups), wanted) / 2


def test_the_split_hangs_on_the_seed_alone() -> None:
    wanted = targets(500)
    before = torch.get_rng_state()
    first, again, other = (split_stratified(wanted, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["test"], other["test"])


def test_the_slow_twin_that_computes_chi_square_for_every_choice() -> None:
    """Rows with the rarest stratum first, then by lot; each to the split with the lowest χ² of what is dealt so far."""
    codes = torch.cat([strata(target, 5) for target in targets(40).values()], 1)
    shares = torch.tensor(list(SHARES.values()), dtype=torch.float64)
    columns = [*codes.unbind(1), torch.zeros(40).long()]
    hot = torch.stack([column == each for column in columns for each in column[column >= 0].unique()], 1).double()
    rows = hot.sum(0)
    rarest = torch.where(hot > 0, rows, torch.inf).min(1).values
    lots = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    dealt, place = torch.zeros(3, len(rows), dtype=torch.float64), torch.full((40,), -1)
    for row in sorted(range(40), key=lambda k: (rarest[k].item(), lots[k].item())):
        found = []
        for split_number in range(3):
            after = dealt.clone()
            after[split_number] += hot[row]
            expected = shares[:, None] * rows
            found.append(((after - expected).square() / expected).sum().item())
        place[row] = next(k for k in range(3) if found[k] <= min(found) + 1e-9)
        dealt[place[row]] += hot[row]
    assert torch.equal(stratify(codes, shares.tolist(), seed=3), place)


def test_strata_of_numbers_maps_and_labels() -> None:
    nan = float("nan")
    tied = strata(torch.tensor([1.0, 1.0, 1.0, 9.0, nan]), 4).flatten()
    assert tied[0] == tied[1] == tied[2] != tied[3]
    assert tied[4] == -1
    ranks = strata(torch.arange(100.0), 10).flatten()
    assert torch.bincount(ranks).tolist() == [10] * 10
    maps = torch.full((3, 2, 2), nan)
    maps[1, 0, 1] = 4.0
    assert strata(maps, 10).flatten().tolist() == [-1, 0, -1]
    assert strata(torch.tensor([[0, 1], [-100, 1]]), 10).tolist() == [[0, 1], [-1, 1]]


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"targets": {}}, "at least one target"),
        ({"targets": {"a": torch.zeros(2).long()}}, "split would be empty: 2 rows"),
        ({"targets": {"a": torch.zeros(9).long()}, "fractions": {"train": 0.5}}, "sum to 1"),
        ({"targets": {"a": torch.zeros(9).long()}, "groups": torch.zeros(8).long()}, "each of the 9 rows, got 8"),
    ],
)
def test_what_cannot_be(arguments: dict, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        split_stratified(**arguments)
