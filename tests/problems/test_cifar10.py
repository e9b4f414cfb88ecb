"""CIFAR-10 in grey, and pictures with fine and coarse labels: from files made here, and from the real ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from polytask.errors import PolytaskError
from polytask.problems import Problem, cifar10, cifar100, superclasses
from polytask.problems._colour_edges import colour_edges
from polytask.problems._nested import members, own_classes

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def records(rows: int, labels: int, seed: int, classes: int = 10) -> np.ndarray:
    """Pictures of CIFAR's binary version whose first pixels say their labels."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 256, (rows, labels + 3072), dtype=np.uint8)
    found[:, labels - 1] = np.arange(rows) % classes
    if labels == 2:
        found[:, 0] = found[:, 1] // 5
    found[:, labels : labels + 32] = found[:, labels - 1 : labels]
    return found


def ten(root: Path) -> Path:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for k in range(1, 6):
        records(20, 1, k).tofile(folder / f"data_batch_{k}.bin")
    records(30, 1, 6).tofile(folder / "test_batch.bin")
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return root


def hundred(root: Path) -> Path:
    folder = root / "cifar-100-binary"
    folder.mkdir()
    records(200, 2, 0, classes=20).tofile(folder / "train.bin")
    records(60, 2, 1, classes=20).tofile(folder / "test.bin")
    (folder / "fine_label_names.txt").write_text("\n".join(f"fine {k}" for k in range(20)))
    (folder / "coarse_label_names.txt").write_text("\n".join(f"group {k}" for k in range(4)))
    return root


