"""Splits never share a row or a group, and are as large as asked."""

import pytest
import torch

from polytask.data import split
from polytask.errors import PolytaskError


@pytest.mark.parametrize("rows", [10, 97, 1000, 123_457])
@pytest.mark.parametrize("seed", [0, 1])
def test_disjoint_and_complete(rows: int, seed: int) -> None:
    found = split(rows, seed=seed)
    assert list(found) == ["train", "validation", "test"]
    together = torch.cat(list(found.values()))
    assert torch.equal(together.sort().values, torch.arange(rows))
    for name, share in {"train": 0.7, "validation": 0.15, "test": 0.15}.items():
        assert abs(len(found[name]) - share * rows) <= 1
        assert torch.equal(found[name], found[name].sort().values)


def test_seed_chooses_and_repeats() -> None:
    first, again, other = split(100, seed=4), split(100, seed=4), split(100, seed=5)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["test"], other["test"])
    before = torch.get_rng_state()
    split(100)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_never_divided(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randint(-40, 40, (600,), generator=generator) * 1000
    found = split(600, seed=seed, groups=groups)
    owners = [set(groups[rows].tolist()) for rows in found.values()]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]
    assert torch.equal(torch.cat(list(found.values())).sort().values, torch.arange(600))
    assert abs(len(found["train"]) / 600 - 0.7) < 0.06


def test_one_huge_group() -> None:
    groups = torch.arange(100)
    groups[:55] = 0
    found = split(100, seed=1, groups=groups)
    assert sum(0 in set(groups[rows].tolist()) for rows in found.values()) == 1


def test_other_names_and_shares() -> None:
    found = split(200, {"a": 0.5, "b": 0.5})
    assert {name: len(rows) for name, rows in found.items()} == {"a": 100, "b": 100}
    assert {name: len(rows) for name, rows in split(9, {"all": 1.0}).items()} == {"all": 9}


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"rows": 2}, "split would be empty: 2 rows"),
        ({"rows": 0}, "would be empty"),
        ({"rows": 100, "fractions": {"train": 0.5, "test": 0.4}}, "positive and sum to 1"),
        ({"rows": 100, "fractions": {"train": 1.2, "test": -0.2}}, "positive and sum to 1"),
        ({"rows": 100, "fractions": {"train": 1.0, "test": 0.0}}, "positive and sum to 1"),
        ({"rows": 100, "groups": torch.zeros(100, dtype=torch.long)}, "in 1 groups are too few"),
        ({"rows": 100, "groups": torch.arange(60)}, "groups"),
    ],
)
def test_splits_that_cannot_be(arguments: dict, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        split(**arguments)
