"""Seven things in four styles: from a file made here, and from the real one."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polytask import problems
from polytask.errors import PolytaskError
from polytask.sharing import HardSharing

STYLES, CLASSES = ("photo", "sketch"), ("dog", "house")


def written(root: Path, each: int = 20, **changed: object) -> Path:
    """Squares whose left half says style and class, 100 * style + 50 * class; the right half, the lighter one, is
    another in every picture."""
    contents, style, label, test = [], [], [], []
    for s in range(2):
        for c in range(2):
            for k in range(each * (s + 1)):
                file = io.BytesIO()
                drawn = np.full((96, 96, 3), 100 * s + 50 * c, np.uint8)
                drawn[:, 48:] = 200 + k
                Image.fromarray(drawn).save(file, "PNG")
                contents.append(file.getvalue())
                style.append(s), label.append(c), test.append(k % 5 == 4)
    arrays = {
        "image_data": np.frombuffer(b"".join(contents), np.uint8),
        "image_offset": np.cumsum([0, *map(len, contents)]),
        "domain": np.array(style, np.uint8),
        "label": np.array(label, np.uint8),
        "is_test": np.array(test, np.uint8),
        "domain_names": np.array(STYLES),
        "class_names": np.array(CLASSES),
    }
    (root / "pacs").mkdir()
    np.savez(
        root / "pacs" / "pacs.npz", **{name: each for name, each in (arrays | changed).items() if each is not None}
    )
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return written(tmp_path)


def test_a_style_is_a_task_and_a_data_set(root: Path) -> None:
    problem = problems.pacs(root, size=16)
    assert [(task.name, task.labels) for task in problem.tasks] == [(style, CLASSES) for style in STYLES]
    counts = {name: data.counts() for name, data in problem.splits.items()}
    assert counts == {
        "train": {"photo": 28, "sketch": 56},
        "validation": {"photo": 4, "sketch": 8},
        "test": {"photo": 8, "sketch": 16},
    }
    for data in problem.splits.values():
        for number, (name, rows) in enumerate(data.pools().items()):
            labels = data.targets[name][rows]
            assert torch.equal(data.inputs[rows, 0, 0, 0].long(), 100 * number + 50 * labels)
            assert torch.bincount(labels).tolist() == [len(rows) // 2] * 2  # a share of every class
            assert not bool(data.labelled(STYLES[1 - number])[rows].any())


def test_bytes_become_numbers_and_training_pictures_are_mirrored(root: Path) -> None:
    problem = problems.pacs(root, size=20)
    train, test = problem.splits["train"], problem.splits["test"]
    assert train.inputs.shape[1:] == (3, 20, 20) and train.inputs.dtype == torch.uint8
    assert train.augment is not None and test.augment is None
    assert problems.pacs(root, augment=False).splits["train"].augment is None
    shown, _ = test.gather(torch.arange(len(test)))
    torch.testing.assert_close(shown, test.inputs.float() / 255)
    rows = torch.arange(len(train))
    as_they_are, drawn = train.piece(rows, rows).inputs, train.piece(rows, rows, draw=3).inputs
    lighter = drawn[:, 0, 0, 0] > drawn[:, 0, 0, -1]
    torch.testing.assert_close(drawn, torch.where(lighter[:, None, None, None], as_they_are.flip(3), as_they_are))
    assert 0.3 < lighter.float().mean() < 0.7
    assert not bool((as_they_are[:, 0, 0, 0] > as_they_are[:, 0, 0, -1]).any())
    assert HardSharing(problem.backbone, problem.tasks)(shown[:3])["sketch"].shape == (3, 2)


def test_it_can_be_made_again_and_is_drawn_by_its_seed(root: Path) -> None:
    problem = problems.pacs(root, size=16)
    spec = json.loads(json.dumps(problem.spec))["args"]
    again = problems.pacs(**spec)
    assert again.fingerprint() == problem.fingerprint() and again.tasks == problem.tasks
    assert problems.pacs(**spec | {"size": 17}).fingerprint() != problem.fingerprint()
    other = problems.pacs(**spec | {"seed": 1})
    assert {name: data.counts() for name, data in other.splits.items()} == {
        name: data.counts() for name, data in problem.splits.items()
    }
    changed = {name for name, data in other.splits.items() if data.fingerprint() != problem.splits[name].fingerprint()}
    assert changed == {"train", "validation"}


def test_what_is_no_such_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match=r"expected the file .*pacs\.npz"):
        problems.pacs(tmp_path)
    with pytest.raises(PolytaskError, match="size must be a whole number of at least 16 pixels, got 8"):
        problems.pacs(tmp_path, size=8)
    written(tmp_path, label=np.zeros(3, np.uint8))
    with pytest.raises(PolytaskError, match="has 120 pictures and another number of labels"):
        problems.pacs(tmp_path)


def test_too_few_pictures_are_told(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match="too few pictures to draw validation pictures of every kind"):
        problems.pacs(written(tmp_path, each=1))


@pytest.mark.real_data
def test_the_real_pictures(data_root: Path) -> None:
    if not (data_root / "pacs" / "pacs.npz").is_file():
        pytest.skip("no pacs/pacs.npz")
    problem = problems.pacs(data_root, size=16)
    totals = [sum(data.counts()[task.name] for data in problem.splits.values()) for task in problem.tasks]
    assert totals == [1670, 2048, 2344, 3929]  # as published
    sketches = problem.splits["test"].only("sketch").inputs.float()
    assert bool((sketches.amax(1) - sketches.amin(1) < 30).float().mean() > 0.95)  # sketches have no colours
