"""Augmentation: inputs and targets move together, and what a sample becomes hangs on draw and sample alone."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polytask.balancing import FAMO, Equal
from polytask.data import (
    Augmentation,
    Batches,
    DepthMap,
    LabelMap,
    NormalMap,
    Points,
    RandomFlip,
    RandomScaleCrop,
    TensorData,
    ValueMap,
    View,
    draw_number,
)
from polytask.data._random import uniform
from polytask.errors import PolytaskError
from polytask.sharing import HardSharing, SmallCNN
from polytask.tasks import Depth, MultiClass, Segmentation
from polytask.training import Budget, fit

H, W = 8, 12
FOLLOW = {"parts": LabelMap(), "depth": DepthMap(), "normals": NormalMap(), "colours": ValueMap()}


def rooms(rows: int = 10, missing: bool = True, moves: tuple = (RandomScaleCrop(), RandomFlip())) -> TensorData:
    generator = torch.Generator().manual_seed(rows)
    parts = torch.randint(5, (rows, H, W), generator=generator).to(torch.int8)
    depth = torch.rand(rows, H, W, generator=generator) + 1
    normals = F.normalize(torch.randn(rows, 3, H, W, generator=generator), dim=1)
    if missing:
        parts[:, 2:5, 3:6] = -100
        depth[:, 4:, :2] = torch.nan
        normals[1::2] = torch.nan
    targets = {"parts": parts, "depth": depth, "normals": normals, "kind": torch.arange(rows) % 3}
    pixels = torch.randint(256, (rows, 3, H, W), dtype=torch.uint8, generator=generator)
    return TensorData(pixels, targets, as_floats, Augmentation(moves, FOLLOW))


def as_floats(x: Tensor) -> Tensor:
    return x.float() / 255


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name].nan_to_num(-7), b[name].nan_to_num(-7)) for name in a)


# --- random numbers ---------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_splitmix() -> None:
    """The first outputs of SplitMix64 from state 1234567, as published with its reference implementation."""
    from polytask.data._random import _STEP, _mix

    found = _mix(1234567 + torch.arange(1, 3) * _STEP)
    assert [each % 2**64 for each in found.tolist()] == [6457827717110365317, 3203168211198807973]


def test_numbers_hang_on_draw_and_sample_alone() -> None:
    samples = torch.tensor([4, 900, 4, 17])
    found = uniform(draw_number(3, 20), samples, 5)
    assert found.shape == (4, 5) and torch.equal(found[0], found[2])
    assert torch.equal(found[1:2], uniform(draw_number(3, 20), samples[1:2], 5))
    assert torch.equal(found[:, :2], uniform(draw_number(3, 20), samples, 2))
    others = [uniform(draw_number(*at), samples, 5) for at in ((3, 21), (4, 20), (20, 3))]
    assert all(not torch.isclose(found, other).any() for other in others)
    uniform(draw_number(10**12, 10**9), samples, 1)  # as large as one likes
    uniform(-1, samples, 1)


def test_numbers_are_uniform_and_do_not_go_together() -> None:
    samples = torch.arange(20_000)
    table = torch.cat([uniform(draw_number(0, step), samples, 3) for step in range(3)], 1)
    assert table.min() >= 0 and table.max() < 1
    share = torch.stack([torch.histc(each, 10, 0, 1) for each in table.T]) / len(samples)
    assert (share - 0.1).abs().max() < 4 * math.sqrt(0.09 / len(samples))
    together = torch.corrcoef(torch.cat([table.T, table.roll(1, 0).T])) - torch.eye(18)
    assert together.abs().max() < 4.5 / math.sqrt(len(samples))


# --- windows ----------------------------------------------------------------------------------------------------------


def window(top: float, left: float, extent: float) -> View:
    return View(torch.tensor([[top, left]]).double(), torch.full((1, 2), extent).double())


def test_a_window_of_whole_pixels_is_cut_and_resized() -> None:
    maps = torch.rand(1, 3, H, W)
    view, cut = window(2 / 8, 6 / 12, 0.5), maps[..., 2:6, 6:12]
    assert torch.equal(view.nearest(maps), F.interpolate(cut, (H, W), mode="nearest-exact"))
    inside = F.interpolate(cut, (H, W), mode="bilinear", align_corners=False)[..., 1:-1, 1:-1]
    torch.testing.assert_close(view.bilinear(maps)[..., 1:-1, 1:-1], inside)  # beyond the cut there is more picture
    assert view.zoom.item() == pytest.approx(2)


def test_windows_in_windows() -> None:
    """A crop and a flip after it are the flip of the crop; their order matters."""
    maps = torch.rand(1, H, W)
    crop = window(0.25, 0.5, 0.5)
    flip = View(torch.tensor([[0.0, 1.0]]).double(), torch.tensor([[1.0, -1.0]]).double())
    assert torch.equal(crop.within(flip).nearest(maps), crop.nearest(maps).flip(-1))
    assert torch.equal(flip.within(crop).nearest(maps), crop.nearest(maps.flip(-1)))
    assert torch.equal(flip.within(flip).bilinear(maps), maps)
    assert bool(crop.within(flip).mirrored) and not bool(flip.within(flip).mirrored)


def test_drawn_windows_lie_in_the_picture_and_everywhere_in_it() -> None:
    view = RandomScaleCrop()(uniform(0, torch.arange(3000), 3))
    far = view.origin + view.extent
    assert view.origin.min() >= 0 and far.max() <= 1 + 1e-12
    shares = [((view.zoom - scale).abs() < 1e-9).double().mean().item() for scale in (1.0, 1.2, 1.5)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.03)
    large = view.origin[view.zoom > 1.4]
    assert large.min() < 0.01 and large.max() > 1 / 3 - 0.01 and large.mean().item() == pytest.approx(1 / 6, abs=0.01)
    assert RandomFlip()(uniform(0, torch.arange(3000), 1)).mirrored.double().mean().item() == pytest.approx(
        0.5, abs=0.03
    )


# --- what targets become ----------------------------------------------------------------------------------------------


def test_inputs_and_targets_move_together() -> None:
    """A target that says the same as the picture still does."""
    ramp = torch.linspace(0, 1, W).expand(6, 1, H, W) + torch.linspace(0, 1, H)[:, None]
    classes = (ramp[:, 0] > 1).long()
    moves = Augmentation((RandomScaleCrop(), RandomFlip()), {"value": ValueMap(), "class": LabelMap()})
    data = TensorData(ramp, {"value": ramp[:, 0], "class": classes}, augment=moves)
    rows = torch.arange(6)
    for draw in range(5):
        inputs, targets = data.piece(rows, rows, draw)
        assert not torch.equal(inputs, ramp)
        assert torch.equal(inputs[:, 0], targets["value"])
        sure = (inputs[:, 0] - 1).abs() > 1 / H  # farther from the border of the classes than a pixel
        assert torch.equal((inputs[:, 0] > 1).long()[sure], targets["class"][sure])


@pytest.mark.parametrize("follower", [ValueMap(), DepthMap()])
def test_missing_values_do_not_bleed(follower: ValueMap | DepthMap) -> None:
    """Where there is a number it is one of those that were there, as if nothing were missing elsewhere."""
    depth = torch.full((1, H, W), 3.0)
    depth[0, 2:5, 3:7], depth[0, 0, 0] = torch.nan, 3.0
    view = window(0.1, 0.13, 1 / 1.5)
    found = follower(depth, view)
    there = ~torch.isnan(found)
    assert torch.equal(there, view.nearest(~torch.isnan(depth)))
    torch.testing.assert_close(found[there], follower(torch.full((1, H, W), 3.0), view)[there])
    assert follower(torch.full((1, H, W), torch.nan), view).isnan().all()


def test_a_far_missing_value_changes_no_bit() -> None:
    depth = torch.rand(2, 40, 50)
    holed = depth.clone()
    holed[:, :3, :3] = torch.nan
    view = View(torch.tensor([[0.2, 0.2], [0.3, 0.1]]).double(), torch.full((2, 2), 1 / 1.5).double())
    assert torch.equal(view.bilinear(depth), view.bilinear(holed))


def test_depth_is_divided_by_the_zoom_and_only_then() -> None:
    depth = torch.rand(3, H, W) + 1
    view = RandomScaleCrop((1.0, 1.5))(torch.tensor([[0.0, 0.5, 0.5], [0.9, 0.0, 0.0], [0.9, 0.7, 0.2]]).double())
    assert torch.equal(DepthMap()(depth, view)[0], depth[0])
    torch.testing.assert_close(DepthMap()(depth, view)[1:] * 1.5, ValueMap()(depth, view)[1:])


def test_mirrored_normals_are_the_normals_of_the_mirrored_scene() -> None:
    """Normals from differences of a height map, and of its mirror image."""

    def normals_of(height: Tensor) -> Tensor:
        down, right = torch.gradient(height, dim=(1, 2))
        return F.normalize(torch.stack([right, down, -torch.ones_like(height)], 1), dim=1)

    height = torch.rand(2, H, W)
    flip = RandomFlip(share=1)(torch.zeros(2, 1).double())
    torch.testing.assert_close(NormalMap()(normals_of(height), flip), normals_of(height.flip(-1)))
    zoomed = NormalMap()(normals_of(height[:1]), window(0.2, 0.1, 0.6))
    torch.testing.assert_close(zoomed.norm(dim=1), torch.ones(1, H, W))  # of unit length, whatever the zoom


def test_points_are_where_the_picture_shows_them() -> None:
    """A bright pixel is found again where its point went, and left and right change names in a mirror."""
    pictures, points = torch.zeros(40, 1, 60, 80), torch.rand(40, 2, 2) * 0.9 + 0.05
    for number, (first, second) in enumerate(points):
        for (x, y), light in ((first, 0.5), (second, 1.0)):
            row, column = int(y * 60), int(x * 80)
            pictures[number, 0, row - 1 : row + 2, column - 1 : column + 2] = light
    moves = Augmentation((RandomScaleCrop(), RandomFlip()), {"eyes": Points(((0, 1),))})
    data = TensorData(pictures, {"eyes": points}, augment=moves)
    rows = torch.arange(40)
    batch = data.piece(rows, rows, 0)
    view = View.whole(40)
    for move, part in zip(moves.moves, uniform(0, rows, 4).split([3, 1], 1), strict=True):
        view = view.within(move(part))
    lost = 0
    for image, found, mirrored in zip(batch.inputs[:, 0], batch.targets["eyes"], view.mirrored.tolist(), strict=True):
        for name, (x, y) in enumerate(found.tolist()):
            if math.isnan(x):
                lost += 1
                continue
            seen = image[min(int(y * 60), 59), min(int(x * 80), 79)].item()
            expected = (1.0, 0.5)[name] if mirrored else (0.5, 1.0)[name]
            assert seen == pytest.approx(expected, abs=0.1) or seen == 1.0  # the two may overlap
    assert 0 < lost < 40 and batch.counts["eyes"] == 160 - 2 * lost and "eyes" not in batch.complete


def test_points_outside_the_picture_stay_and_missing_ones_are_missing() -> None:
    target = torch.tensor([[[1.2, 0.5], [torch.nan, torch.nan], [0.9, 0.9]]])
    found = Points()(target, window(0.0, 0.0, 0.5))
    assert found[0, 0].tolist() == pytest.approx([2.4, 1.0]) and found[0, 1:].isnan().all()
    with pytest.raises(PolytaskError, match=r"points must have the shape .*got \[1, 3, 2\] and pairs \(\(0, 3\),\)"):
        Points(((0, 3),))(target, View.whole(1))


# --- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [True, False])
def test_pieces_and_processes_see_what_one_sees(missing: bool) -> None:
    data, whole, draw = rooms(missing=missing), torch.tensor([8, 3, 5, 0, 9, 2]), draw_number(2, 40)
    joined = data.piece(whole, whole, draw)
    for cut in (whole.tensor_split(2), [whole[0::3], whole[1::3], whole[2::3]], whole.split(1)):
        for index in cut:
            piece = rooms(missing=missing).piece(index, whole, draw)
            places = [whole.tolist().index(each) for each in index.tolist()]
            assert torch.equal(piece.inputs, joined.inputs[places])
            assert same(piece.targets, {name: target[places] for name, target in joined.targets.items()})
            assert piece.counts == joined.counts and piece.complete == joined.complete
    alone = data.piece(whole[:1], whole[:1], draw)
    assert torch.equal(alone.inputs, joined.inputs[:1])


def test_labels_are_counted_after_the_augmentation() -> None:
    data, rows = rooms(), torch.arange(10)
    for draw in range(4):
        batch = data.piece(rows, rows, draw)
        there = {name: t != -100 if name in ("parts", "kind") else ~t.isnan() for name, t in batch.targets.items()}
        assert batch.counts == {name: float(each.sum()) for name, each in there.items()}
        assert batch.complete == {"kind"}
        assert data.piece(rows[:3], rows, draw).counts == batch.counts  # asked again, and in part
    assert len({data.piece(rows[:4], rows, draw).counts["parts"] for draw in range(6)}) > 3
    assert rooms(missing=False).piece(rows, rows, 0).complete == {"parts", "depth", "normals", "kind"}


def test_labels_that_leave_the_picture_leave_the_task_absent() -> None:
    corner = torch.full((1, H, W), -100)
    corner[0, 0, 0] = 1
    data = TensorData(
        torch.rand(1, 1, H, W),
        {"a": corner},
        augment=Augmentation((RandomScaleCrop((4.0,)),), FOLLOW | {"a": LabelMap()}),
    )
    row = torch.zeros(1, dtype=torch.long)
    seen = [data.piece(row, row, draw) for draw in range(20)]
    assert any(not batch.targets and not batch.counts for batch in seen)
    assert all(batch.targets.keys() == batch.counts.keys() for batch in seen)


def test_only_what_is_asked_for_is_augmented() -> None:
    data, rows = rooms(), torch.arange(10)
    plain = TensorData(data.inputs, data.targets, as_floats)
    for batch, other in zip(
        (data.gather(rows), data.piece(rows[:3], rows)), (plain.gather(rows), plain.piece(rows[:3], rows)), strict=True
    ):
        assert torch.equal(batch.inputs, other.inputs) and same(batch.targets, other.targets)
        assert batch.counts == other.counts
    assert torch.equal(next(iter(Batches(data, 10))).inputs, plain.gather(rows).inputs)
    before = torch.get_rng_state()
    first, again, other = (data.piece(rows, rows, draw).inputs for draw in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_batches_of_ones_own_loop() -> None:
    data = rooms()
    batches = Batches(data, 4, shuffle=True, seed=3, augmented=True)
    whole = [batch.inputs for epoch in (0, 1) for batch in batches.at(epoch)]
    assert all(torch.equal(a, b.inputs) for a, b in zip(whole[4:], batches.at(1, 1), strict=True))  # in the middle
    assert len({batch.double().sum().item() for batch in whole}) == 6
    orders = [each for epoch in (0, 1) for each in batches.at(epoch).indices()]
    assert torch.equal(data.piece(orders[4], orders[4], draw_number(3, 4)).inputs, whole[4])
    from dataclasses import replace

    parts = [list(replace(batches, rank=rank, world=2)) for rank in (0, 1)]
    assert torch.equal(parts[1][0].inputs, whole[0][1::2]) and parts[0][2].counts == parts[1][2].counts


def test_select_only_and_fingerprint_know_the_augmentation() -> None:
    data, row = rooms(), torch.zeros(1, dtype=torch.long)
    for part in (data.select(torch.arange(5)), data.only("depth"), data.only("kind"), data.only("normals")):
        assert part.augment is data.augment
        assert torch.equal(part.piece(row, row, 5).inputs, data.piece(row, row, 5).inputs)
    prints = [
        TensorData(data.inputs, data.targets, as_floats, augment).fingerprint()
        for augment in (
            None,
            Augmentation((RandomFlip(),), FOLLOW),
            Augmentation((RandomFlip(0.4),), FOLLOW),
            Augmentation((RandomScaleCrop(),), FOLLOW),
            Augmentation((RandomFlip(),), FOLLOW | {"depth": ValueMap()}),
        )
    ]
    assert len(set(prints)) == 5
    assert prints[0] == TensorData(data.inputs, data.targets, as_floats).fingerprint()
    assert rooms().fingerprint() == rooms().fingerprint()


def test_targets_of_another_size_than_the_input() -> None:
    stripes = (torch.arange(W) // 4).expand(4, H, W).contiguous()
    twice = stripes.repeat_interleave(2, 1).repeat_interleave(2, 2)
    follow = {"stripes": LabelMap(), "twice": LabelMap()}
    moves = Augmentation((RandomScaleCrop(), RandomFlip()), follow)
    data = TensorData(rooms(4).inputs, {"stripes": stripes, "twice": twice}, as_floats, moves)
    rows = torch.arange(4)
    for draw in range(5):
        found = data.piece(rows, rows, draw).targets
        larger = found["stripes"].repeat_interleave(2, 1).repeat_interleave(2, 2)
        wrong = (
            (larger != found["twice"]).double().mean(1).sum(1)
        )  # pixels of a row: half a pixel at each of two borders
        assert wrong.max() <= 2


class Darker:
    """An augmentation of one's own: a function with a number of random numbers."""

    numbers = 1

    def keeps(self, target: str) -> bool:
        return True

    def __call__(self, inputs, targets, random):
        return (inputs * random.float()[:, :, None, None], targets) if len(inputs) else ({}, targets)