def own(path: Path, **more: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, rows in {"train": 60, "test": 20}.items():
        fine = np.arange(rows) % 6
        arrays |= {
            f"images_{part}": rng.integers(0, 256, (rows, 8, 8), dtype=np.uint8),
            f"fine_{part}": fine,
            f"coarse_{part}": fine // 2,
        }
    np.savez(path, **(arrays | more))
    return path


def made_again(problem: Problem) -> bool:
    import polytask.problems

    again = getattr(polytask.problems, problem.spec["name"])(**problem.spec["args"])
    return again.fingerprint() == problem.fingerprint() and again.tasks == problem.tasks


# --- CIFAR-10 ---------------------------------------------------------------------------------------------------------


def test_all_targets_come_from_one_picture(tmp_path: Path) -> None:
    problem = cifar10(ten(tmp_path), superclass=True)
    assert [task.name for task in problem.tasks] == ["class", "colour", "edges", "autoencoding", "animal"]
    data = problem.splits["test"]
    inputs, targets = data.gather(torch.arange(len(data)))
    assert inputs.shape == (30, 1, 32, 32) and targets["class"].tolist() == [k % 10 for k in range(30)]
    raw = records(30, 1, 6)[:, 1:].reshape(-1, 3, 32, 32) / 255
    torch.testing.assert_close(targets["colour"].double(), torch.from_numpy(raw), rtol=0, atol=1 / 16 / 255 * 2)
    grey = 0.299 * raw[:, 0] + 0.587 * raw[:, 1] + 0.114 * raw[:, 2]
    torch.testing.assert_close(inputs[:, 0].double(), torch.from_numpy(grey), rtol=0, atol=0.5 / 255 + 1e-6)
    torch.testing.assert_close(targets["autoencoding"].float(), inputs, rtol=0, atol=1 / 16 / 255 * 2)
    assert torch.equal(targets["edges"].bool(), colour_edges(torch.from_numpy(raw).float()))
    assert [NAMES[k] for k in targets["class"][targets["animal"] == 1].unique()] == [
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
    ]
    assert problem.task("class").labels == NAMES and made_again(problem)


def test_training_and_validation_share_the_official_training_pictures(tmp_path: Path) -> None:
    ten(tmp_path)

    def pictures(problem: Problem) -> dict[str, set[bytes]]:
        return {name: {each.numpy().tobytes() for each in data.inputs} for name, data in problem.splits.items()}

    whole, few = pictures(cifar10(tmp_path)), pictures(cifar10(tmp_path, n_train=8))
    assert {name: len(each) for name, each in whole.items()} == {"train": 90, "validation": 10, "test": 30}
    assert not whole["train"] & whole["validation"]
    assert {name: len(each) for name, each in few.items()} == {"train": 8, "validation": 4, "test": 4}
    assert few["train"] < whole["train"] and few["validation"] < whole["validation"]
    assert pictures(cifar10(tmp_path, seed=1))["validation"] != whole["validation"]
    for wanted in (1, 91):
        with pytest.raises(PolytaskError, match=f"n_train must be 2 to 90 .*got {wanted}"):
            cifar10(tmp_path, n_train=wanted)


def test_a_mirrored_picture_has_mirrored_targets(tmp_path: Path) -> None:
    data = cifar10(ten(tmp_path)).splits["train"]
    rows = torch.arange(20)
    plain, drawn = data.gather(rows), data.piece(rows, rows, draw=0)
    mirrored = (drawn.inputs != plain.inputs).flatten(1).any(1)
    assert 0 < mirrored.sum() < 20
    for name in ("colour", "edges", "autoencoding"):
        expected = torch.where(
            mirrored.view(-1, *[1] * (plain.targets[name].ndim - 1)), plain.targets[name].flip(-1), plain.targets[name]
        )
        assert torch.equal(drawn.targets[name], expected.to(drawn.targets[name].dtype)), name
    assert torch.equal(drawn.inputs[mirrored], plain.inputs[mirrored].flip(-1))
    assert torch.equal(drawn.targets["class"], plain.targets["class"])
    assert cifar10(tmp_path, augment=False).splits["train"].augment is None


def test_files_that_are_cut_short_are_named(tmp_path: Path) -> None:
    ten(tmp_path)
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(PolytaskError, match=r"data_batch_3\.bin has 61453 bytes, which are not records of 3073"):
        cifar10(tmp_path)
    path.unlink()
    with pytest.raises(PolytaskError, match=r"expected the file .*data_batch_3\.bin"):
        cifar10(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PolytaskError, match=r"expected the file .*cifar10/train\.npz"):
        cifar10(tmp_path / "empty")


# --- edges ------------------------------------------------------------------------------------------------------------


def test_edges_of_shapes_are_lines_one_pixel_wide() -> None:
    square = torch.zeros(1, 3, 20, 20)
    square[:, 1, 5:15, 5:15] = 1.0
    edges = colour_edges(square)[0]
    assert edges[10].nonzero()[:, 0].tolist() == [4, 14] and edges[:, 10].nonzero()[:, 0].tolist() == [4, 14]
    assert not edges[:3].any() and not edges[7:12, 7:12].any()
    slanted = (torch.arange(20)[:, None] > torch.arange(20)).float().expand(1, 1, 20, 20)
    inside = colour_edges(slanted)[0, 3:-3, 3:-3]
    blocks = inside[1:, 1:] & inside[:-1, 1:] & inside[1:, :-1] & inside[:-1, :-1]
    assert inside.any(1).all() and not blocks.any()  # a staircase, nowhere two pixels thick


def test_edges_see_colours_and_ignore_faint_ones() -> None:
    """Red beside a green of the same grey is an edge."""
    picture = torch.zeros(1, 3, 6, 8)
    picture[:, 0, :, :4], picture[:, 1, :, 4:] = 0.587, 0.299
    assert colour_edges(picture)[0, 3].sum() == 1
    assert not colour_edges(picture * 0.3).any() and colour_edges(picture * 0.3, strong=0.02).any()
    assert not colour_edges(torch.full((1, 3, 5, 5), 0.7)).any()


# --- fine and coarse --------------------------------------------------------------------------------------------------


def test_fine_and_coarse_or_one_task_for_each_group(tmp_path: Path) -> None:
    both = cifar100(hundred(tmp_path))
    assert [(task.name, task.outputs) for task in both.tasks] == [("fine", 20), ("coarse", 4)]
    assert both.task("coarse").labels[2] == "group 2"
    assert {name: len(data) for name, data in both.splits.items()} == {"train": 180, "validation": 20, "test": 60}
    for data in both.splits.values():
        assert torch.equal(data.targets["fine"] // 5, data.targets["coarse"])
        assert torch.equal(data.inputs[:, 0, 0, 0].long(), data.targets["fine"])  # the labels are those of the picture
    groups = cifar100(tmp_path, apart=True, seed=2)
    assert [(task.name, task.labels) for task in groups.tasks][1] == (
        "group 1",
        tuple(f"fine {k}" for k in range(5, 10)),
    )
    for data in groups.splits.values():
        fine = data.inputs[:, 0, 0, 0].long()
        for k in range(4):
            expected = torch.where(fine // 5 == k, fine % 5, -100)
            assert torch.equal(data.targets[f"group {k}"], expected)
    assert made_again(both) and made_again(groups)
    with pytest.raises(PolytaskError, match=r"expected the file .*cifar-100-binary/train\.bin"):
        cifar100(tmp_path / "cifar-100-binary")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = own(tmp_path / "mine.npz")
    grey = superclasses(path, apart=True, n_train=40)
    assert [task.name for task in grey.tasks] == ["0", "1", "2"] and grey.splits["train"].inputs.shape == (40, 1, 8, 8)
    assert made_again(grey)
    colour = own(
        tmp_path / "colour.npz",
        images_train=np.zeros((60, 5, 7, 3), np.uint8),
        images_test=np.zeros((20, 5, 7, 3), np.uint8),
    )
    assert superclasses(colour).splits["test"].inputs.shape == (20, 3, 5, 7)
    named = own(tmp_path / "named.npz", coarse_names=np.array(["a", "b", "c"]), fine_names=np.array(list("uvwxyz")))
    assert superclasses(named, apart=True).task("b").labels == ("w", "x")


@pytest.mark.parametrize(
    "wrong, told",
    [
        (
            {"coarse_train": np.arange(60) % 3},
            r"fine class 1 is of the coarse classes \[0, 1\]",
        ),
        ({"images_train": np.zeros((60, 8, 8))}, r"images_train in .* must be uint8 .*got torch.float64"),
        ({"fine_test": np.arange(19)}, r"fine_test in .* must be 20 whole numbers from 0"),
        ({"fine_test": -np.ones(20, int)}, r"fine_test in .* must be 20 whole numbers from 0"),
        ({"coarse_names": np.array(["a"])}, "there are 3 coarse classes and 1 names"),
    ],
)
def test_what_a_file_of_ones_own_may_not_hold(tmp_path: Path, wrong: dict[str, np.ndarray], told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        superclasses(own(tmp_path / "mine.npz", **wrong), apart=True)


def test_a_pickle_in_the_file_is_not_run(tmp_path: Path) -> None:
    path = own(tmp_path / "mine.npz", fine_names=np.array([{"a": 1}], dtype=object))
    with pytest.raises(PolytaskError, match="no whole"):
        superclasses(path)
    np.savez(tmp_path / "less.npz", fine_train=np.arange(3))
    with pytest.raises(PolytaskError, match=r"lacks the arrays images_train, images_test, fine_test"):
        superclasses(tmp_path / "less.npz")


def test_groups_and_their_members() -> None:
    fine, coarse = torch.tensor([4, 2, 2, 9, 4]), torch.tensor([1, 0, 0, 1, 1])
    assert members(fine, coarse) == {0: [2], 1: [4, 9]}
    assert own_classes(fine, [4, 9]).tolist() == [0, -100, -100, 1, 0]
    with pytest.raises(PolytaskError, match=r"fine class 4 is of the coarse classes \[0, 1\]"):
        members(fine, torch.tensor([1, 0, 0, 1, 0]))


# --- the data themselves ----------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_real_pictures_belong_to_their_labels(data_root: Path) -> None:
    if not (data_root / "cifar10" / "train.npz").is_file():
        pytest.skip("no cifar10/train.npz")
    problem = cifar10(data_root, n_train=1200, superclass=True)
    assert {name: len(data) for name, data in problem.splits.items()} == {"train": 1200, "validation": 600, "test": 600}
    train, test = problem.splits["train"], problem.splits["test"]
    counts = torch.bincount(test.targets["class"])
    assert len(counts) == 10 and counts.min() > 40
    assert 0.12 < train.targets["edges"].float().mean() < 0.19
    small = [torch.nn.functional.avg_pool2d(data.inputs.float(), 4).flatten(1).numpy() / 255 for data in (train, test)]
    known = (
        LogisticRegression(max_iter=500).fit(small[0], train.targets["animal"]).score(small[1], test.targets["animal"])
    )
    assert known > 0.66  # 0.6 are animals
