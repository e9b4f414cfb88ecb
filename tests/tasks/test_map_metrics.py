"""Scores of maps: by hand, against scikit-learn and brute force, and the same however the split is cut."""

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from sklearn.metrics import accuracy_score, jaccard_score
from torch import Tensor
from torchmetrics import Metric

from polytask.tasks import (
    BinaryMap,
    Dense,
    Depth,
    Edges,
    ForegroundIoU,
    Landmarks,
    MaxF,
    MeanError,
    MeanIoU,
    MedianError,
    Normals,
    OptimalF,
    PeakSignalToNoise,
    PixelAccuracy,
    Reconstruction,
    RootMeanSquare,
    Segmentation,
    Share,
    Task,
    angles,
    confusion,
)
from polytask.tasks.edge_matching import matched, thinned

NAN = math.nan


def scores(task: Task, prediction: Tensor, target: Tensor, *batches: int) -> dict[str, float]:
    metrics = task.metrics()
    sizes = batches or (len(target),)
    for p, t in zip(prediction.split(sizes), target.split(sizes), strict=True):
        task.update(metrics, p, t)
    return {name: metric.compute().item() for name, metric in metrics.items()}


def shown(metric: Metric, *values: Tensor) -> float:
    metric.update(*values)
    return metric.compute().item()


# --- pooling ----------------------------------------------------------------------------------------------------------


def normals(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(shape[0], 3, *shape[1:]), dim=1)


def cases() -> dict[str, tuple[Task, Tensor, Tensor]]:
    """A task of every kind, predictions and targets of 7 samples, some of their labels missing."""
    torch.manual_seed(3)
    gone = torch.rand(7, 12, 10) < 0.2
    gone[2] = True  # a sample without one label
    edges = (torch.rand(7, 12, 10) < 0.15).to(torch.int8).masked_fill(gone, -100)
    points = torch.rand(7, 4, 2).masked_fill((torch.rand(7, 4, 1) < 0.2), NAN)
    return {
        "segmentation": (
            Segmentation("t", 5),
            torch.randn(7, 5, 12, 10),
            torch.randint(5, (7, 12, 10)).masked_fill(gone, -100),
        ),
        "depth": (Depth("t"), torch.rand(7, 1, 12, 10) * 4, (torch.rand(7, 12, 10) * 4 + 0.1).masked_fill(gone, NAN)),
        "normals": (Normals("t"), torch.randn(7, 3, 12, 10), normals(7, 12, 10).masked_fill(gone[:, None], NAN)),
        "edges": (Edges("t", tolerance=0.1), torch.randn(7, 1, 12, 10), edges),
        "binary": (BinaryMap("t"), torch.randn(7, 1, 12, 10), edges),
        "image": (
            Reconstruction("t"),
            torch.rand(7, 3, 12, 10),
            torch.rand(7, 3, 12, 10).masked_fill(gone[:, None], NAN),
        ),
        "landmarks": (Landmarks("t", 4, between=(0, 1)), torch.rand(7, 8), points),
    }


every = pytest.mark.parametrize("kind", list(cases()))


@every
def test_scores_do_not_depend_on_the_batch_size(kind: str) -> None:
    task, prediction, target = cases()[kind]
    whole = scores(task, prediction, target)
    assert all(math.isfinite(each) for each in whole.values())
    for cut in ((1,) * 7, (3, 4), (2, 1, 4)):
        assert scores(task, prediction, target, *cut) == pytest.approx(whole, rel=1e-9)


@every
def test_states_of_parts_add_up(kind: str) -> None:
    """As those of several processes do."""
    task, prediction, target = cases()[kind]
    first, second = task.metrics(), task.metrics()
    task.update(first, prediction[:5], target[:5])
    task.update(second, prediction[5:], target[5:])
    for name, value in scores(task, prediction, target).items():
        first[name].merge_state(second[name])
        assert first[name].compute().item() == pytest.approx(value, rel=1e-9)


