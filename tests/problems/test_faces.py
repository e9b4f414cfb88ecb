"""Drawn faces: landmarks are where the pixels are, labels can be seen. MTFL: splits, mirrors, bad files."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from polytask.data import Augmentation, RandomFlip, SidedClasses, TensorData
from polytask.data.views import View
from polytask.errors import PolytaskError
from polytask.problems import faces, mtfl
from polytask.problems.faces import anatomy
from polytask.problems.faces.chance import TURNS, traits
from polytask.problems.faces.draws import Draws
from polytask.problems.faces.parts import NOWHERE, Ellipsoid, Rays, seen
from polytask.problems.faces.problem import FOLLOW
from polytask.problems.faces.render import Faces, paint, render
from polytask.problems.faces.traits import Traits

SIZE = 160
FACES = 12


def plain_faces(turn: float) -> Traits:
    """Some faces without glasses, beard and hair, turned so far (radians), that look ahead."""
    drawn = traits(Draws(3, range(FACES)))
    none, zero = np.zeros((FACES, 1, 1), bool), np.zeros((FACES, 1, 1), np.float32)
    return Traits(
        replace(drawn.stance, turn=zero + np.float32(turn)),
        drawn.shape,
        replace(drawn.mimic, look_x=zero, look_y=zero),
        replace(drawn.style, glasses=none, long=none, fringe=none, bald=~none, beard=zero),
    )


def pictures(data: TensorData) -> Tensor:
    assert isinstance(data.inputs, Tensor)
    return data.inputs


def changed(who: Traits, **style: Any) -> np.ndarray:
    """[n, h, w] which pixels another style changes."""
    before, after = (
        paint(each, Draws(3, range(FACES)), SIZE, lambda colours: colours[:, :1]).colours[:, 0]
        for each in (who, replace(who, style=replace(who.style, **style)))
    )
    return np.abs(after - before)


def places(who: Traits) -> np.ndarray:
    """Landmarks in pixels, [n, 5, 2]: 0 is the middle of the first one."""
    frame = anatomy.axes(who.stance)
    return SIZE * anatomy.shown(anatomy.landmarks(who.shape, who.mimic), who.stance, frame) - 0.5


# --- geometry ---------------------------------------------------------------------------------------------------------


def test_a_ball_is_a_disc_of_known_depth_and_area() -> None:
    line = np.linspace(-1, 1, 81, dtype=np.float32)
    zero, one = np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32)
    x, y = np.broadcast_to(line, (1, 81, 81)), np.broadcast_to(line[:, None], (1, 81, 81))
    axes = (one, zero, zero), (zero, one, zero), (zero, zero, one)
    rays = Rays(axes, line[None, None], line[None, :, None], one * 0.025)
    found = seen(Ellipsoid((0.2, 0.0, 0.3), (0.5, 0.5, 0.5)), rays)
    inside = 0.25 - (x - 0.2) ** 2 - y**2
    well = inside > 0.02
    assert found.depth[well] == pytest.approx(0.3 + np.sqrt(inside[well]), abs=1e-5)
    assert (found.depth[inside < -0.05] == NOWHERE).all()
    assert found.cover.sum() * 0.025**2 == pytest.approx(np.pi / 4, rel=2e-3)  # outlines are antialiased
    normal = np.stack([(x - 0.2)[well], y[well], np.sqrt(inside[well])]) * 2
    across = found.along((one, zero, zero))[well], found.along((zero, zero, one))[well]
    assert across[0] == pytest.approx(normal[0], abs=1e-4)
    assert across[1] == pytest.approx(normal[2], abs=1e-4)


def test_the_picture_turns_as_the_angles_say() -> None:
    """Against matrices written out, and towards the sides that the classes name."""
    stance = traits(Draws(1, range(6))).stance
    x, y, towards = (np.concatenate([each[:, 0] for each in axis], 1) for axis in anatomy.axes(stance))
    for k in range(6):
        (st, ct), (sn, cn), (sr, cr) = (
            (np.sin(a[k, 0, 0]), np.cos(a[k, 0, 0])) for a in (stance.turn, stance.nod, stance.tilt)
        )
        turn = np.array([[ct, 0, st], [0, 1, 0], [-st, 0, ct]])
        nod = np.array([[1, 0, 0], [0, cn, sn], [0, -sn, cn]])
        tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        assert np.stack([x[k], y[k], towards[k]]) == pytest.approx(tilt @ nod @ turn, abs=1e-6)
    ahead = np.array([0, 0, 1.0])
    assert np.sign(x @ ahead)[np.abs(stance.tilt[:, 0, 0]) < 0.1] == pytest.approx(
        np.sign(stance.turn[:, 0, 0])[np.abs(stance.tilt[:, 0, 0]) < 0.1]
    )


@pytest.mark.parametrize("turn", [-0.7, 0.0, 0.5])
def test_eyes_are_painted_where_the_landmarks_say(turn: float) -> None:
    who = plain_faces(turn)
    seen_at = places(who)
    near = [0, 1] if abs(turn) < 0.3 else [int(turn < 0)]
    for eye in near:
        mask = changed(who, iris=who.style.iris + 1)
        rows, columns = np.mgrid[:SIZE, :SIZE]
        for k in range(FACES):
            x, y = seen_at[k, eye]
            iris = mask[k] * (np.hypot(columns - x, rows - y) < 0.08 * SIZE)
            middle = np.array([(columns * iris).sum(), (rows * iris).sum()]) / iris.sum()
            assert np.hypot(*(middle - (x, y))) < 1.2, k  # of 160 pixels


def test_the_mouth_ends_where_the_landmarks_say() -> None:
    who = plain_faces(0.0)
    who = replace(who, stance=replace(who.stance, tilt=np.zeros_like(who.stance.tilt)))
    change = changed(who, lips=who.style.lips + 1)
    mask = change > 0.15 * change.max((1, 2), keepdims=True)
    off = []
    for k, (left, right) in enumerate(places(who)[:, 3:]):
        rows, columns = mask[k].nonzero()
        for corner, end in ((left, columns.min()), (right, columns.max())):
            assert abs(corner[0] - end) < 1.6  # of 160 pixels
            off.append(corner[1] - rows[columns == end].mean())
    assert abs(np.mean(off)) < 1 and np.abs(off).max() < 4  # steep there: a column too far is a row too low


def test_a_smile_moves_the_corners_and_a_turn_all_points() -> None:
    drawn = render(0, range(600), 32)
    eyes = drawn.landmarks[:, 1] - drawn.landmarks[:, 0]
    apart = np.hypot(*eyes.T)
    mouth = np.hypot(*(drawn.landmarks[:, 4] - drawn.landmarks[:, 3]).T) / apart
    smile = drawn.smile == 1
    assert mouth[smile].mean() > 1.2 * mouth[~smile].mean()
    sideways = ((drawn.landmarks[:, 2] - drawn.landmarks[:, :2].mean(1)) * eyes).sum(1) / apart**2
    by_pose = [np.median(sideways[drawn.pose == pose]) for pose in range(5)]
    assert by_pose[0] < -0.3 < by_pose[1] < -0.1 < by_pose[2] < 0.1 < by_pose[3] < 0.3 < by_pose[4]
    edges = np.array(TURNS)
    assert (drawn.turn >= edges[drawn.pose] - 1e-3).all() and (drawn.turn <= edges[drawn.pose + 1] + 1e-3).all()
    assert drawn.landmarks.min() > 0 and drawn.landmarks.max() < 1


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_face_hangs_on_seed_and_number_alone() -> None:
    many, one = render(7, range(3, 9), 40), render(7, range(5, 6), 40)
    for name in Faces.__dataclass_fields__:
        assert np.array_equal(getattr(many, name)[2:3], getattr(one, name)), name
    assert not np.array_equal(render(8, range(5, 6), 40).image, one.image)


def around(drawn: Faces, first: int, second: int) -> np.ndarray:
    """What is between two landmarks, [n, pixels], in units of the distance of the eyes, brightness taken out."""
    size = drawn.image.shape[-1]
    eyes = drawn.landmarks[:, 1] - drawn.landmarks[:, 0]
    right = eyes / np.hypot(*eyes.T)[:, None] * np.abs(eyes[:, :1]).clip(0.2)
    down = np.stack([-right[:, 1], right[:, 0]], 1)
    middle = drawn.landmarks[:, [first, second]].mean(1)
    x, y = (each.ravel() for each in np.meshgrid(np.linspace(-0.9, 0.9, 16), np.linspace(-0.5, 0.5, 10)))
    at = middle[:, None] + x[:, None] * right[:, None] + y[:, None] * down[:, None]
    column, row = (at * size).astype(int).clip(0, size - 1).transpose(2, 0, 1)
    patch = drawn.image[np.arange(len(at))[:, None], 0, row, column].astype(float)
    return (patch - patch.mean(1, keepdims=True)) / patch.std(1, keepdims=True)


def test_every_attribute_can_be_seen() -> None:
    """By linear classifiers of pixels, far better than by naming the larger class always."""
    drawn = render(5, range(1200), 40)
    whole = drawn.image.reshape(1200, -1) / 255 - 0.5
    cases = [
        (around(drawn, 3, 4), drawn.smile, 0.8),  # half of them
        (around(drawn, 0, 1), drawn.glasses, 0.85),  # 35 %
        (whole, drawn.hair, 0.75),  # half
        (whole, drawn.pose, 0.47),  # 40 % frontal
    ]
    found = [
        LogisticRegression(C=0.01, max_iter=50).fit(pixels[:800], label[:800]).score(pixels[800:], label[800:])
        for pixels, label, _ in cases
    ]
    assert all(share > least for share, (_, _, least) in zip(found, cases, strict=True)), found


def test_colours() -> None:
    grey, colour = (faces(n_train=40, colour=each).splits["train"] for each in (False, True))
    assert pictures(grey).shape == (40, 1, 40, 40) and pictures(colour).shape == (40, 3, 40, 40)
    for name, target in grey.targets.items():
        assert torch.equal(target, colour.targets[name])


@pytest.mark.parametrize(
    "wrong, told", [({"n_train": 3}, "at least 40"), ({"size": 20}, "at least 32"), ({"seed": -1}, "from 0 to 2")]
)
def test_what_faces_refuses(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        faces(**({"n_train": 40} | wrong))


# --- MTFL -------------------------------------------------------------------------------------------------------------


def archive(path: Path, sources: list[int], levels: Sequence[int] = range(256), **other: Any) -> Path:
    """A file as those of MTFL: pictures of one grey each."""
    n = len(sources)
    files = []
    for k in range(n):
        file = io.BytesIO()
        Image.fromarray(np.full((96, 96, 3), levels[k], np.uint8)).save(file, "PNG")
        files.append(np.frombuffer(file.getvalue(), np.uint8))
    draw = np.random.default_rng(0)
    content = {
        "image_data": np.concatenate(files),
        "image_offset": np.cumsum([0, *map(len, files)]),
        "landmarks": draw.random((n, 5, 2), np.float32),
        "pose": np.arange(n, dtype=np.uint8) % 5,
        "smile": np.arange(n, dtype=np.uint8) % 2,
        "glasses": np.arange(n, dtype=np.uint8) // 2 % 2,
        "gender": np.arange(n, dtype=np.uint8) // 3 % 2,
        "source": np.array(sources, np.uint8),
    }
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **(content | other))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    archive(tmp_path / "mtfl" / "train.npz", [0] * 40 + [1] * 60)
    archive(tmp_path / "mtfl" / "test.npz", [2] * 30)
    return tmp_path


def levels(data: TensorData) -> list[int]:
    images = pictures(data)
    assert (images == images[:, :1, :1, :1]).all()
    return images[:, 0, 0, 0].tolist()


def test_validation_is_a_tenth_of_each_source(root: Path) -> None:
    problem = mtfl(root)
    train, validation, test = (problem.splits[name] for name in ("train", "validation", "test"))
    assert (len(train), len(validation), len(test)) == (90, 10, 30)
    assert sum(level < 40 for level in levels(validation)) == 4
    assert not set(levels(train)) & set(levels(validation))
    for data in (train, validation):  # labels go with their pictures
        rows = torch.tensor(levels(data))
        assert torch.equal(data.targets["pose"], rows % 5) and torch.equal(data.targets["gender"], rows // 3 % 2)
    assert [task.name for task in problem.tasks if not task.auxiliary] == ["landmarks"]
    again = mtfl(**problem.spec["args"])
    assert again.fingerprint() == problem.fingerprint() and again.tasks == problem.tasks
    few = mtfl(root, n_train=12, size=32, colour=True)
    assert {name: len(data) for name, data in few.splits.items()} == {"train": 12, "validation": 6, "test": 6}
    assert pictures(few.splits["train"]).shape[1:] == (3, 32, 32)


def test_a_picture_that_is_there_twice_is_trained_on(root: Path) -> None:
    archive(root / "mtfl" / "train.npz", [0] * 100, levels=[7] * 60 + [*range(100, 140)])
    problem = mtfl(root)
    assert 7 not in levels(problem.splits["validation"]) and levels(problem.splits["train"]).count(7) == 60
    assert len(problem.splits["validation"]) == 10


def test_missing_points_stay_missing(root: Path) -> None:
    points = np.full((100, 5, 2), 0.5, np.float32)
    points[:, :, 0] += np.linspace(0, 0.2, 100)[:, None]
    points[:50, 2] = np.nan
    archive(root / "mtfl" / "train.npz", [0] * 100, landmarks=points)
    problem = mtfl(root)
    counts = {name: data.counts()["landmarks"] for name, data in problem.splits.items()}
    assert counts["train"] + counts["validation"] == 2 * (500 - 50)


def test_a_mirror_swaps_points_and_poses() -> None:
    """Face, points and class of a mirrored face are those of the face that looks the other way."""
    drawn = render(0, range(12), 40)
    mirror = Augmentation((RandomFlip(share=1),), FOLLOW)
    points, pose = torch.from_numpy(drawn.landmarks), torch.from_numpy(drawn.pose)
    image = torch.from_numpy(drawn.image).float()
    shown, targets = mirror(image, {"landmarks": points, "pose": pose}, torch.zeros(12, 1))
    assert isinstance(shown, Tensor) and torch.equal(shown, image.flip(3))
    assert torch.equal(targets["pose"], 4 - pose)
    there = targets["landmarks"]
    assert there[:, [1, 0, 2, 4, 3], 0] == pytest.approx(1 - points[:, :, 0].numpy(), abs=1e-6)
    assert there[:, [1, 0, 2, 4, 3], 1] == pytest.approx(points[:, :, 1].numpy())
    frontal = drawn.pose == 2
    assert (there[frontal, 0, 0] < there[frontal, 1, 0]).all()


def test_sided_classes_refuse_maps() -> None:
    with pytest.raises(PolytaskError, match=r"whole numbers of shape \[b\]"):
        SidedClasses(((0, 1),))(torch.zeros(2, 3), View.whole(2))


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"pose": np.zeros(7, np.uint8)}, r"100 pictures and \{'pose': 7\} labels"),
        ({"pose": np.full(100, 5, np.uint8)}, "task 'pose' expects labels 0 to 4"),
        ({"landmarks": np.full((100, 5, 2), 48.0, np.float32)}, "expects fractions of the image"),
    ],
)
def test_what_the_files_may_not_hold(root: Path, wrong: dict[str, Any], told: str) -> None:
    archive(root / "mtfl" / "train.npz", [0] * 40 + [1] * 60, **wrong)
    with pytest.raises(PolytaskError, match=told):
        mtfl(root)


def test_what_mtfl_refuses(root: Path) -> None:
    with pytest.raises(PolytaskError, match="n_train must be 2 to 90"):
        mtfl(root, n_train=91)
    with pytest.raises(PolytaskError, match="at least 32"):
        mtfl(root, size=16)
    with pytest.raises(PolytaskError, match=r"expected the file .*mtfl/train\.npz"):
        mtfl(root / "mtfl")


@pytest.mark.real_data
def test_real_faces_look_where_their_labels_say(data_root: Path) -> None:
    if not (data_root / "mtfl" / "train.npz").is_file():
        pytest.skip("no mtfl/train.npz")
    problem = mtfl(data_root, n_train=600)
    assert {name: len(data) for name, data in problem.splits.items()} == {"train": 600, "validation": 300, "test": 300}
    targets = problem.splits["train"].targets
    points, pose = targets["landmarks"], targets["pose"]
    eyes = points[:, 1] - points[:, 0]
    sideways = ((points[:, 2] - points[:, :2].mean(1)) * eyes).sum(1) / eyes.square().sum(1)
    assert sideways[pose < 2].median() < -0.1 and sideways[pose > 2].median() > 0.1
    mouth = (points[:, 4] - points[:, 3]).norm(dim=1) / eyes.norm(dim=1)
    smile = targets["smile"] == 1
    assert mouth[smile].median() > 1.1 * mouth[~smile].median()