def test_an_augmentation_of_ones_own() -> None:
    data = TensorData(torch.ones(3, 1, 2, 2), {"a": torch.arange(3)}, augment=Darker())
    rows = torch.arange(3)
    found = data.piece(rows, rows, 9).inputs[:, 0, 0, 0]
    torch.testing.assert_close(found, uniform(9, rows, 1)[:, 0].float())
    assert data.fingerprint() != TensorData(torch.ones(3, 1, 2, 2), {"a": torch.arange(3)}).fingerprint()


# --- what can't be ----------------------------------------------------------------------------------------------------


def test_what_cannot_be_is_said_before_training() -> None:
    pictures, targets = torch.rand(2, 3, H, W), {"depth": torch.rand(2, H, W)}
    flip = Augmentation((RandomFlip(),))
    with pytest.raises(
        PolytaskError, match=r"'depth' are maps or points .*\[8, 12\].*targets=\{'depth': LabelMap\(\)\}"
    ):
        TensorData(pictures, targets, augment=flip)
    with pytest.raises(PolytaskError, match=r"no image among the inputs, .*\[3\] torch.float32"):
        TensorData(torch.rand(2, 3), {"a": torch.zeros(2)}, augment=flip)
    with pytest.raises(PolytaskError, match="bytes become that by a `transform`"):
        TensorData((pictures * 255).byte(), {"a": torch.zeros(2)}, augment=flip)
    with pytest.raises(PolytaskError, match=r"normals must have the shape \[b, 3, h, w\], got \[1, 8, 12\]"):
        TensorData(pictures, targets, augment=Augmentation((RandomFlip(),), {"depth": NormalMap()}))
    for made in (
        lambda: RandomScaleCrop((0.5,)),
        lambda: RandomScaleCrop(()),
        lambda: RandomFlip(2),
        lambda: Augmentation(()),
    ):
        with pytest.raises(PolytaskError):
            made()


