"""NYUv2 from archives and from folders: units, missing labels, splits, and that the maps belong to the pictures."""

import inspect
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polytask.errors import PolytaskError
from polytask.problems import nyuv2
from polytask.problems._nyuv2_files import Archives, find
from polytask.problems.nyuv2 import _held_out
from polytask.sharing import HardSharing, SmallCNN
from polytask.tasks import present

H, W, TRAIN, TEST = 8, 12, 12, 5


def scene(number: int) -> dict[str, np.ndarray]:
    """A picture whose every map says its number."""
    image = np.full((H, W, 3), number * 8, np.uint8)
    image[:, : W // 2, 0] = 255
    classes = np.full((H, W), number % 13 + 1)
    classes[0] = 0
    depth = np.full((H, W), 1 + number / 4)
    depth[:, -1] = 0
    normal = np.tile([0.0, 0.6, -0.8], (H, W, 1))
    normal[-1] = 0
    return {"image": image, "classes": classes, "depth": depth, "normal": normal}


def folders(root: Path, train: int = TRAIN, test: int = TEST) -> Path:
    """The layout of the public pre-processed arrays."""
    for part, numbers in {"train": range(train), "val": range(20, 20 + test)}.items():
        for kind in ("image", "label", "depth", "normal"):
            (root / part / kind).mkdir(parents=True)
        for place, number in enumerate(numbers):
            found = scene(number)
            np.save(root / part / "image" / f"{place}.npy", found["image"] / 255)
            np.save(root / part / "label" / f"{place}.npy", found["classes"].astype(np.float32) - 1)
            np.save(root / part / "depth" / f"{place}.npy", found["depth"][..., None].astype(np.float32))
            np.save(root / part / "normal" / f"{place}.npy", 1.3 * found["normal"].astype(np.float32))
    return root


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def archives(root: Path) -> Path:
    """The layout of archives of encoded pictures; here with every class of 40 in its own of 13."""
    (root / "nyuv2").mkdir()
    for part, numbers in {"train": range(TRAIN), "test": range(20, 20 + TEST)}.items():
        entries: dict[str, np.ndarray] = {
            "index": np.array([3 * each // 2 for each in numbers], np.uint16),
            "depth_scale": np.array([0.05]),
            "map40to13": np.array([0, *(k % 13 + 1 for k in range(40))], np.uint8),
            "names13": np.array(["void", *(f"class {k}" for k in range(13))]),
            "names40": np.array(["void", *(f"fine {k}" for k in range(40))]),
        }
        for kind, coded in {
            "image": lambda x: x["image"],
            "seg": lambda x: x["classes"],
            "depth": lambda x: (x["depth"] / 0.05).round(),
            "normal": lambda x: ((x["normal"] + 1) * 127.5).round(),
        }.items():
            contents = [png(coded(scene(number))) for number in numbers]
            entries[f"{kind}_data"] = np.frombuffer(b"".join(contents), np.uint8)
            entries[f"{kind}_offset"] = np.cumsum([0, *map(len, contents)])
        np.savez(root / "nyuv2" / f"{part}.npz", **entries)
    return root


MAKERS = {"folders": folders, "archives": archives}


@pytest.fixture(params=MAKERS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return MAKERS[request.param](tmp_path)


# --- both layouts -----------------------------------------------------------------------------------------------------


def test_maps_have_their_units_and_belong_together(root: Path) -> None:
    problem = nyuv2(root, size=(H, W))
    assert [task.name for task in problem.tasks] == ["segmentation", "depth", "normals"]
    found = problem.splits["test"]
    inputs, targets = found.gather(torch.arange(TEST))
    for place, number in enumerate(range(20, 20 + TEST)):
        assert inputs[place, 1:].eq(number * 8 / 255).all() and inputs[place, 0, :, : W // 2].eq(1).all()
        classes, depth, normals = (targets[name][place] for name in ("segmentation", "depth", "normals"))
        assert classes[0].eq(-100).all() and classes[1:].eq(number % 13).all()
        assert depth[:, -1].isnan().all()
        torch.testing.assert_close(depth[:, :-1].float(), torch.full((H, W - 1), 1 + number / 4), rtol=1e-3, atol=1e-3)
        assert normals[:, -1].isnan().all()
        known = torch.tensor([0.0, 0.6, -0.8])[:, None, None].expand(3, H - 1, W)
        torch.testing.assert_close(normals[:, :-1].float(), known, rtol=0, atol=0.006)  # 8 bits
        assert (normals[:, :-1].float().norm(dim=0) - 1).abs().max() < 1e-3
    assert found.counts() == {
        "segmentation": TEST * (H - 1) * W,
        "depth": TEST * H * (W - 1),
        "normals": TEST * 3 * (H - 1) * W,
    }


def test_splits_never_share_a_picture(root: Path) -> None:
    problem = nyuv2(root, size=(H, W), n_validation=3)
    seen = {name: set(data.inputs[:, 1, 0, 0].tolist()) for name, data in problem.splits.items()}
    assert seen["test"] == {8 * number for number in range(20, 20 + TEST)}
    assert not seen["train"] & seen["validation"] and 1 <= len(seen["validation"]) <= 3
    assert seen["train"] | seen["validation"] == {8 * number for number in range(TRAIN)}
    few = nyuv2(root, size=(H, W), n_train=3, n_validation=3, n_test=2)
    assert [len(few.splits[name]) for name in ("train", "validation", "test")] == [3, len(seen["validation"]), 2]
    assert few.splits["test"].inputs[:, 1, 0, 0].tolist() == [160, 192]
    assert torch.equal(few.splits["validation"].inputs, problem.splits["validation"].inputs)  # whatever is trained on


def test_validation_hangs_on_the_seed(root: Path) -> None:
    first, again, other = (nyuv2(root, size=(H, W), n_validation=4, seed=seed).fingerprint() for seed in (0, 0, 5))
    assert first == again and first["test"] == other["test"] and first["validation"] != other["validation"]


def test_only_training_pictures_are_augmented(root: Path) -> None:
    problem = nyuv2(root, size=(H, W))
    assert [problem.splits[name].augment is None for name in ("train", "validation", "test")] == [False, True, True]
    assert nyuv2(root, size=(H, W), augment=False).splits["train"].augment is None
    rows = torch.arange(len(problem.splits["train"]))
    plain, drawn = problem.splits["train"].gather(rows), problem.splits["train"].piece(rows, rows, draw=3)
    left = drawn.inputs[:, 0, H // 2, 0] > 0.99  # red is left in the picture: else it was mirrored
    assert 0 < left.sum() < len(rows)
    assert torch.equal(drawn.targets["depth"][:, H // 2, W - 1].isnan() & left, left & ~zoomed(plain, drawn))
    zoom = plain.targets["depth"][:, 2, 4].float() / drawn.targets["depth"][:, 2, 4]
    assert all(min(abs(each - scale) for scale in (1.0, 1.2, 1.5)) < 2e-3 for each in zoom.tolist())


def zoomed(plain, drawn) -> torch.Tensor:
    """Samples whose last column left the window."""
    return ~drawn.targets["depth"][:, H // 2].isnan().any(1)


def test_it_can_be_made_again_smaller_and_trained_on(root: Path) -> None:
    problem = nyuv2(root, size=(H // 2, W // 2), n_train=4)
    again = nyuv2(**problem.spec["args"])
    assert again.fingerprint() == problem.fingerprint() and again.tasks == problem.tasks
    inputs, targets = next(iter(problem.loader("train", 4)))
    assert inputs.shape == (4, 3, H // 2, W // 2) and targets["normals"].shape == (4, 3, H // 2, W // 2)
    for name, target in targets.items():
        assert present(target).any(), name
    model = HardSharing(SmallCNN(3, widths=(4, 8)), problem.tasks)
    losses = problem.losses(model(inputs), targets)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert problem.backbone().widths == (32, 64, 128, 256)


def test_a_smaller_map_is_the_mean_of_what_is_there(root: Path) -> None:
    small = nyuv2(root, size=(H // 2, W // 2)).splits["test"].targets
    assert not small["depth"].isnan().any()  # half of the last pixel's area is there
    torch.testing.assert_close(small["depth"][0].float(), torch.full((H // 2, W // 2), 6.0), rtol=1e-3, atol=1e-3)
    assert not small["normals"].isnan().any()
    assert small["segmentation"][0].eq(20 % 13).all()  # the nearest is below the first row


def test_what_is_asked_for_must_be_there(root: Path) -> None:
    for name, wanted, there in (("n_train", 50, "1[01]"), ("n_test", 6, "5"), ("n_test", 0, "5")):
        with pytest.raises(PolytaskError, match=rf"{name} must be 1 to {there}, .*got {wanted}"):
            nyuv2(root, size=(H, W), **{name: wanted})
    with pytest.raises(PolytaskError, match="leave pictures for training, of which there are 12; got 12"):
        nyuv2(root, size=(H, W), n_validation=12)
    with pytest.raises(PolytaskError, match="not 7"):
        nyuv2(root, size=(H, W), classes=7)
    with pytest.raises(PolytaskError, match=r"at least 1 each, got \(0, 12\)"):
        nyuv2(root, size=(0, W))


# --- folders ----------------------------------------------------------------------------------------------------------


def test_folders_may_lie_in_a_folder_of_that_name(tmp_path: Path) -> None:
    folders(tmp_path / "nyuv2")
    assert len(nyuv2(tmp_path, size=(H, W)).splits["test"]) == TEST


def test_neither_layout_is_there(tmp_path: Path) -> None:
    for where, begins in ((tmp_path, "no NYUv2 in"), (tmp_path / "nowhere", "no folder")):
        with pytest.raises(PolytaskError, match=rf"{begins}.*nyuv2/train\.npz.*train and val, each with image, label"):
            nyuv2(where)


def test_broken_and_missing_arrays_are_named(tmp_path: Path) -> None:
    folders(tmp_path / "nothing to test", test=0)
    with pytest.raises(PolytaskError, match=r"expected pictures 0\.npy, 1\.npy, \.\.\. in .*val/image"):
        nyuv2(tmp_path / "nothing to test", size=(H, W))
    folders(tmp_path)
    (tmp_path / "val" / "depth" / "2.npy").write_bytes(b"\x93NUMPY broken")
    with pytest.raises(PolytaskError, match=r"val/depth/2\.npy is no whole \.npy file"):
        nyuv2(tmp_path, size=(H, W))
    (tmp_path / "val" / "depth" / "2.npy").unlink()
    with pytest.raises(PolytaskError, match=r"expected the file .*val/depth/2\.npy .*every image has a label"):
        nyuv2(tmp_path, size=(H, W))


def test_pictures_of_different_sizes_are_named(tmp_path: Path) -> None:
    folders(tmp_path)
    np.save(tmp_path / "val" / "image" / "3.npy", np.zeros((H + 2, W, 3)))
    with pytest.raises(
        PolytaskError, match=r"val/image/0\.npy is 8 x 12 with 3 channels, .*val/image/3\.npy is 10 x 12"
    ):
        nyuv2(tmp_path, size=(H, W))


def test_a_class_out_of_range_is_told(tmp_path: Path) -> None:
    folders(tmp_path)
    for number in range(TRAIN):
        np.save(tmp_path / "train" / "label" / f"{number}.npy", np.full((H, W), 13.0))
    with pytest.raises(PolytaskError, match="classes 0 to 12"):
        nyuv2(tmp_path, size=(H, W))


# --- archives ---------------------------------------------------------------------------------------------------------


def test_forty_classes_and_their_names(tmp_path: Path) -> None:
    problem = nyuv2(archives(tmp_path), size=(H, W), classes=40)
    assert (
        problem.task("segmentation").labels[:2] == ("fine 0", "fine 1") and problem.task("segmentation").outputs == 40
    )
    assert problem.splits["test"].targets["segmentation"][0, 3, 3] == 20 % 13


def test_a_corrupt_archive_or_picture_is_named(tmp_path: Path) -> None:
    archives(tmp_path)
    path = tmp_path / "nyuv2" / "test.npz"
    entries = dict(np.load(path))
    whole = path.read_bytes()
    entries["depth_data"] = entries["depth_data"].copy()
    entries["depth_data"][entries["depth_offset"][3] :][:30] = 0
    np.savez(path, **entries)
    with pytest.raises(PolytaskError, match=r"picture 3 of depth in .*test\.npz can't be read"):
        nyuv2(tmp_path, size=(H, W))
    path.write_bytes(whole[:5000])
    with pytest.raises(PolytaskError, match=r"test\.npz is no whole \.npz file .*copy it again"):
        nyuv2(tmp_path, size=(H, W))
    np.savez(path, index=np.arange(5))
    with pytest.raises(PolytaskError, match=r"test\.npz lacks the arrays image_data, .*; it holds index"):
        nyuv2(tmp_path, size=(H, W))
    path.unlink()
    with pytest.raises(PolytaskError, match=r"expected the file .*test\.npz"):
        nyuv2(tmp_path, size=(H, W))


def test_pictures_of_one_room_stay_together() -> None:
    """Official numbers without a gap are of one room, or of two rooms that stay together."""
    groups = torch.tensor([0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4, 4])
    for seed in range(20):
        held = _held_out(groups, 4, seed)
        assert 1 <= held.sum() <= 4
        assert all(held[groups == group].unique().numel() == 1 for group in range(5))
    assert len({tuple(_held_out(groups, 4, seed).tolist()) for seed in range(20)}) > 3
    assert _held_out(torch.tensor([0, 0, 0, 1, 1]), 1, 0).tolist() == [False] * 3 + [True] * 2  # none is so small


# --- the data themselves ----------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_real_maps_are_those_of_an_independent_reduction(data_root: Path) -> None:
    """`mini.npz` holds 24 training pictures reduced from the originals by other means, depth in millimetres."""
    if not (data_root / "nyuv2" / "mini.npz").is_file():
        pytest.skip("no nyuv2/mini.npz")
    with np.load(data_root / "nyuv2" / "mini.npz") as file:
        mini = {key: torch.from_numpy(file[key][:6].astype(np.int64)) for key in file.files if key.endswith("_train")}
    files = find(data_root)
    assert isinstance(files, Archives)
    numbers = files.part("train")["index"].tolist()
    image, classes, depth, normals = files.read("train", [numbers.index(k) for k in mini["index_train"]], 13, (96, 128))
    assert (image.permute(0, 2, 3, 1).float() - mini["image_train"]).abs().mean() < 4
    known = mini["seg13_train"] - 1
    assert (classes == torch.where(known < 0, -100, known)).double().mean() > 0.97
    assert (depth.float() - mini["depth_mm_train"] / 1000).abs().median() < 0.03
    angle = torch.rad2deg(
        (normals.permute(0, 2, 3, 1).float() * mini["normal_train"] / 127).sum(-1).clamp(-1, 1).acos()
    )
    assert angle.nanmedian() < 5


@pytest.mark.real_data
def test_the_real_problem_is_as_it_says(data_root: Path) -> None:
    if not (data_root / "nyuv2" / "train.npz").is_file():
        pytest.skip("no nyuv2/train.npz")
    files = find(data_root)
    assert (files.count("train"), files.count("test")) == (795, 654)
    held = _held_out(files.neighbours("train"), None, 0)
    assert int(held.sum()) == 80  # as many as the docstring says
    problem = nyuv2(data_root, size=(24, 32), n_train=6, n_validation=4, n_test=4)
    assert problem.task("segmentation").labels[0] == "bed"
    assert 1 < problem.task("depth").constant(problem.splits["train"].targets["depth"]).item() < 5
    x, y, z = problem.task("normals").constant(problem.splits["train"].targets["normals"]).tolist()
    assert z < -0.9 and y < 0 and abs(x) < 0.2  # to the camera, and floors look up (y points down)
    assert "derived" in " ".join(problem.notes) and "715 training, 80 validation, 654 test" in inspect.getdoc(nyuv2)
