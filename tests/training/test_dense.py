"""Maps in `fit` and `evaluate`: as many at once as memory allows, and the same scores however many."""

import sys

import pytest
import torch
from torch import Tensor

from polytask import training
from polytask.data import TensorData
from polytask.sharing import HardSharing, SmallCNN
from polytask.tasks import MISSING_CLASS, Dense, Depth, Segmentation
from polytask.training import Budget, constant_scores, evaluate, fit
from polytask.training.evaluate import AT_ONCE, at_once


def bytes_to_floats(images: Tensor) -> Tensor:
    return images.float() / 255


def scenes(rows: int = 7, size: int = 16, seed: int = 0) -> TensorData:
    """Images [n, 3, h, w]; what is bright, and how bright; a few pixels without a label."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(256, (rows, 3, 2, 2), generator=generator, dtype=torch.uint8)
    x = x.repeat_interleave(size // 2, 2).repeat_interleave(size // 2, 3)
    grey = bytes_to_floats(x).mean(1)
    gone = torch.rand(rows, size, size, generator=generator) < 0.1
    bright = (3 * grey).long().clamp(0, 2).masked_fill(gone, MISSING_CLASS)
    return TensorData(x, {"bright": bright, "grey": (grey + 1).masked_fill(gone, torch.nan)}, bytes_to_floats)


def kinds(data: TensorData) -> list[Dense]:
    return [each.fitted(data.targets[each.name]) for each in (Segmentation("bright", classes=3), Depth("grey"))]


def network(data: TensorData) -> HardSharing:
    torch.manual_seed(0)
    return HardSharing(SmallCNN(channels=3, widths=(4, 8)), kinds(data))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_scores_do_not_depend_on_how_many_are_evaluated_at_once(batch_size: int) -> None:
    data = scenes()
    net = network(data)
    whole = evaluate(net, kinds(data), data, batch_size=100)
    for task, found in evaluate(net, kinds(data), data, batch_size=batch_size).items():
        assert found == pytest.approx(whole[task], rel=1e-5)


def test_maps_are_evaluated_a_few_at_a_time() -> None:
    """64 MiB of numbers: of 480 x 640 images with 3 + 4 numbers per pixel, seven."""
    data = TensorData(
        torch.zeros(1, 3, 480, 640, dtype=torch.uint8),
        {"bright": torch.zeros(1, 480, 640, dtype=torch.int8), "grey": torch.ones(1, 480, 640)},
    )
    assert at_once(kinds(data), data) == AT_ONCE // (480 * 640 * 7) == 7
    assert at_once(kinds(data), data, most=2) == 2


def test_a_constant_is_scored_without_looking_at_an_image() -> None:
    data = scenes()

    def never(images: Tensor) -> Tensor:
        raise AssertionError("an image was fetched")

    blind = TensorData(data.inputs, data.targets, never)
    found = constant_scores(kinds(data), data, blind)
    grey, bright = data.targets["grey"], data.targets["bright"]
    middle = grey[~grey.isnan()].median()
    assert found["grey"]["absolute"] == pytest.approx(float((grey[~grey.isnan()] - middle).abs().mean()), rel=1e-4)
    most = torch.bincount(bright[bright >= 0]).max() / (bright >= 0).sum()
    assert found["bright"]["pixel accuracy"] == pytest.approx(float(most), rel=1e-4)


def test_the_constant_is_not_scored_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One metric chooses the epoch: delta_m against the constant is not needed."""
    monkeypatch.setattr(sys.modules["polytask.training.fit"], "constant_scores", None)
    data = scenes()
    budget = Budget(epochs=1, batch_size=4, select="grey/absolute")
    assert fit(network(data), kinds(data), data, data, budget=budget, trackers=()).best_epoch == 1


def test_training_learns_maps_of_several_tasks() -> None:
    data = scenes(rows=12)
    net = network(data)
    fitted = fit(net, kinds(data), data, data, budget=Budget(epochs=30, batch_size=4, learning_rate=0.02), trackers=())
    constant, found = training.constant_scores(kinds(data), data, data), evaluate(net, kinds(data), data)
    assert fitted.score > 0
    assert found["bright"]["pixel accuracy"] > constant["bright"]["pixel accuracy"] + 0.02
    assert found["grey"]["absolute"] < 0.9 * constant["grey"]["absolute"]