@pytest.mark.distributed
@pytest.mark.slow
def test_two_processes_score_what_one_does(tmp_path: Path) -> None:
    """Two processes with 5 and 2 samples, of every kind of task."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    worker = Path(__file__).with_name("metrics_worker.py")
    torch.save({kind: cases()[kind] for kind in cases()}, tmp_path / "cases.pt")
    running = [
        subprocess.Popen([sys.executable, str(worker), str(tmp_path)], env=os.environ | where | {"RANK": str(rank)})
        for rank in range(2)
    ]
    assert [each.wait(timeout=120) for each in running] == [0, 0]
    for rank in range(2):
        found = json.loads((tmp_path / f"scores{rank}.json").read_text())
        for kind, (task, prediction, target) in cases().items():
            assert found[kind] == pytest.approx(scores(task, prediction, target), rel=1e-9)


@every
def test_missing_pixels_are_not_scored(kind: str) -> None:
    """What is predicted where there is no label changes nothing; nor does a sample without labels."""
    task, prediction, target = cases()[kind]
    whole = scores(task, prediction, target)
    gone = torch.isnan(target) if target.is_floating_point() else target == -100
    if kind == "landmarks":
        other = torch.where(gone.flatten(1), prediction + 9, prediction)
    else:
        gone = gone if gone.ndim == 3 else gone[:, 0]
        other = torch.where(gone[:, None], 9 - prediction, prediction)
        without = torch.arange(7) != 2
        assert scores(task, prediction[without], target[without]) == pytest.approx(whole)
    if kind != "edges":  # predictions decide which of their neighbours are ridges
        assert scores(task, other, target) == pytest.approx(whole)


@every
def test_metrics_start_afresh_and_know_their_direction(kind: str) -> None:
    task, prediction, target = cases()[kind]
    for metric in task.metrics().values():
        assert isinstance(metric.higher_is_better, bool) and not metric.update_called
    metrics = task.metrics()
    task.update(metrics, prediction, target)
    for metric in metrics.values():
        metric.reset()
    task.update(metrics, prediction, target)
    assert {name: metric.compute().item() for name, metric in metrics.items()} == scores(task, prediction, target)


def test_directions_and_units() -> None:
    lower = (MeanError, RootMeanSquare, MedianError)
    higher = (Share, PeakSignalToNoise, MeanIoU, PixelAccuracy, ForegroundIoU, MaxF, OptimalF)
    assert not any(each.higher_is_better for each in lower) and all(each.higher_is_better for each in higher)
    assert Depth("d").metric_units() == {
        "absolute": "m", "relative": "", "rmse": "m", "delta1": "", "delta2": "", "delta3": "",
    }  # fmt: skip
    assert Normals("n").metric_units()["median angle"] == "°" and Normals("n").metric_units()["within 30"] == ""


# --- means and medians ------------------------------------------------------------------------------------------------


def test_depth_by_hand() -> None:
    target = torch.tensor([[[1.0, 2.0], [4.0, NAN]]])
    prediction = torch.tensor([[[[1.2, 1.0], [4.0, 7.0]]]])
    found = scores(Depth("d"), prediction, target)
    assert found["absolute"] == pytest.approx(1.2 / 3)
    assert found["relative"] == pytest.approx((0.2 + 0.5) / 3)
    assert found["rmse"] == pytest.approx(math.sqrt((0.04 + 1) / 3))
    assert (found["delta1"], found["delta2"], found["delta3"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_deltas_are_limits_of_the_ratio_in_both_directions() -> None:
    target = torch.full((1, 1, 7), 1.0)
    prediction = torch.tensor([1.24, 1 / 1.24, 1.26, 1 / 1.57, 1.9, -1.0, 0.0]).view(1, 1, 1, 7)
    found = scores(Depth("d"), prediction, target)
    assert [round(7 * found[name]) for name in ("delta1", "delta2", "delta3")] == [2, 3, 5]


def test_normals_by_hand() -> None:
    target = torch.tensor([[0.0, 0.0, 1.0]] * 4).T.reshape(1, 3, 1, 4).clone()
    target[..., 3] = NAN
    degrees = torch.tensor([10.0, 20.0, 90.0, 5.0]).deg2rad()
    prediction = 7 * torch.stack([degrees.sin(), torch.zeros(4), degrees.cos()]).reshape(1, 3, 1, 4)
    found = scores(Normals("n"), prediction, target)
    assert found["mean angle"] == pytest.approx(40.0) and found["median angle"] == pytest.approx(20.0, abs=0.005)
    assert [found[f"within {name}"] for name in ("11.25", "22.5", "30")] == pytest.approx([1 / 3, 2 / 3, 2 / 3])


def test_small_angles_are_exact() -> None:
    """In single precision, where the arc cosine of a dot product is 0.02 degrees off."""
    for degrees in (1e-3, 0.01, 0.3, 90.0, 179.99):
        turn = math.radians(degrees)
        a = torch.tensor([0.6, 0.8, 0.0]).view(1, 3, 1, 1)
        b = 5 * (math.cos(turn) * a + math.sin(turn) * torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1))
        assert angles(a, b).item() == pytest.approx(degrees, rel=1e-3)
    assert angles(torch.zeros(1, 3, 1, 1), torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)).item() == pytest.approx(90)


@pytest.mark.parametrize("count", [1, 2, 3, 1000, 1001])
def test_medians_are_at_most_half_a_bin_off(count: int) -> None:
    values = torch.rand(count) * 180
    found = shown(MedianError(), values)
    assert abs(found - float(np.median(values.double().numpy()))) <= 0.005 + 1e-6
    metric = MedianError()
    for each in values.split(7):
        metric.update(each)
    assert metric.compute().item() == found


def test_medians_of_the_odd_cases() -> None:
    assert math.isnan(shown(MedianError(), torch.zeros(0)))
    assert shown(MedianError(), torch.tensor([NAN, 500.0, 1.0])) == pytest.approx(180, abs=0.005)
    assert shown(MedianError(), torch.tensor([0.0, 180.0])) == pytest.approx(90, abs=0.005)
    assert shown(MedianError(largest=1.0, bins=10), torch.tensor([0.04, 0.33, 0.91])) == pytest.approx(0.35)


def test_psnr_by_hand() -> None:
    """The error is pooled, then the logarithm taken: 0.01 and 0.0001 have a mean of 0.00505."""
    target = torch.full((2, 1, 3, 3), 0.5)
    prediction = target + torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)
    found = scores(Reconstruction("r", 1), prediction, target, 1, 1)
    assert found["psnr"] == pytest.approx(-10 * math.log10(0.00505), rel=1e-5)
    assert found["mae"] == pytest.approx(0.055, rel=1e-5)


def test_nothing_shown_is_nan() -> None:
    none = torch.zeros(0)
    assert all(math.isnan(shown(metric, none)) for metric in (MeanError(), RootMeanSquare(), Share()))
    assert math.isnan(shown(MeanIoU(3), torch.zeros(3, 3, dtype=torch.int64)))
    assert math.isnan(shown(PixelAccuracy(3), torch.zeros(3, 3, dtype=torch.int64)))


# --- classes ----------------------------------------------------------------------------------------------------------


def test_miou_by_hand() -> None:
    """Class 2 is nowhere and left out; class 3 is predicted once and never a label: it counts with 0."""
    target = torch.tensor([[[0, 0, 1, 1, -100]]])
    said = torch.tensor([[[0, 1, 1, 3, 2]]])
    prediction = torch.nn.functional.one_hot(said, 4).permute(0, 3, 1, 2).float()
    found = scores(Segmentation("s", 4), prediction, target)
    assert found["miou"] == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)
    assert found["pixel accuracy"] == pytest.approx(2 / 4)


def test_classes_agree_with_scikit_learn() -> None:
    target, said = torch.randint(6, (3, 8, 9)), torch.randint(6, (3, 8, 9))
    target[torch.rand(3, 8, 9) < 0.3] = -100
    counts = confusion(said, target, 6)
    y, z = target[target != -100].numpy(), said[target != -100].numpy()
    assert shown(MeanIoU(6), counts) == pytest.approx(jaccard_score(y, z, average="macro"))
    assert shown(PixelAccuracy(6), counts) == pytest.approx(accuracy_score(y, z))
    assert counts.sum() == len(y)


# --- yes or no --------------------------------------------------------------------------------------------------------


def test_binary_maps_by_hand() -> None:
    prediction = torch.tensor([2.0, 1.0, -1.0, 0.5, 5.0]).view(1, 1, 1, 5)
    target = torch.tensor([[[1, 0, 1, 0, -100]]], dtype=torch.int8)
    found = scores(BinaryMap("b"), prediction, target)
    assert found["iou"] == pytest.approx(1 / 4)
    # above 2: P = 1, R = 1/2; everything: P = 1/2, R = 1
    assert found["max f"] == pytest.approx(max(1.3 * 0.5 / (0.3 + 0.5), 1.3 * 0.5 / (0.15 + 1)))


def test_the_largest_f_is_that_of_all_thresholds() -> None:
    chance, target = torch.randint(256, (400,)) / 255, torch.randint(2, (400,))
    best = 0.0
    for threshold in range(256):
        said = (chance * 255).round() >= threshold
        both = (said & (target == 1)).sum().item()
        if both:
            precision, recall = both / said.sum().item(), both / target.sum().item()
            best = max(best, 1.3 * precision * recall / (0.3 * precision + recall))
    assert shown(MaxF(), chance, target) == pytest.approx(best)


# --- edges ------------------------------------------------------------------------------------------------------------


def brute_force(level: Tensor, edges: Tensor, radius: float) -> list[int]:
    """The largest matching at every level, by SciPy."""
    found = []
    for least in range(1, int(level.max()) + 1):
        p, e = (level >= least).nonzero(), edges.nonzero()
        near = torch.cdist(p.double(), e.double()) <= radius
        found.append(int((maximum_bipartite_matching(csr_matrix(near.numpy()), perm_type="column") >= 0).sum()))
    return found


@pytest.mark.parametrize("radius", [0.5, 1.0, 1.5, 2.9])
@pytest.mark.parametrize("density", [0.1, 0.5])
def test_matchings_are_the_largest_at_every_level(radius: float, density: float) -> None:
    for _ in range(5):
        level, edges = torch.randint(0, 6, (9, 11)), torch.rand(9, 11) < density
        level[0, 0] = 5
        assert matched(level, edges, radius, 5)[1:].tolist() == brute_force(level, edges, radius)


def line(column: int, *, height: int = 20, width: int = 20) -> Tensor:
    found = torch.zeros(1, height, width)
    found[..., column] = 1.0
    return found


def ods(chance: Tensor, edges: Tensor, **settings: float) -> float:
    there = torch.ones_like(edges, dtype=torch.bool)
    return shown(OptimalF(**settings), chance, edges > 0, there)


def test_edges_found_exactly_score_one() -> None:
    edges = (torch.rand(2, 20, 20) < 0.1).float()
    edges[:, 4, :] = 1.0
    assert ods(edges * 0.9 + 0.001, edges) == pytest.approx(1.0)


def test_a_line_beside_the_edge_is_within_the_tolerance_or_not() -> None:
    pixel = 1 / math.hypot(20, 20)
    assert ods(line(9), line(8), tolerance=1.01 * pixel) == pytest.approx(1.0)
    assert ods(line(9), line(8), tolerance=0.99 * pixel) == 0.0
    assert ods(line(10), line(8), tolerance=1.5 * pixel) == 0.0


def test_an_edge_is_matched_once() -> None:
    """Two lines around one edge: half of what is found is wrong, though all of it is within the tolerance."""
    both = line(7) + line(9)
    assert ods(both, line(8), tolerance=1.5 / math.hypot(20, 20)) == pytest.approx(2 * 0.5 * 1 / 1.5)


def test_broad_edges_are_thinned() -> None:
    broad = 0.5 * line(7) + 0.9 * line(8) + 0.4 * line(9)
    assert ods(broad, line(8)) == pytest.approx(1.0)
    assert ods(broad, line(8), thin=False) == pytest.approx(1.0)  # one of the thresholds cuts them off
    assert ods(0.9 * broad.clamp(0.6), line(8), thin=False) == pytest.approx(1.0)
    diagonal = torch.zeros(1, 20, 20)
    for shift, height in ((-1, 0.5), (0, 0.9), (1, 0.5)):
        diagonal += height * torch.diag_embed(torch.ones(20 - abs(shift)), shift)
    assert torch.equal(thinned(diagonal)[0, 3:-3, 3:-3] > 0, torch.eye(20)[3:-3, 3:-3] > 0)


def test_level_ground_is_not_thinned() -> None:
    """A constant prediction finds every pixel: P is the share of edges, R is 1."""
    edges = torch.rand(3, 16, 16) < 0.2
    share = edges.float().mean().item()
    assert ods(torch.full((3, 16, 16), 0.4), edges) == pytest.approx(2 * share / (1 + share))


def test_ods_is_one_threshold_for_the_whole_split() -> None:
    """Two images whose best thresholds differ: the score is the best of one threshold for both."""
    edges = torch.rand(2, 16, 16) < 0.2
    chance = torch.rand(2, 16, 16) * torch.tensor([0.3, 0.9]).view(2, 1, 1) + 0.1 * edges
    best = 0.0
    before = None
    for k in range(1, 100):
        said = chance >= k / 100
        both = (said & edges).sum().item()
        now = both / max(said.sum().item(), 1), both / edges.sum().item()
        for step in np.linspace(0, 1, 100) if before else ():
            p, r = (a + step * (b - a) for a, b in zip(before, now, strict=True))
            best = max(best, 2 * p * r / max(p + r, 1e-12))
        before = now
    assert ods(chance, edges, thin=False) == pytest.approx(best)


def test_edges_that_are_not_there() -> None:
    assert ods(line(3), torch.zeros(1, 20, 20)) == 0.0
    assert ods(torch.zeros(1, 20, 20), line(3)) == 0.0
    task, target = Edges("e"), line(5).masked_fill(line(9) > 0, NAN)
    assert scores(task, 20 * (line(5) + line(9))[:, None] - 10, target)["ods f"] == pytest.approx(1.0)


# --- points -----------------------------------------------------------------------------------------------------------


def test_nme_by_hand() -> None:
    task = Landmarks("l", 3, between=(0, 1), failure=0.1)
    target = torch.tensor([
        [[0.2, 0.5], [0.6, 0.5], [0.4, 0.8]],
        [[0.2, 0.5], [0.6, 0.5], [NAN, NAN]],
        [[NAN, NAN], [0.6, 0.5], [0.4, 0.8]],  # no distance between the eyes: not counted
    ])  # fmt: skip
    prediction = target.nan_to_num(0.5).clone()
    prediction[0, 2] += torch.tensor([0.09, 0.12])  # 0.15 off, of three points: 0.05 / 0.4
    prediction[1, 0, 0] += 0.04  # 0.04 off, of two points: 0.02 / 0.4
    found = scores(task, prediction.flatten(1), target)
    assert found["nme"] == pytest.approx((0.125 + 0.05) / 2, rel=1e-5) and found["failures"] == 0.5
    of_the_image = scores(Landmarks("l", 3), prediction.flatten(1), target)
    assert of_the_image["nme"] == pytest.approx((0.05 + 0.02 + 0) / 3, rel=1e-5)


def test_nme_of_images_that_are_not_square() -> None:
    """Twice as wide as high: 0.1 of the width is as long as 0.2 of the height."""
    target = torch.tensor([[[0.5, 0.5]]])
    for off in ([0.1, 0.0], [0.0, 0.2]):
        found = scores(Landmarks("l", 1, aspect=2.0), (target + torch.tensor(off)).flatten(1), target)
        assert found["nme"] == pytest.approx(0.2, rel=1e-5)


def test_only_the_metrics_asked_for() -> None:
    task: Dense = Depth("d", scored=("relative", "absolute"))
    assert list(task.metrics()) == ["relative", "absolute"]
    assert set(scores(task, torch.ones(1, 1, 2, 2), torch.ones(1, 2, 2))) == {"relative", "absolute"}
