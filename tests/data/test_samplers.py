"""The contract of samplers: counts as expected, exact resume at any step, the rows of all processes are one batch's."""

import pytest
import torch
from sampler_cases import CASES, EPOCHS, ERRORS, NAMES, SIZES, Case, one_each, shared
from scipy.stats import chi2
from torch import Tensor

from polytask.data import (
    AllTasks,
    Annealed,
    Augmentation,
    Batches,
    ByError,
    Proportional,
    RandomScaleCrop,
    RoundRobin,
    Sampler,
    Sources,
    Temperature,
    TensorData,
    Uniform,
    mixture,
)
from polytask.errors import PolytaskError

every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def batches(case: Case, data: TensorData | None = None, size: int = 8, **options: object) -> Batches:
    errors = ERRORS if case.sampler.needs_errors else None
    settings = {"sampler": case.sampler, "epochs": EPOCHS, "drop_last": True, "errors": errors} | options
    return Batches(data or one_each(), size, **settings)


def pool_of(data: TensorData, rows: Tensor) -> Tensor:
    return data.sources.of_row[rows]


def chi_square(counts: Tensor, expected: Tensor) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


LIMIT = float(chi2.ppf(0.999, df=len(SIZES) - 1))
"""16.27: what independent draws exceed once in a thousand times."""


@every
@pytest.mark.parametrize("make", [one_each, shared], ids=["a data set per task", "one data set"])
def test_pools_are_drawn_as_often_as_expected(case: Case, make) -> None:
    """Pearson's chi-square over 40 seeds, of rows (or batches) in each epoch of the training, and of all."""
    data, total, wanted = make(), torch.zeros(4), torch.zeros(4)
    for epoch in range(EPOCHS):
        counts, expected = torch.zeros(4), torch.zeros(4)
        for seed in range(40):
            found = batches(case, data, seed=seed, samples=160).at(epoch)
            rows = torch.stack(list(found.indices()))
            drawn = pool_of(found.drawn, rows if case.sampler.per == "row" else rows[:, 0])
            counts += torch.bincount(drawn.reshape(-1), minlength=4)
            expected += drawn.numel() * torch.tensor(case.expected(epoch))
        assert counts.sum() == pytest.approx(float(expected.sum()))
        assert chi_square(counts, expected) < LIMIT
        total, wanted = total + counts, wanted + expected
    assert chi_square(total, wanted) < LIMIT


def test_the_chi_square_test_can_fail() -> None:
    rows = Batches(one_each(), 8, sampler=Temperature(2), samples=1600).order()
    counts = torch.bincount(pool_of(one_each(), rows), minlength=4).float()
    assert chi_square(counts, 1600 * torch.tensor([0.6, 0.25, 0.1, 0.05])) > 10 * LIMIT


@every
def test_no_count_is_further_than_one_from_its_expectation(case: Case) -> None:
    for epoch in range(EPOCHS):
        found = batches(case, seed=3).at(epoch)
        rows = torch.stack(list(found.indices()))
        drawn = pool_of(found.drawn, rows if case.sampler.per == "row" else rows[:, 0]).reshape(-1)
        wanted = len(drawn) * torch.tensor(case.expected(epoch))
        assert bool(((torch.bincount(drawn, minlength=4) - wanted).abs() < 1 + 1e-5).all())


def test_a_share_of_less_than_one_draw_is_drawn_now_and_then() -> None:
    """Four batches of an epoch, and a pool with a twentieth of them: in every fifth epoch, not in none."""
    data, counts = one_each(), torch.zeros(4)
    for seed in range(500):
        rows = torch.stack(list(Batches(data, 25, sampler=Proportional(per="batch"), seed=seed).indices()))[:, 0]
        counts += torch.bincount(pool_of(data, rows), minlength=4)
    assert chi_square(counts, 2000 * torch.tensor([0.6, 0.25, 0.1, 0.05])) < LIMIT


@every
def test_no_row_comes_again_before_its_pool_is_used_up(case: Case) -> None:
    found = batches(case, samples=400)
    rows = torch.cat(list(found.indices()))
    times = torch.bincount(rows, minlength=len(found.drawn))
    for pool in found.drawn.pools().values():
        assert int(times[pool].max() - times[pool].min()) <= 1


def test_proportional_is_every_row_once() -> None:
    assert Batches(one_each(), 7, sampler=Proportional()).order().sort().values.tolist() == list(range(100))


