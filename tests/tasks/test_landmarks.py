"""Points in images: their losses, missing ones, what is learned from the training labels, and how they are drawn."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polytask._plain import plain, rebuild
from polytask.errors import PolytaskError
from polytask.tasks import MISSING_COLOUR, Landmarks, present

NAN = math.nan
CRITERIA = ("squared", "smooth_l1", "wing")
each_criterion = pytest.mark.parametrize("criterion", CRITERIA)


def points(rows: int = 20, count: int = 3, missing: float = 0.3) -> Tensor:
    centre = torch.tensor([[0.3, 0.4], [0.7, 0.4], [0.5, 0.7]])[:count]
    found = centre + 0.1 * torch.randn(rows, count, 2)
    return found.masked_fill(torch.rand(rows, count, 1) < missing, NAN)


def test_losses_by_hand() -> None:
    target = torch.tensor([[[0.5, 0.5], [NAN, NAN]]])
    prediction = torch.tensor([[0.75, 0.5, 3.0, 3.0]])
    assert Landmarks("l", 2).loss(prediction, target).item() == pytest.approx(0.25**2 / 2)
    assert Landmarks("l", 2, criterion="smooth_l1").loss(prediction, target).item() == pytest.approx(0.25**2 / 4)
    w, e = 10 / 64, 2 / 64
    wing = Landmarks("l", 2, criterion="wing")
    beyond = 0.25 - w + w * math.log(1 + w / e)
    assert wing.loss(prediction, target).item() == pytest.approx(beyond / 2)
    inside = wing.loss(torch.tensor([[0.55, 0.5, 0.0, 0.0]]), target).item()
    assert inside == pytest.approx(w * math.log(1 + 0.05 / e) / 2, rel=1e-5)


def test_wing_is_measured_in_the_image_whatever_the_deviation() -> None:
    """In standard units the loss is that of the image divided by the deviation."""
    target = points(missing=0.0)
    plainly = Landmarks("l", 3, criterion="wing")
    scaled = replace(plainly, deviation=0.1)
    guess = torch.rand(20, 6)
    torch.testing.assert_close(scaled.loss(guess / 0.1, target), plainly.loss(guess, target) / 0.1)


@each_criterion
def test_missing_points_count_for_nothing(criterion: str) -> None:
    target = points()
    target[3] = NAN
    task = Landmarks("l", 3, criterion=criterion).fitted(target)
    prediction = torch.randn(20, 6, requires_grad=True)
    loss = task.loss(prediction, target)
    (gradient,) = torch.autograd.grad(loss, prediction)
    gone = ~present(target).flatten(1)
    assert torch.isfinite(loss) and (gradient[gone] == 0).all() and (gradient[~gone] != 0).all()
    other = torch.where(gone, prediction + 100, prediction)
    torch.testing.assert_close(task.loss(other, target), loss)
    count = present(target).sum()
    pieces = zip(prediction.split(7), target.split(7), strict=True)
    torch.testing.assert_close(sum(task.loss(p, t, count) for p, t in pieces), loss)
    whole = points(missing=0.0)
    torch.testing.assert_close(task.loss(prediction, whole, complete=True), task.loss(prediction, whole))


def test_standard_units() -> None:
    target = points(2000)
    task = Landmarks("l", 3).fitted(target)
    assert task.mean == pytest.approx([0.3, 0.4, 0.7, 0.4, 0.5, 0.7], abs=0.02)
    assert task.deviation == pytest.approx(0.1, abs=0.01)
    assert task.loss(torch.zeros(2000, 6), target).item() == pytest.approx(1.0, rel=1e-4)
    torch.testing.assert_close(task.decode(torch.zeros(1, 6))[0], torch.tensor(task.mean).view(3, 2))
    known = points(5, missing=0.0)
    said = (known.flatten(1) - torch.tensor(task.mean)) / task.deviation
    torch.testing.assert_close(task.decode(said), known)
    assert task.loss(said, known).item() == pytest.approx(0.0, abs=1e-9)
    assert task.progress(said, known).item() == pytest.approx(1.0)
    assert task.progress(torch.zeros(2000, 6), target).item() == pytest.approx(0.0, abs=1e-3)


@each_criterion
def test_the_best_constant_is_the_best(criterion: str) -> None:
    target = points(100)
    task = Landmarks("l", 3, criterion=criterion).fitted(target)
    best = task.constant(target)
    assert best.shape == (6,) and best.dtype == torch.float32
    least = task.loss(task.repeated(best, target), target)
    for size in (0.5, 0.05):
        for _ in range(10):
            other = task.repeated(best + size * torch.randn(6), target)
            assert task.loss(other, target) >= least - 1e-6


def test_a_vector_task() -> None:
    task = Landmarks("l", ("eye", "nose", "mouth"))
    assert (task.dense, task.shown, task.outputs) == (False, True, 6)
    assert task.head(7)(torch.zeros(2, 7)).shape == (2, 6)
    assert [replace(task, criterion=each).likelihood_scale for each in CRITERIA] == [0.5, 1.0, 1.0]
    found = task.columns(torch.arange(6.0)[None] / 8)
    assert found == {
        "l: x of eye": [0.0], "l: y of eye": [0.125], "l: x of nose": [0.25],
        "l: y of nose": [0.375], "l: x of mouth": [0.5], "l: y of mouth": [0.625],
    }  # fmt: skip


def test_a_description_makes_the_same_task() -> None:
    task = Landmarks("l", ("a", "b", "c"), between=(0, 1), aspect=1.5).fitted(points())
    told = json.loads(json.dumps(plain(task.describe())))
    assert rebuild({"class": told.pop("kind"), "args": told}, [Landmarks]) == task


@pytest.mark.parametrize(
    "target, told",
    [
        (torch.rand(4, 6), r"shape \[n, 3, 2\].*got \[4, 6\]"),
        (torch.rand(4, 2, 2), r"got \[4, 2, 2\]"),
        (torch.ones(4, 3, 2, dtype=torch.int64), "floating-point"),
        (torch.full((4, 3, 2), NAN), "no label at all"),
        (points(4, missing=0.0).index_put((torch.tensor(2), torch.tensor(1), torch.tensor(0)), torch.tensor(NAN)),
         r"two NaN.*first: \(nan, .*point 'nose' of sample 2"),
        (points(4, missing=0.0) * 96, r"fractions of the image.*12 of 12 points.*divide x by the width"),
        (points(4, missing=0.0).index_fill(1, torch.tensor([2]), NAN), "point 'mouth' .* missing in all 4"),
        (torch.full((4, 3, 2), 0.5), "in one place in all 4"),
    ],
)  # fmt: skip
def test_targets_that_do_not_fit(target: Tensor, told: str) -> None:
    if "in one place" in told:
        target = torch.rand(1, 3, 2).expand(4, 3, 2)
    with pytest.raises(PolytaskError, match=told):
        Landmarks("l", ("eye", "nose", "mouth")).fitted(target)


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"points": 0}, "at least one point"),
        ({"points": 3, "mean": (0.0,)}, "a mean of 2 numbers for each"),
        ({"points": 3, "between": (0, 3)}, "numbers from 0 to 2"),
        ({"points": 3, "between": (1, 1)}, "two of its points"),
        ({"points": 3, "aspect": 0.0}, "above 0"),
        ({"points": 3, "criterion": "l2"}, "Allowed: squared, smooth_l1, wing"),
    ],
)
def test_tasks_that_cannot_be(settings: dict, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        Landmarks("l", **settings)


def test_points_are_drawn_where_they_are() -> None:
    task = Landmarks("l", ("left", "right"))
    target = torch.tensor([[[0.25, 0.5], [0.75, 0.25]], [[0.25, 0.5], [NAN, NAN]]])
    images = torch.full((2, 3, 40, 80), 1.0)
    found = task.target_picture(target, images)
    assert found.shape == (2, 40, 80, 3) and found.dtype == torch.uint8
    left, right = task.legend().values()
    assert tuple(found[0, 20, 20].tolist()) == left and tuple(found[0, 10, 60].tolist()) == right
    assert (found[1, :, 40:] == 255).all() and (found[1, :, :40] != 255).any()
    assert (found[0] != 255).any(-1).sum() < 60  # dots, not more
    assert torch.equal(task.picture(target[:1].flatten(1), images[:1]), found[:1])
    grey = task.picture(torch.rand(3, 4), torch.rand(3, 1, 16, 16))
    assert grey.shape == (3, 16, 16, 3)
    blank = task.picture(torch.rand(3, 4))
    assert blank.shape == (3, 96, 96, 3) and tuple(blank[0, 0, 0].tolist()) == MISSING_COLOUR
    assert images.min() == 1.0  # as it was


def test_smooth_l1_is_that_of_torch() -> None:
    target, guess = points(missing=0.0), torch.randn(20, 6)
    found = Landmarks("l", 3, criterion="smooth_l1").loss(guess, target)
    torch.testing.assert_close(found, F.smooth_l1_loss(guess, target.flatten(1)))