# --- training ---------------------------------------------------------------------------------------------------------

TASKS = (Segmentation("parts", classes=5), Depth("depth"), MultiClass("kind", 3))


class Watched(TensorData):
    """Remembers the draws that it was asked for, and counts the pieces."""

    draws: list

    def piece(self, index, whole, draw=None, device=None):
        self.__dict__.setdefault("draws", []).append(draw)
        return super().piece(index, whole, draw, device)


def trained(folder: Path | None = None, epochs: int = 2, data: TensorData | None = None, balancer=None, **more):
    torch.manual_seed(0)
    model = HardSharing(SmallCNN(3, widths=(4, 8)), TASKS)
    data = data or rooms()
    fit(
        model, TASKS, data, data, balancer or Equal(), Budget(epochs=epochs, batch_size=5, **more), seed=1,
        folder=folder, trackers=(), checkpoint_every=1,
    )  # fmt: skip
    return torch.cat([each.flatten().float() for each in model.state_dict().values()])


def test_training_goes_on_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from polytask.training.steps import Steps

    whole = trained()
    assert not torch.equal(whole, trained(data=TensorData(rooms().inputs, rooms().targets, as_floats)))
    usual, steps = Steps.gradients, []

    def stops(self, *args):
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return usual(self, *args)

    monkeypatch.setattr(Steps, "gradients", stops)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run")
    assert torch.equal(trained(tmp_path / "run"), whole) and len(steps) == 5


def test_a_run_with_another_augmentation_is_another_run(tmp_path: Path) -> None:
    trained(tmp_path / "run", epochs=1)
    with pytest.raises(PolytaskError):
        trained(tmp_path / "run", epochs=1, data=rooms(moves=(RandomFlip(),)))


def test_draws_are_seed_and_step_and_a_second_look_sees_the_same() -> None:
    data = rooms()
    watched = Watched(data.inputs, data.targets, as_floats, data.augment)
    watched.draws = []
    trained(data=watched, balancer=FAMO(), accumulate=2)
    asked = [draw for draw in watched.draws if draw is not None]
    assert sorted(set(asked)) == [draw_number(1, step) for step in range(4)]
    assert [asked.count(draw) for draw in sorted(set(asked))] == [4] * 4  # two pieces, and two looked at again