@every
@pytest.mark.parametrize("make", [one_each, shared], ids=["a data set per task", "one data set"])
def test_exact_resume_at_any_step(case: Case, make) -> None:
    whole = batches(case, make(), seed=5)
    for epoch in range(2):
        rows = [each.tolist() for each in whole.at(epoch).indices()]
        for start in range(len(rows) + 1):
            afresh = batches(case, make(), seed=5).at(epoch, start)
            assert [each.tolist() for each in afresh.indices()] == rows[start:] and len(afresh) == len(rows) - start


@every
def test_orders_hang_on_seed_and_epoch_alone(case: Case) -> None:
    state = torch.get_rng_state()
    orders = [tuple(batches(case, seed=seed).at(epoch).order().tolist()) for seed in (0, 1) for epoch in (0, 1)]
    torch.manual_seed(7)
    assert orders == [tuple(batches(case, seed=seed).at(epoch).order().tolist()) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4
    torch.set_rng_state(state)
    batches(case).order()
    assert torch.equal(state, torch.get_rng_state())


@every
@pytest.mark.parametrize("world", [2, 3])
def test_processes_see_disjoint_rows_that_together_are_the_batch(case: Case, world: int) -> None:
    alone = [batch.inputs[:, 0].tolist() for batch in batches(case, samples=60)]
    ranks = [
        [batch.inputs[:, 0].tolist() for batch in batches(case, samples=60, rank=rank, world=world)]
        for rank in range(world)
    ]
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert sorted(whole) == sorted(each for part in parts for each in part)  # a row that was drawn twice, twice
        assert [len(part) for part in parts] == [len(whole[rank::world]) for rank in range(world)]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_no_row_where_none_is_drawn_twice(world: int) -> None:
    ranks = [Batches(one_each(), 8, sampler=Proportional(), rank=rank, world=world) for rank in range(world)]
    for parts in zip(*ranks, strict=True):
        rows = [set(part.inputs[:, 0].tolist()) for part in parts]
        assert len(set.union(*rows)) == sum(map(len, rows))


@every
def test_an_epoch_is_as_many_rows_as_the_data_have(case: Case) -> None:
    for make in (one_each, shared):
        rows = len(make())
        full = batches(case, make(), 8, drop_last=False)
        assert sum(len(each) for each in full.indices()) == rows and len(full) == -(-rows // 8)
        assert len(batches(case, make(), 8)) == rows // 8
        assert sum(len(each) for each in batches(case, make(), 8, samples=50).indices()) == 48
        assert [len(each) for each in batches(case, make(), 2 * rows).indices()] == [rows]


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_a_batch_of_one_pool_or_of_some_draws(groups: int) -> None:
    found = Batches(one_each(), 8, sampler=Uniform(per="batch"), groups=groups, samples=64)
    for rows in found.indices():
        for part in rows.tensor_split(groups):
            assert len(pool_of(one_each(), part).unique()) == 1
    assert len(list(found.indices())) == 8


def test_round_robin_goes_on_in_the_next_epoch() -> None:
    found = Batches(one_each(), 10, sampler=RoundRobin(), drop_last=True)  # 10 batches: one epoch ends at pool b
    turns = [int(pool_of(one_each(), rows)[0]) for epoch in range(2) for rows in found.at(epoch).indices()]
    assert turns == [k % 4 for k in range(20)]


def test_all_tasks_are_in_every_batch() -> None:
    found = Batches(one_each(), 10, sampler=AllTasks(), drop_last=True)
    for epoch in range(2):
        for rows in found.at(epoch).indices():
            counts = torch.bincount(pool_of(one_each(), rows), minlength=4)
            assert counts.min() == 2 and counts.max() == 3


def test_annealed_as_published() -> None:
    """alpha = 1 - 0.8 (e - 1) / (E - 1): sizes 10,000 and 100 are as 100^alpha to 1."""
    sizes = torch.tensor([10_000.0, 100.0], dtype=torch.float64)
    for epoch, ratio in enumerate([100.0, 39.8107, 15.8489, 6.3096, 2.5119]):
        shares = Annealed().shares(sizes, epoch / 4)
        assert float(shares[0] / shares[1]) == pytest.approx(ratio, rel=1e-5)
        assert float(shares.sum()) == pytest.approx(1)
    data = mixture({"a": TensorData(torch.zeros(90, 1), {}), "b": TensorData(torch.zeros(10, 1), {})})
    told = [Batches(data, 5, sampler=Annealed(1, 0), epochs=3).at(epoch).shares()["a"] for epoch in (0, 1, 2, 7)]
    assert told == pytest.approx([0.9, 0.75, 0.5, 0.5])
    assert Batches(data, 5, sampler=Annealed(1, 0)).shares()["a"] == pytest.approx(0.9)  # an only epoch: the start


def test_sizes_without_bound_do_not_overflow() -> None:
    for sampler in (Temperature(0.01), Annealed(50, 50)):
        assert sampler.shares(torch.tensor([1e12, 1.0], dtype=torch.float64)).tolist() == [1.0, 0.0]


def test_remaining_errors_that_are_not_finite_or_all_gone() -> None:
    sizes = torch.ones(3, dtype=torch.float64)
    sampler = ByError(floor=0.0)

    def shares(*errors: float) -> list[float]:
        return sampler.shares(sizes, 0.5, torch.tensor(errors, dtype=torch.float64)).tolist()

    assert shares(0.5, float("nan"), 0.5) == pytest.approx([1 / 3] * 3)
    assert shares(0.2, float("inf"), 0.6) == pytest.approx([1 / 7, 3 / 7, 3 / 7])
    assert shares(0.0, 0.0, 0.0) == pytest.approx([1 / 3] * 3) and sampler.shares(sizes).tolist() == [1 / 3] * 3
    assert ByError(power=2, floor=0).shares(sizes[:2], 0, torch.tensor([1.0, 3.0])).tolist() == pytest.approx(
        [0.1, 0.9]
    )


def test_a_row_drawn_for_a_task_teaches_that_task() -> None:
    """In one data set of 60 rows that all have a label of "a", a quarter of the labels are of "a" nevertheless."""
    drawn, everything = (
        {name: sum(batch.counts.get(name, 0) for batch in found) for name in NAMES}
        for found in (Batches(shared(), 20, sampler=Uniform(labels=labels), samples=400) for labels in ("drawn", "all"))
    )
    assert drawn == dict.fromkeys(NAMES, 100)
    assert everything["a"] == 400 and everything["d"] > 100
    for batch in Batches(shared(), 20, sampler=RoundRobin()):
        assert len(batch.targets) == 1 and set(batch.counts.values()) == {20}


def test_labels_of_a_data_set_per_task_are_all_used() -> None:
    both = TensorData(torch.zeros(4, 1), {"a": torch.ones(4), "b": torch.ones(4)})
    data = mixture({"x": both, "y": both})
    batch = next(iter(Batches(data, 4, sampler=Uniform())))
    assert batch.counts == {"a": 4, "b": 4} and Batches(data, 4, sampler=Uniform()).drawn is data


def test_augmented_batches_of_a_sampler_resume() -> None:

    pictures = torch.rand(12, 3, 4, 4)
    data = TensorData(
        pictures, {"a": torch.zeros(12), "b": torch.zeros(12)}, augment=Augmentation((RandomScaleCrop(),))
    )
    whole = list(Batches(data, 4, sampler=Uniform(), augmented=True, seed=2))
    later = list(Batches(data, 4, sampler=Uniform(), augmented=True, seed=2, start=1))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(whole[1:], later, strict=True))


class Broken(Sampler):
    def shares(self, sizes: Tensor, progress: float = 0.0, errors: Tensor | None = None) -> Tensor:
        return torch.tensor([1.0, -1.0])


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: Uniform(per="rows"), "did you mean 'row'"),
        (lambda: Uniform(labels="some"), "Allowed: drawn, all"),
        (lambda: Temperature(0), "positive number, got 0"),
        (lambda: Temperature(most=0), "most=0"),
        (lambda: Annealed(end=-1), "end must be"),
        (lambda: ByError(power=-1), "power must be"),
        (lambda: ByError(floor=2), "from 0 to 1, got 2"),
        (lambda: Batches(one_each(), 3, sampler=AllTasks()), "all 4 pools in every batch, and a batch has 3"),
        (lambda: Batches(one_each(), 3, sampler=Broken()).order(), "4 numbers, one for every pool"),
        (lambda: Batches(one_each(), 3, sampler=ByError(), errors=(1.0,)), "one error for each of 4 pools"),
        (lambda: Batches(TensorData(torch.zeros(2, 1), {}), 1, sampler=Uniform()), "no row has a label"),
    ],
)
def test_what_makes_no_sense_is_told(make, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        make()


def test_a_thousand_pools() -> None:
    sources = Sources(tuple(map(str, range(1000))), torch.arange(20_000) % 1000)
    data = TensorData(torch.zeros(20_000, 1), {"a": torch.zeros(20_000)}, sources=sources)
    found = Batches(data, 100, sampler=Uniform())
    assert torch.bincount(pool_of(data, found.order())).tolist() == [20] * 1000
