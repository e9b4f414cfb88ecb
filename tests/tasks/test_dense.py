"""What tasks of maps promise: the papers' losses, nothing from missing pixels, help with bad targets, pictures."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polytask import tasks as catalogue
from polytask._plain import plain, rebuild
from polytask.data import TensorData
from polytask.errors import PolytaskError
from polytask.tasks import (
    MISSING_COLOUR,
    BinaryMap,
    Dense,
    Depth,
    Edges,
    Normals,
    Reconstruction,
    Segmentation,
    Task,
    class_colours,
    present,
    range_colours,
)
from polytask.training.evaluate import constant_scores, evaluate

NAN, INF = math.nan, math.inf
SIZE = (6, 9, 8)  # samples, height, width


def classes() -> Tensor:
    return torch.randint(4, SIZE)


def metres() -> Tensor:
    return torch.rand(SIZE) * 5 + 0.5


def vectors() -> Tensor:
    return F.normalize(torch.randn(SIZE[0], 3, *SIZE[1:]) + torch.tensor([0.0, 0.0, 2.0]).view(1, 3, 1, 1), dim=1)


def yes() -> Tensor:
    return (torch.rand(SIZE) < 0.3).to(torch.int8)


def images() -> Tensor:
    return torch.rand(SIZE[0], 3, *SIZE[1:])


KINDS: dict[str, tuple[Dense, Callable[[], Tensor]]] = {
    "classes": (Segmentation("t", ("a", "b", "c", "d")), classes),
    "weighted classes": (Segmentation("t", 4, weights=(1.0, 2.0, 0.5, 3.0)), classes),
    "smoothed classes": (Segmentation("t", 4, weights=(1.0, 2.0, 0.5, 3.0), smoothing=0.2), classes),
    "focal classes": (Segmentation("t", 4, focal=2.0), classes),
    "dice classes": (Segmentation("t", 4, dice=0.5), classes),
    "depth": (Depth("t"), metres),
    "l2 depth": (Depth("t", criterion="l2"), metres),
    "berhu depth": (Depth("t", criterion="berhu"), metres),
    "scale-invariant depth": (Depth("t", criterion="scale_invariant"), metres),
    "normals": (Normals("t"), vectors),
    "l1 normals": (Normals("t", criterion="l1"), vectors),
    "edges": (Edges("t"), yes),
    "weighted edges": (Edges("t", positive_weight=0.95), yes),
    "edges of floats": (Edges("t", positive_weight=0.95), lambda: yes().float()),
    "binary": (BinaryMap("t", dice=1.0), yes),
    "image": (Reconstruction("t"), images),
    "l1 image": (Reconstruction("t", criterion="l1"), images),
}
every = pytest.mark.parametrize("kind", KINDS)


def hide(target: Tensor, gone: Tensor) -> Tensor:
    """Without the labels of these pixels [n, h, w]."""
    gone = gone if target.ndim == 3 else gone[:, None]
    return target.masked_fill(gone, NAN if target.is_floating_point() else -100)


def said(task: Dense) -> Tensor:
    return torch.randn(SIZE[0], task.outputs, *SIZE[1:])


# --- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_are_those_of_plain_torch(dtype: torch.dtype) -> None:
    z, y = torch.randn(2, 4, 5, 6, dtype=dtype), torch.randint(4, (2, 5, 6))
    weights = (1.0, 2.0, 0.5, 3.0)
    each = F.cross_entropy(z, y, torch.tensor(weights, dtype=dtype), reduction="none", label_smoothing=0.2)
    expected = {
        Segmentation("t", 4): F.cross_entropy(z, y),
        Segmentation("t", 4, smoothing=0.1): F.cross_entropy(z, y, label_smoothing=0.1),
        Segmentation("t", 4, weights=weights, smoothing=0.2): each.mean(),
    }
    d, n = torch.rand(2, 5, 6, dtype=dtype) + 1, F.normalize(torch.randn(2, 3, 5, 6, dtype=dtype), dim=1)
    cosine = F.cosine_similarity(z[:, :3], n, dim=1)
    found = {
        **{task: task.loss(z, y) for task in expected},
        Depth("t"): Depth("t").loss(z[:, :1], d),
        Depth("t", criterion="l2"): Depth("t", criterion="l2").loss(z[:, :1], d),
        Normals("t"): Normals("t").loss(z[:, :3], n),
        Normals("t", criterion="l1"): Normals("t", criterion="l1").loss(z[:, :3], n),
        Reconstruction("t", 4): Reconstruction("t", 4).loss(z, z.flip(0)),
    }
    expected |= {
        Depth("t"): F.l1_loss(z[:, 0], d),
        Depth("t", criterion="l2"): F.mse_loss(z[:, 0], d),
        Normals("t"): (1 - cosine).mean(),
        Normals("t", criterion="l1"): F.l1_loss(F.normalize(z[:, :3], dim=1), n),
        Reconstruction("t", 4): F.mse_loss(z, z.flip(0)),
    }
    for task, value in found.items():
        assert value.dtype == dtype and value.ndim == 0
        torch.testing.assert_close(value, expected[task].to(dtype), rtol=1e-5, atol=1e-6)


def test_focal_loss_by_hand() -> None:
    """p = 3/4 for the right class, then 1/4: (1 - p)^2 * -log p."""
    z = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]]).T.reshape(1, 2, 1, 2).flip(-1)[..., [1, 1]]
    found = Segmentation("s", 2, focal=2.0).loss(z, torch.tensor([[[0, 1]]]))
    hand = ((1 / 4) ** 2 * -math.log(3 / 4) + (3 / 4) ** 2 * -math.log(1 / 4)) / 2
    assert found.item() == pytest.approx(hand)
    weighed = Segmentation("s", 2, focal=2.0, weights=(0.0, 2.0)).loss(z, torch.tensor([[[0, 1]]]))
    assert weighed.item() == pytest.approx((3 / 4) ** 2 * -math.log(1 / 4))
    for gamma in (0.5, 1.0):
        z = torch.tensor([[200.0, 0.0]]).reshape(1, 2, 1, 1).requires_grad_()  # certain, and right
        Segmentation("s", 2, focal=gamma).loss(z, torch.tensor([[[0]]])).backward()
        assert torch.isfinite(z.grad).all()


def test_dice_loss_by_hand() -> None:
    """Two classes, p = 1/2 everywhere; 3 pixels of class 0, 1 of class 1, one missing; class 2 is not in the image."""
    task = Segmentation("s", 3, dice=1.0)
    z = torch.zeros(1, 3, 1, 5)
    z[:, 2] = -1e4
    target = torch.tensor([[[0, 0, 0, 1, -100]]])
    dice = 1 - (2 * 1.5 / (1 + 3) + 2 * 0.5 / (1 + 1)) / 2
    assert task.loss(z, target).item() == pytest.approx(math.log(2) + dice)
    binary = BinaryMap("b", dice=2.0, positive_weight=0.5)
    found = binary.loss(torch.zeros(2, 1, 1, 4), torch.tensor([[[1, 0, 0, 0]], [[0, 0, 0, 0]]]))
    assert found.item() == pytest.approx(math.log(2) / 2 + 2 * (1 - 2 * 0.5 / (1 + 1)) / 2)  # none in the second


def test_reverse_huber_by_hand() -> None:
    """Errors 1 and 10 in the first image: c = 2. In the second 0.1 and 0.5: c = 0.1."""
    found = Depth("d", criterion="berhu").loss(
        torch.tensor([[2.0, 11.0], [1.1, 1.5]]).view(2, 1, 1, 2), torch.ones(2, 1, 2)
    )
    assert found.item() == pytest.approx((1 + (100 + 4) / 4 + 0.1 + (0.25 + 0.01) / 0.2) / 4, rel=1e-5)
    exact = Depth("d", criterion="berhu").loss(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 2))
    assert exact.item() == 0.0


def test_scale_invariant_loss_by_hand() -> None:
    """d = 1 and 3: mean d² = 5, (mean d)² = 4."""
    target = torch.tensor([[[1.0, 2.0, NAN]]])
    prediction = target.log().nan_to_num(7.0)[:, None] + torch.tensor([1.0, 3.0, 9.0])
    for invariance, hand in ((0.0, 5.0), (0.5, 3.0), (1.0, 1.0)):
        task = Depth("d", criterion="scale_invariant", invariance=invariance)
        assert task.loss(prediction, target).item() == pytest.approx(hand, rel=1e-5)
    scaled = Depth("d", criterion="scale_invariant", invariance=1.0)
    torch.testing.assert_close(scaled.loss(prediction + 5, target), scaled.loss(prediction, target), rtol=1e-4, atol=0)
    assert scaled.decode(torch.zeros(1, 1, 1, 1)).item() == 1.0  # log 1 m


def test_class_balance_by_hand() -> None:
    """One edge among four labelled pixels: its weight is 3/4, that of the others 1/4. Without an edge: 0."""
    target = torch.tensor([[[1, 0, 0, 0, -100]], [[0, 0, 0, 0, 0]]])
    z = torch.tensor([1.0, 0.0, 0.0, -2.0, 5.0]).view(1, 1, 1, 5).expand(2, -1, -1, -1)
    logs = -F.logsigmoid(torch.tensor([1.0, 0.0, 0.0, 2.0]))
    hand = (0.75 * logs[0] + 0.25 * logs[1:].sum()) / 9
    torch.testing.assert_close(Edges("e").loss(z, target), hand)
    fixed = Edges("e", positive_weight=0.95).loss(z[:1], target[:1])
    torch.testing.assert_close(fixed, (0.95 * logs[0] + 0.05 * logs[1:].sum()) / 4)


def test_normals_need_not_be_of_unit_length() -> None:
    target, z = vectors(), torch.randn(SIZE[0], 3, *SIZE[1:])
    for criterion in ("cosine", "l1"):
        task = Normals("n", criterion=criterion)
        torch.testing.assert_close(task.loss(5 * z, 1.04 * target), task.loss(z, target))
    assert Normals("n").loss(target, target).item() == pytest.approx(0.0, abs=1e-6)
    assert Normals("n").loss(-target, target).item() == pytest.approx(2.0)


def test_a_zero_vector_has_a_bounded_gradient() -> None:
    for criterion in ("cosine", "l1"):
        z = torch.zeros(1, 3, 1, 1, requires_grad=True)
        Normals("n", criterion=criterion).loss(z, torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)).backward()
        assert 0 < z.grad.abs().max() <= 1000


# --- missing pixels ---------------------------------------------------------------------------------------------------


@every
def test_missing_pixels_count_for_nothing(kind: str) -> None:
    """Their gradient is exactly 0, and so is that of an image without a label; the rest is as without that image."""
    task, make = KINDS[kind]
    gone = torch.rand(SIZE) < 0.3
    gone[2] = True
    target, prediction = hide(make(), gone), said(task).requires_grad_()
    loss = task.loss(prediction, target)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert torch.isfinite(loss) and torch.isfinite(gradient).all()
    nowhere = gone[:, None].expand_as(gradient)
    assert (gradient[nowhere] == 0).all() and (gradient[~nowhere] != 0).any()
    there = torch.tensor([0, 1, 3, 4, 5])
    torch.testing.assert_close(task.loss(prediction[there], target[there]), loss)
    other = torch.where(nowhere, 50 * torch.randn_like(prediction), prediction)
    torch.testing.assert_close(task.loss(other, target), loss)


@every
def test_the_loss_is_the_mean_over_the_pixels(kind: str) -> None:
    """`complete` changes nothing; entries counted by the data give the same mean; batches can be cut into pieces."""
    task, make = KINDS[kind]
    target, prediction = make(), said(task)
    torch.testing.assert_close(task.loss(prediction, target, complete=True), task.loss(prediction, target))
    target = hide(target, torch.rand(SIZE) < 0.3)
    target[:2] = NAN if target.is_floating_point() else -100  # a piece without one label
    count = TensorData(torch.zeros(len(target), 1), {"t": target}).counts()["t"]
    pieces = [task.loss(p, t, count) for p, t in zip(prediction.split(2), target.split(2), strict=True)]
    assert pieces[0].item() == 0.0
    torch.testing.assert_close(sum(pieces), task.loss(prediction, target))


@every
def test_other_types_and_memory_formats(kind: str) -> None:
    task, make = KINDS[kind]
    target, prediction = hide(make(), torch.rand(SIZE) < 0.2), said(task)
    loss = task.loss(prediction, target)
    last = prediction.to(memory_format=torch.channels_last)
    torch.testing.assert_close(task.loss(last, target), loss)
    half = task.loss(prediction.bfloat16(), target)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss, rtol=0.05, atol=0.02)
    if target.is_floating_point():
        torch.testing.assert_close(task.loss(prediction, target.half()), loss, rtol=1e-2, atol=1e-3)
        coarse = task.target_picture(target.half()).int() - task.target_picture(target).int()
        assert coarse.abs().max() <= 2
        found, wanted = task.error_map(prediction, target.half()), task.error_map(prediction, target)
        torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)
    else:
        torch.testing.assert_close(task.loss(prediction, target.to(torch.int8)), loss)
        torch.testing.assert_close(task.loss(prediction, target.long()), loss)


def test_bytes_and_truths_have_no_missing_labels() -> None:
    """156 is what -100 would be as a byte."""
    target = torch.tensor([[[156, 3]]], dtype=torch.uint8)
    assert present(target).all() and present(torch.tensor([True, False])).all()
    task = Segmentation("s", 200).fitted(target)
    assert task.loss(torch.zeros(1, 200, 1, 2), target).item() == pytest.approx(math.log(200))
    truths = torch.tensor([[[True, False]]])
    assert Edges("e").fitted(truths).loss(torch.zeros(1, 1, 1, 2), truths).item() == pytest.approx(math.log(2) / 2)


@every
def test_targets_of_another_size(kind: str) -> None:
    task, make = KINDS[kind]
    target = make()
    small = torch.randn(SIZE[0], task.outputs, 3, 4)
    large = F.interpolate(small, SIZE[1:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(task.loss(small, target), task.loss(large, target))
    torch.testing.assert_close(task.progress(small, target), task.progress(large, target))
    metrics, others = task.metrics(), task.metrics()
    task.update(metrics, small, target)
    task.update(others, large, target)
    assert {name: each.compute() for name, each in metrics.items()} == {
        name: each.compute() for name, each in others.items()
    }
    assert task.error_map(small, target).shape == SIZE
    assert task.picture(small).shape == (SIZE[0], 3, 4, 3)


# --- the best constant ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith(("focal", "dice", "l1 normals"))])
def test_the_best_constant_is_the_best(kind: str) -> None:
    task, make = KINDS[kind]
    target = hide(make(), torch.rand(SIZE) < 0.3)
    best = task.constant(target)
    assert best.shape == (task.outputs,) and best.dtype == torch.float32
    if isinstance(task, BinaryMap):
        task = replace(task, dice=0.0)
    least = task.loss(task.repeated(best, target), target)
    for size in (0.3, 0.03):
        for _ in range(10):
            other = best + size * torch.randn(task.outputs)
            assert task.loss(task.repeated(other, target), target) >= least - 1e-6


@pytest.mark.parametrize("kind", ["focal classes", "dice classes", "l1 normals"])
def test_constants_without_a_formula_are_near_the_best(kind: str) -> None:
    task, make = KINDS[kind]
    target = make()
    best = task.constant(target)
    least = task.loss(task.repeated(best, target), target)
    others = [task.loss(task.repeated(best + torch.randn(task.outputs), target), target) for _ in range(20)]
    assert torch.isfinite(least) and least < sum(others) / len(others)


def test_constants_by_hand() -> None:
    assert Depth("d").constant(torch.tensor([[[1.0, 2.0, 9.0, NAN]]])).tolist() == [2.0]
    assert Depth("d", criterion="l2").constant(torch.tensor([[[1.0, 2.0, 9.0, NAN]]])).tolist() == [4.0]
    found = Segmentation("s", 3).constant(torch.tensor([[[0, 0, 0, 1, -100]]])).softmax(0)
    torch.testing.assert_close(found, torch.tensor([0.75, 0.25, 0.0]), rtol=0, atol=1e-5)
    assert Edges("e").constant(yes()).tolist() == [0.0]
    found = Edges("e", positive_weight=0.75).constant(torch.tensor([[[1, 0, 0, 0]]])).sigmoid()
    assert found.item() == pytest.approx(0.5)  # 3/4 of one against 1/4 of three
    up = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).T.reshape(1, 3, 1, 2)
    torch.testing.assert_close(Normals("n").constant(up), torch.tensor([0.5, 0.5, 0.0]).sqrt())


def test_constants_can_be_evaluated() -> None:
    """The loss that `evaluate` says is the mean over the pixels, also where a pixel has three numbers."""
    chosen = {"s": (KINDS["classes"][0], classes()), "d": (Depth("d"), metres()), "n": (Normals("n"), vectors())}
    every_task = [replace(task, name=name) for name, (task, _) in chosen.items()]
    targets = {name: hide(target, torch.rand(SIZE) < 0.3) for name, (_, target) in chosen.items()}
    data = TensorData(torch.zeros(SIZE[0], 1), targets)
    found = constant_scores(every_task, data, data)
    for task in every_task:
        target = targets[task.name]
        constant = task.repeated(task.constant(target), target)
        assert found[task.name]["loss"] == pytest.approx(task.loss(constant, target).item(), rel=1e-5)
    assert found["n"]["loss"] < 1 and found["s"]["pixel accuracy"] >= 0.25

    class Fixed(torch.nn.Module):
        def forward(self, inputs: Tensor, names: list[str]) -> dict[str, Tensor]:
            return {task.name: torch.ones(len(inputs), task.outputs, *SIZE[1:]) for task in every_task}

    assert evaluate(Fixed(), every_task, data, batch_size=2) == {
        name: pytest.approx(scores) for name, scores in evaluate(Fixed(), every_task, data, batch_size=6).items()
    }


# --- a look at the training labels ------------------------------------------------------------------------------------


def at(target: Tensor, value: float, *place: int) -> Tensor:
    changed = target.clone()
    changed[place] = value
    return changed


GOOD = torch.full((3, 4, 5), 2.0)
UP = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).repeat(2, 1, 4, 5)


@pytest.mark.parametrize(
    "task, target, told",
    [
        (Depth("d"), at(GOOD, 0.0, 1, 2, 3), r"'d' expects depths above 0 m.*; 1 of 60 pixels .* in 1 of 3 samples"),
        (Depth("d"), at(GOOD, 0.0, 1, 2, 3), r"first: 0 in sample 1, row 2, column 3\); mark .* torch.nan\)"),
        (Depth("d"), at(GOOD, -1.5, 2, 0, 0), "first: -1.5 in sample 2"),
        (Depth("d"), at(GOOD, INF, 0, 0, 1), "first: inf in sample 0, row 0, column 1"),
        (Depth("d"), at(GOOD, -INF, 0, 0, 1), "first: -inf"),
        (Depth("d"), GOOD * NAN, "'d' has no labelled pixel at all .*3 samples"),
        (Depth("d"), GOOD.short(), r"expects floating-point targets.*int16; give metres, .* / 1000 for millimetres"),
        (Depth("d"), GOOD[:, None], r"shape \[n, h, w\], got \[3, 1, 4, 5\]; take target\[:, 0\]"),
        (Segmentation("s", 3), at(GOOD.long(), 3, 2, 1, 0), r"classes 0 to 2.*first: 3 in sample 2, row 1, column 0"),
        (Segmentation("s", 3), at(GOOD.to(torch.uint8), 255, 0, 3, 4), "first: 255 in .* mark it with -100"),
        (Segmentation("s", 3), at(GOOD.long(), -1, 0, 0, 0), "first: -1"),
        (Segmentation("s", 3), GOOD, r"whole class numbers .*float32"),
        (Segmentation("s", 3), GOOD.long() * 0 - 100, "no labelled pixel"),
        (Segmentation("s", 3), GOOD.long()[..., None], r"got \[3, 4, 5, 1\]; take target\[:, :, :, 0\]"),
        (Segmentation("s", 3), GOOD.long().flatten(1), r"got \[3, 20\]"),
        (
            Normals("n"),
            at(UP, 0.0, 1, 2, 3, 0),
            r"'n' expects normals of length 1.*first: \(0, 0, 0\) in sample 1, row 3",
        ),
        (Normals("n"), UP * 3, r"40 of 40 pixels.*torch.nn.functional.normalize\(target, dim=1\)"),
        (Normals("n"), at(UP, NAN, 1, 0, 2, 4), r"three NaN .* sample 1, row 2, column 4"),
        (Normals("n"), UP * NAN, "no labelled pixel"),
        (Normals("n"), UP.permute(0, 2, 3, 1), r"\[n, 3, h, w\], got \[2, 4, 5, 3\]; .*permute\(0, 3, 1, 2\)"),
        (Normals("n"), UP.to(torch.int8), "floating-point"),
        (Edges("e"), at(GOOD.long() * 0, 255, 0, 1, 1), r"'e' expects 0 and 1.*first: 255 .*\(target > 0\)"),
        (Edges("e"), GOOD * 0.25, "expects 0 and 1.*first: 0.5"),
        (Edges("e"), GOOD * 0, "no 1 in all 3 training targets"),
        (BinaryMap("b"), GOOD * NAN, "no labelled pixel"),
        (Reconstruction("r", 3), UP * 255, r"numbers 0 to 1.*first: \(0, 0, 255\).*target / 255"),
        (Reconstruction("r", 1), UP, r"\[n, 1, h, w\], got \[2, 3, 4, 5\]"),
        (Reconstruction("r", 3), UP.to(torch.uint8), r"target.float\(\) / 255"),
    ],
)
def test_targets_that_do_not_fit(task: Task, target: Tensor, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        task.fitted(target)


@every
def test_targets_that_fit(kind: str) -> None:
    task, make = KINDS[kind]
    gone = torch.rand(SIZE) < 0.3
    gone[1] = True
    found = task.fitted(hide(make(), gone))
    assert type(found) is type(task) and found.name == "t"


def test_slightly_wrong_lengths_are_let_through() -> None:
    rounded = (vectors() * 127).round() / 127
    assert (rounded.norm(dim=1) - 1).abs().max() > 1e-3
    Normals("n").fitted(rounded)
    Normals("n").fitted(rounded.half())


def test_depth_learns_the_range_of_its_colours() -> None:
    metres = torch.linspace(1.0, 5.0, 101).view(1, 1, 101).clone()
    task = Depth("d").fitted(metres)
    assert (task.near, task.far) == pytest.approx((1.08, 4.92)) and Depth("d").far == 10.0
    assert list(task.legend()) == ["1.08 m", "3 m", "4.92 m"]
    level = Depth("d").fitted(torch.full((2, 3, 3), 2.0))
    assert level.near < level.far


def test_median_frequency_balancing_by_hand() -> None:
    """Of the images they are in: class 0 has 3/4, class 1 has 3/8, class 2 has 1/2; class 3 is nowhere."""
    target = torch.tensor([[[0, 0, 0, 1]], [[2, 2, 1, 1]], [[0, 0, 0, -100]]])
    task = Segmentation("s", 4, balanced=True).fitted(target)
    frequency = [6 / 7, 3 / 8, 2 / 4]
    assert task.weights == pytest.approx([0.5 / each for each in frequency] + [1.0])
    assert rebuild({"class": "Segmentation", "args": settings(task)}, [Segmentation]) == task


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: Segmentation("s", 1), "at least 2 classes"),
        (lambda: Segmentation("s", 3, weights=(1.0, 2.0)), "each of its 3 classes"),
        (lambda: Segmentation("s", 3, smoothing=1.0), "smoothing from 0 to below 1"),
        (lambda: Segmentation("s", 3, smoothing=0.1, focal=2.0), "one of focal"),
        (lambda: Segmentation("s", 3, dice=-1.0), "dice of at least 0"),
        (lambda: Depth("d", criterion="L1"), "no criterion 'L1'; did you mean 'l1'. Allowed: l1, l2, berhu"),
        (lambda: Depth("d", invariance=2.0), "invariance from 0 to 1"),
        (lambda: Depth("d", near=5.0, far=5.0), "near below far"),
        (lambda: Normals("n", criterion="l2"), "Allowed: cosine, l1"),
        (lambda: Edges("e", positive_weight=1.0), "between 0 and 1"),
        (lambda: Edges("e", thresholds=1), "at least 2 thresholds"),
        (lambda: BinaryMap("b", dice=-0.1), "dice"),
        (lambda: Reconstruction("r", 0), "at least one channel"),
        (lambda: Reconstruction("r", criterion="ssim"), "Allowed: l1, l2"),
        (lambda: Depth("d", scored=("rms",)), "no metric 'rms'; did you mean 'rmse'"),
    ],
)
def test_tasks_that_cannot_be(make: Callable[[], Task], told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        make()


def settings(task: Task) -> dict[str, object]:
    return {name: value for name, value in json.loads(json.dumps(plain(task.describe()))).items() if name != "kind"}


@every
def test_a_description_makes_the_same_task(kind: str) -> None:
    task, make = KINDS[kind]
    task = replace(task.fitted(make()), importance=2.0, scored=tuple(task.metrics())[:1])
    known = [getattr(catalogue, name) for name in catalogue.__all__ if isinstance(getattr(catalogue, name), type)]
    assert rebuild({"class": task.describe()["kind"], "args": settings(task)}, known) == task


def test_likelihoods() -> None:
    """1/2 for squared errors, as a Gaussian has it; 1 for the others."""
    half = {kind for kind, (task, _) in KINDS.items() if task.likelihood_scale == 0.5}
    assert half == {"l2 depth", "scale-invariant depth", "image"}


# --- progress ---------------------------------------------------------------------------------------------------------


@every
def test_progress_is_a_share_and_adds_up_over_pieces(kind: str) -> None:
    task, make = KINDS[kind]
    target = hide(make(), torch.rand(SIZE) < 0.3)
    prediction = task.repeated(task.constant(target), target) + 0.3 * said(task)
    whole, count = task.progress(prediction, target), present(target).sum()
    assert whole.shape == () and 0 < whole < 1
    pieces = zip(prediction.split(4), target.split(4), strict=True)
    torch.testing.assert_close(sum(task.credit_sum(p, t) for p, t in pieces).float() / count, whole)


def test_progress_by_hand() -> None:
    target = torch.tensor([[[1, 0, 0, 0, -100]]])
    z = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0]).view(1, 1, 1, 5)
    assert Edges("e").progress(z, target).item() == pytest.approx((1 + 2 / 3) / 2)
    assert Edges("e").progress(z, target.clamp_max(0)).item() == pytest.approx(0.5)  # zeros only
    depth = Depth("d").progress(torch.tensor([1.2, 1.3, 1.0, 0.7]).view(1, 1, 1, 4), torch.tensor([[[1.0, 1, NAN, 1]]]))
    assert depth.item() == pytest.approx(1 / 3)
    assert Normals("n").progress(vectors(), vectors()) < 1
    same = vectors()
    assert Normals("n").progress(3 * same, same).item() == pytest.approx(1.0)


# --- what people and files see ----------------------------------------------------------------------------------------


def perfect(task: Dense, target: Tensor) -> Tensor:
    """Network outputs that say the target."""
    if isinstance(task, Segmentation):
        return 20 * F.one_hot(target.long(), task.outputs).permute(0, 3, 1, 2).float()
    if isinstance(task, Depth):
        return (target.log() if task.criterion == "scale_invariant" else target)[:, None]
    return (40 * target.float() - 20)[:, None] if target.ndim == 3 else target


@every
def test_pictures_of_what_is_right_are_those_of_the_target(kind: str) -> None:
    task, make = KINDS[kind]
    assert task.shown and task.dense
    target = make()
    task = task.fitted(target)
    found, wanted = task.picture(perfect(task, target)), task.target_picture(target)
    assert found.dtype == wanted.dtype == torch.uint8 and found.shape == (*SIZE, 3)
    assert (found.int() - wanted.int()).abs().max() <= 1
    assert len({tuple(colour) for colour in wanted.flatten(0, 2).tolist()}) > 1
    gone = torch.rand(SIZE) < 0.3
    hidden = task.target_picture(hide(target, gone))
    assert (hidden[gone] == torch.tensor(MISSING_COLOUR, dtype=torch.uint8)).all()
    assert torch.equal(hidden[~gone], wanted[~gone])


@every
def test_error_maps(kind: str) -> None:
    task, make = KINDS[kind]
    target, gone = make(), torch.rand(SIZE) < 0.3
    right, wrong = perfect(task, target), said(task) - 3
    assert task.error_map(right, target).abs().max() < 1e-5
    found = task.error_map(wrong, hide(target, gone))
    assert found.shape == SIZE and found.min() >= 0 and found.max() <= 1 and (found[gone] == 0).all()
    torch.testing.assert_close(found[~gone], task.error_map(wrong, target)[~gone])
    assert found[~gone].mean() > 0.2


def test_the_scale_of_error_maps() -> None:
    depth = Depth("d").error_map(torch.tensor([2.5, 3.0, 9.0]).view(1, 1, 1, 3), torch.full((1, 1, 3), 2.0))
    assert depth.flatten().tolist() == pytest.approx([0.5, 1.0, 1.0])  # 25 %, 50 %, more
    turned = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]).T.reshape(1, 3, 1, 2)
    up = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand_as(turned)
    assert Normals("n").error_map(turned, up).flatten().tolist() == pytest.approx([0.5, 1.0])
    grey = Reconstruction("r", 1).error_map(torch.tensor([[[[0.5, 2.0]]]]), torch.tensor([[[[0.4, 0.5]]]]))
    assert grey.flatten().tolist() == pytest.approx([0.2, 1.0])
    assert Segmentation("s").error_map(torch.eye(2).view(1, 2, 1, 2), torch.tensor([[[0, 0]]])).tolist() == [[[0, 1]]]


def test_colours_say_what_they_mean() -> None:
    names = ("sky", "earth", "sea")
    task = Segmentation("s", names)
    assert list(task.legend()) == list(names)
    shown = task.target_picture(torch.tensor([[[0, 1, 2]]]))[0, 0].tolist()
    assert [tuple(each) for each in shown] == list(task.legend().values())
    depth = Depth("d", near=1.0, far=3.0)
    shown = depth.target_picture(torch.tensor([[[1.0, 2.0, 3.0]]]))[0, 0].tolist()
    assert [tuple(each) for each in shown] == list(depth.legend().values())
    assert sum(shown[0]) > sum(shown[2])  # light is near
    up = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    assert Normals("n").target_picture(up).flatten().tolist() == [0, 128, 255]


def test_what_image_files_hold() -> None:
    assert Segmentation("s", 3).raster(torch.eye(3).view(1, 3, 1, 3)).tolist() == [[[0, 1, 2]]]
    assert Segmentation("s", 256).raster(torch.zeros(1, 256, 1, 1)).dtype == torch.uint8
    assert Segmentation("s", 257).raster(torch.zeros(1, 257, 1, 1)).dtype == torch.uint16
    depth = Depth("d").raster(torch.tensor([1.2344, -3.0, 99.0, NAN]).view(1, 1, 1, 4))
    assert depth.dtype == torch.uint16 and depth.numpy().tolist() == [[[1234, 0, 65535, 0]]]
    normal = Normals("n").raster(torch.tensor([-2.0, 0.0, 0.0]).view(1, 3, 1, 1))
    assert normal.dtype == torch.uint8 and normal.tolist() == [[[[0, 128, 128]]]]
    chance = Edges("e").raster(torch.tensor([-50.0, 0.0, 50.0]).view(1, 1, 1, 3))
    assert chance.dtype == torch.uint8 and chance.tolist() == [[[0, 128, 255]]]
    assert Reconstruction("r").raster(torch.full((1, 3, 1, 1), 1.7)).tolist() == [[[[255, 255, 255]]]]
    assert Reconstruction("r", 1).raster(torch.zeros(1, 1, 1, 2)).tolist() == [[[0, 0]]]


def test_images_that_cannot_be_shown() -> None:
    task = Reconstruction("r", 7)
    assert not task.shown
    with pytest.raises(PolytaskError, match="7 channels, which can't be shown"):
        task.picture(torch.zeros(1, 7, 2, 2))
    with pytest.raises(PolytaskError, match=r"Regression .* has no picture"):
        catalogue.Regression("r").picture(torch.zeros(2, 1))
    assert not catalogue.Regression("r").shown and catalogue.Regression("r").legend() == {}


@every
def test_maps_are_no_columns(kind: str) -> None:
    task, _ = KINDS[kind]
    with pytest.raises(PolytaskError, match=r"maps, .* `polytask predict` on a folder of images"):
        task.columns(said(task))
    assert task.decode(said(task)).shape[-2:] == SIZE[1:]
    assert task.head(5)(torch.zeros(2, 5, 4, 4)).shape == (2, task.outputs, 4, 4)


# --- colours ----------------------------------------------------------------------------------------------------------

# From linear red, green, blue to what is left of them without one kind of cone (Machado, Oliveira, Fernandes 2009).
WITHOUT_RED = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
WITHOUT_GREEN = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))


def cielab(colours: Tensor, seen: tuple[tuple[float, ...], ...] | None = None) -> Tensor:
    share = colours.double() / 255
    linear = torch.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    if seen:
        linear = (linear @ torch.tensor(seen, dtype=torch.float64).T).clamp(0, 1)
    xyz = linear @ torch.tensor(XYZ, dtype=torch.float64).T / torch.tensor([0.95047, 1.0, 1.08883])
    f = torch.where(xyz > 0.008856, xyz ** (1 / 3), 7.787 * xyz + 16 / 116)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


@pytest.mark.parametrize("seen", [None, WITHOUT_RED, WITHOUT_GREEN])
def test_classes_are_told_apart_by_every_eye(seen: tuple[tuple[float, ...], ...] | None) -> None:
    """Two colours 2.3 apart in CIELAB are just told apart."""
    for classes, apart in ((7, 15.0), (28, 7.0), (42, 4.0)):
        lab = cielab(class_colours(classes), seen)
        assert torch.pdist(lab).min() > apart


def test_any_number_of_classes_has_colours_that_stay() -> None:
    many = class_colours(300)
    assert torch.equal(class_colours(5), many[:5])
    assert len({tuple(each) for each in many.tolist()} - {MISSING_COLOUR}) == 300


def test_the_colours_of_a_range_get_lighter_in_even_steps() -> None:
    lightness = cielab(range_colours(torch.linspace(0, 1, 33)))[:, 0]
    steps = lightness.diff()
    assert (steps > 0).all() and steps.max() < 1.5 * steps.min()
    assert range_colours(torch.tensor([-1.0, NAN])).tolist() == [[56, 17, 97]] * 2


def test_a_loop_of_ones_own_is_told_of_targets_in_another_form() -> None:
    depth, parts = Depth("depth"), Segmentation("parts", classes=3)
    shown = {"depth": torch.zeros(2, 1, 4, 4), "parts": torch.zeros(2, 3, 4, 4)}
    with pytest.raises(PolytaskError, match=r"'depth' expects targets of shape \[n, h, w\], got .*take target\[:, 0\]"):
        catalogue.losses([depth], shown, {"depth": torch.ones(2, 1, 4, 4)})
    with pytest.raises(PolytaskError, match="'parts' expects whole class numbers"):
        catalogue.losses([parts], shown, {"parts": torch.full((2, 4, 4), -100.0)})
    with pytest.raises(PolytaskError, match=r"'parts' expects .*255"):
        catalogue.losses([parts], shown, {"parts": torch.full((2, 4, 4), 255)})
    with pytest.raises(PolytaskError, match="expects its targets as a tensor, got ndarray"):
        catalogue.losses([depth], shown, {"depth": torch.ones(2, 4, 4).numpy()})
    assert list(
        catalogue.losses([depth, parts], shown, {"depth": torch.ones(2, 4, 4), "parts": torch.full((2, 4, 4), -100)})
    ) == ["depth"]
