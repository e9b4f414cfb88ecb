"""The order of samples: a pure function of seed and epoch, resumable anywhere, shared exactly between processes."""

import pytest
import torch

from polytask.data import Batches, TensorData
from polytask.errors import PolytaskError


def numbered(rows: int) -> TensorData:
    return TensorData(torch.arange(rows), {"a": torch.arange(rows)})


def seen(batches: Batches) -> list[list[int]]:
    return [batch.inputs.tolist() for batch in batches]


def joined(lists: list[list[int]]) -> list[int]:
    return [each for some in lists for each in some]


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("size", [1, 3, 8, 100])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_sample_once(rows: int, size: int, shuffle: bool) -> None:
    batches = Batches(numbered(rows), size, shuffle=shuffle)
    found = seen(batches)
    assert sorted(joined(found)) == list(range(rows))
    assert len(found) == len(batches) and all(len(each) == size for each in found[:-1])
    if not shuffle:
        assert joined(found) == list(range(rows))


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("size", [3, 8, 100])
def test_drop_last_leaves_full_batches_but_never_nothing(rows: int, size: int) -> None:
    batches = Batches(numbered(rows), size, shuffle=True, drop_last=True)
    found = seen(batches)
    assert len(found) == len(batches) == max(1, rows // size)
    if rows >= size:
        assert all(len(each) == size for each in found)
    else:
        assert sorted(found[0]) == list(range(rows))


def test_epochs_and_seeds_differ_and_repeat() -> None:
    batches = Batches(numbered(50), 10, shuffle=True, seed=3)
    orders = [tuple(joined(seen(batches.at(epoch)))) for epoch in range(5)]
    assert len(set(orders)) == 5
    assert orders == [tuple(joined(seen(batches.at(epoch)))) for epoch in range(5)]
    assert tuple(joined(seen(Batches(numbered(50), 10, shuffle=True, seed=4)))) not in orders
    torch.manual_seed(99)  # nothing of the global generator
    assert tuple(joined(seen(batches.at(0)))) == orders[0]
    before = torch.get_rng_state()
    seen(batches)
    assert torch.equal(before, torch.get_rng_state())


def test_no_epoch_of_one_seed_is_an_epoch_of_another() -> None:
    """Neighbouring seeds must not be shifted copies of each other."""
    orders = {}
    for seed in range(6):
        for epoch in range(6):
            orders[seed, epoch] = tuple(
                Batches(numbered(30), 30, shuffle=True, seed=seed, epoch=epoch).order().tolist()
            )
    assert len(set(orders.values())) == 36


@pytest.mark.parametrize("drop_last", [False, True])
def test_resumes_at_any_batch(drop_last: bool) -> None:
    batches = Batches(numbered(23), 5, shuffle=True, seed=1, epoch=2, drop_last=drop_last)
    whole = seen(batches)
    for start in range(len(whole) + 1):
        rest = batches.at(2, start)
        assert seen(rest) == whole[start:] and len(rest) == len(whole) - start


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [5, 11, 30])
def test_processes_share_every_batch_exactly(world: int, rows: int) -> None:
    whole = seen(Batches(numbered(rows), 5, shuffle=True, seed=2))
    parts = [seen(Batches(numbered(rows), 5, shuffle=True, seed=2, rank=rank, world=world)) for rank in range(world)]
    assert {len(part) for part in parts} == {len(whole)}
    for number, batch in enumerate(whole):
        shares = [part[number] for part in parts]
        assert sorted(joined(shares)) == sorted(batch)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_counts_are_those_of_the_batch_over_all_processes() -> None:
    target = torch.arange(10.0)
    target[::2] = torch.nan  # process 0 has not one label
    data = TensorData(torch.arange(10), {"a": target})
    for rank in range(2):
        for batch in Batches(data, 4, rank=rank, world=2):
            assert batch.counts["a"] in (1.0, 2.0) and "a" in batch.targets


@pytest.mark.parametrize(
    "options, told",
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 2, "world": 3}, "2 samples can't be shared by 3 processes; give at least 3"),
    ],
)
def test_sizes_that_cannot_be(options: dict, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        Batches(numbered(9), **options)


def test_no_samples() -> None:
    with pytest.raises(PolytaskError, match="data set is empty"):
        Batches(numbered(0), 2)
