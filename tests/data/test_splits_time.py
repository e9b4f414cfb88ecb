"""Splits by time: train before validation before test, ties and groups together."""

import pytest
import torch

from polytask.data import split_by_time
from polytask.errors import PolytaskError


@pytest.mark.parametrize("seed", range(3))
def test_earlier_rows_train_and_the_last_ones_test(seed: int) -> None:
    times = torch.randn(500, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = split_by_time(times)
    assert [len(rows) for rows in found.values()] == [350, 75, 75]
    assert torch.equal(torch.cat(list(found.values())).sort().values, torch.arange(500))
    train, validation, test = (times[rows] for rows in found.values())
    assert train.max() < validation.min()
    assert validation.max() < test.min()


def test_rows_of_one_time_stay_together() -> None:
    days = torch.arange(40) // 7  # 0 to 5, the last of 5 rows
    found = split_by_time(days.float(), {"train": 0.5, "test": 0.5})
    assert {name: sorted(set(days[rows].tolist())) for name, rows in found.items()} == {
        "train": [0, 1, 2],
        "test": [3, 4, 5],
    }


def test_groups_are_placed_by_their_last_row() -> None:
    #                      a    b    a    c    b    d
    times = torch.tensor([1.0, 2.0, 3.0, 4.0, 6.0, 5.0])
    groups = torch.tensor([0, 1, 0, 2, 1, 3])
    found = split_by_time(times, {"train": 0.5, "test": 0.5}, groups)
    assert {name: rows.tolist() for name, rows in found.items()} == {"train": [0, 2, 3], "test": [1, 4, 5]}


@pytest.mark.parametrize(
    "times, groups, told",
    [
        (torch.tensor([1.0, float("nan"), 2.0]), None, r"1 of 3 rows have no time \(first: row 1\)"),
        (torch.zeros(30), None, "30 rows in 1 different times are too few"),
        (torch.arange(30.0), torch.zeros(29), "each of the 30 rows, got 29"),
    ],
)
def test_what_cannot_be(times: torch.Tensor, groups: torch.Tensor | None, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        split_by_time(times, groups=groups)
