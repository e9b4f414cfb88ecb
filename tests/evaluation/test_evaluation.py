"""Numbers about results: every formula by hand, and intervals that hold what they promise."""

import math
import statistics

import pytest
import torch

from polytask.evaluation import (
    Interval,
    cosines,
    delta_m_metrics,
    delta_m_tasks,
    gain,
    gains,
    interval,
    magnitude_similarity,
    mean_ranks,
    norms,
)


def test_gain_has_its_sign() -> None:
    """+ is better, whichever way the metric points, whatever the sign of the baseline."""
    assert gain(0.9, 0.6, True) == pytest.approx(0.5) and gain(0.6, 0.9, True) == pytest.approx(-1 / 3)
    assert gain(2.0, 4.0, False) == pytest.approx(0.5) and gain(5.0, 4.0, False) == pytest.approx(-0.25)
    assert gain(-0.5, -1.0, True) == pytest.approx(0.5)
    assert gain(3.0, 3.0, True) == 0.0
    assert math.isnan(gain(1.0, 0.0, True)) and math.isnan(gain(math.nan, 1.0, True))


SCORES = {"depth": {"abs": 0.8, "rel": 0.3}, "classes": {"miou": 0.44}}
BASE = {"depth": {"abs": 1.0, "rel": 0.2}, "classes": {"miou": 0.4}}
WAYS = {"depth": {"abs": False, "rel": False}, "classes": {"miou": True}}


def test_both_delta_m_by_hand() -> None:
    found = gains(SCORES, BASE, WAYS)
    assert found["depth"] == pytest.approx({"abs": 0.2, "rel": -0.5}) and found["classes"]["miou"] == pytest.approx(0.1)
    assert delta_m_metrics(found) == pytest.approx((0.2 - 0.5 + 0.1) / 3)
    assert delta_m_tasks(found) == pytest.approx(((0.2 - 0.5) / 2 + 0.1) / 2)
    assert delta_m_tasks(found, {"depth": 1.0, "classes": 3.0}) == pytest.approx((-0.15 + 3 * 0.1) / 4)
    assert math.isnan(delta_m_metrics({})) and math.isnan(delta_m_tasks({}))


def test_gains_ignore_the_loss_and_other_numbers() -> None:
    found = gains(
        {"a": {"loss": 3.0, "mae": 1.0}}, {"a": {"loss": 1.0, "mae": 2.0}}, {"a": {"mae": False}, "b": {"x": True}}
    )
    assert found == {"a": {"mae": 0.5}}


def test_ranks_by_hand() -> None:
    arms = [{"a": {"x": 3.0, "y": 1.0}}, {"a": {"x": 2.0, "y": 1.0}}, {"a": {"x": 1.0, "y": 5.0}}]
    assert mean_ranks(arms, {"a": {"x": True, "y": False}}) == [(1 + 1.5) / 2, (2 + 1.5) / 2, 3.0]
    assert mean_ranks(arms, {"a": {"x": True}}) == [1.0, 2.0, 3.0]
    assert mean_ranks(arms, {"a": {"x": False}}) == [3.0, 2.0, 1.0]
    assert mean_ranks([], {}) == []
    unknown = [{"a": {"x": math.nan, "y": 2.0}}, {"a": {"x": 1.0, "y": 1.0}}]
    assert mean_ranks(unknown, {"a": {"x": True, "y": True}}) == [1.0, 2.0]  # what nobody knows of all is left out
    assert all(math.isnan(rank) for rank in mean_ranks(unknown, {"a": {"x": True}}))


def test_interval_by_hand() -> None:
    """t quantiles of a printed table: 12.706 (1), 4.303 (2), 2.776 (4), 9.925 (2, 99 %)."""
    for values, quantile in (([1.0, 3.0], 12.706), ([1.0, 2.0, 6.0], 4.303), ([1.0, 2.0, 3.0, 4.0, 9.0], 2.776)):
        half = quantile * statistics.stdev(values) / math.sqrt(len(values))
        found = interval(values)
        assert found.n == len(values) and found.mean == pytest.approx(statistics.fmean(values))
        assert found.low == pytest.approx(found.mean - half, abs=2e-3) and found.high == pytest.approx(
            found.mean + half, abs=2e-3
        )
    wide = interval([1.0, 2.0, 6.0], confidence=0.99)
    assert (wide.high - wide.mean) * math.sqrt(3) / statistics.stdev([1.0, 2.0, 6.0]) == pytest.approx(9.925, rel=1e-3)


def test_interval_of_few_or_unknown_values() -> None:
    assert interval([2.0]) == Interval(2.0, None, None, 1)
    nothing = interval([])
    assert math.isnan(nothing.mean) and nothing.low is None and nothing.n == 0
    unknown = interval([1.0, math.nan, 2.0])
    assert math.isnan(unknown.mean) and unknown.low is None and unknown.n == 3
    same = interval([2.0, 2.0, 2.0])
    assert same.low == same.high == 2.0
    for each in (nothing, unknown, interval([5.0])):
        assert not each.above_zero and not each.below_zero


@pytest.mark.parametrize(
    "low, high, above, below",
    [
        (0.1, 0.5, True, False),
        (-0.5, -0.1, False, True),
        (-0.1, 0.1, False, False),
        (0.0, 0.5, False, False),
        (-0.5, 0.0, False, False),
    ],
)
def test_interval_and_zero(low: float, high: float, above: bool, below: bool) -> None:
    found = Interval((low + high) / 2, low, high, 3)
    assert found.above_zero == above and found.below_zero == below


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_interval_covers_the_truth_as_often_as_it_says(n: int, confidence: float) -> None:
    generator = torch.Generator().manual_seed(n)
    draws = (torch.randn(4000, n, generator=generator, dtype=torch.float64) * 3 + 7).tolist()
    covered = sum(found.low <= 7 <= found.high for found in (interval(each, confidence) for each in draws))
    error = 4 * math.sqrt(confidence * (1 - confidence) / 4000)
    assert abs(covered / 4000 - confidence) < error


def test_paired_differences_are_narrower_than_their_parts() -> None:
    """Why gains are paired by seed: what a seed does to both arms cancels."""
    generator = torch.Generator().manual_seed(0)
    luck = 5 * torch.randn(6, generator=generator, dtype=torch.float64)
    first, second = luck + 1 + 0.1 * torch.randn(6, generator=generator), luck
    paired = interval((first - second).tolist())
    assert paired.above_zero
    assert paired.high - paired.low < 0.2 * (interval(first.tolist()).high - interval(first.tolist()).low)


def test_conflict_by_hand() -> None:
    rows = torch.tensor([[3.0, 4.0], [4.0, -3.0], [-6.0, -8.0], [0.0, 0.0]], dtype=torch.float64)
    gramian = rows @ rows.T
    assert norms(gramian).tolist() == [5.0, 5.0, 10.0, 0.0]
    found = cosines(gramian)
    assert found[0, 1].item() == pytest.approx(0.0) and found[0, 2].item() == pytest.approx(-1.0)
    assert found[0, 0].item() == pytest.approx(1.0) and torch.isnan(found[3]).all() and torch.isnan(found[:, 3]).all()
    assert found[:3, :3].abs().max() <= 1.0
    likeness = magnitude_similarity(gramian)
    assert likeness[0, 1].item() == pytest.approx(1.0) and likeness[0, 2].item() == pytest.approx(2 * 5 * 10 / 125)
    assert likeness[0, 3].item() == 0.0


def test_conflict_far_from_one() -> None:
    for scale in (1e-12, 1e12):
        rows = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64) * scale
        assert cosines(rows @ rows.T)[0, 1].item() == pytest.approx(math.sqrt(0.5))
