"""Schools: the real data where they are, and a file of that form where they are not."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from polytask import problems
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.problems.school import within
from polytask.sharing import HardSharing


def written(folder: Path, **arrays: np.ndarray) -> Path:
    (folder / "school").mkdir()
    np.savez(folder / "school" / "school.npz", **arrays)
    return folder


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Twenty students in each of four schools."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (80, 28)).astype(np.uint8)
    return written(tmp_path, x=x, y=rng.integers(1, 70, 80).astype(np.uint8), task=np.arange(80) // 20)


@pytest.fixture(params=["drawn", "real"])
def problem(request: pytest.FixtureRequest, drawn: Path) -> Problem:
    root = drawn
    if request.param == "real":
        root = Path(os.environ.get("POLYTASK_DATA_ROOT") or "nowhere")
        if not (root / "school/school.npz").is_file():
            pytest.skip("POLYTASK_DATA_ROOT has no school/school.npz")
    return problems.school(root)


def test_every_school_is_in_every_split(problem: Problem) -> None:
    (task,) = problem.tasks
    for name, share in {"train": 0.7, "validation": 0.15, "test": 0.15}.items():
        data = problem.splits[name]
        counts = task.member_counts(data.targets["score"])
        every = sum(task.member_counts(each.targets["score"]) for each in problem.splits.values())
        assert counts.min() > 0
        assert bool(((counts - share * every).abs() < 1.5).all()), name
        assert torch.equal(data.inputs["school"].float(), data.targets["score"][:, 1])


def test_inputs_are_standard_and_the_trunk_does_not_read_the_school(problem: Problem) -> None:
    numbers = problem.splits["train"].inputs["numbers"]
    assert numbers.shape[1] == 27
    torch.testing.assert_close(numbers.mean(0), torch.zeros(27), atol=1e-4, rtol=0)
    inputs = dict(problem.splits["test"].inputs)
    model = HardSharing(problem.backbone, problem.tasks)
    before = model.shared(inputs)[-1]
    inputs["school"] = inputs["school"] * 0
    torch.testing.assert_close(model.shared(inputs)[-1], before, rtol=0, atol=0)


def test_it_can_be_made_again_and_is_drawn_by_its_seed(problem: Problem) -> None:
    spec = json.loads(json.dumps(problem.spec))
    again = problems.school(**spec["args"])
    assert again.fingerprint() == problem.fingerprint()
    assert again.tasks == problem.tasks
    assert problems.school(**spec["args"] | {"seed": 1}).fingerprint() != problem.fingerprint()


def test_a_file_of_another_form_is_told(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match=r"expected the file .*school\.npz"):
        problems.school(tmp_path)
    root = written(tmp_path, x=np.zeros((3, 5)), y=np.zeros(3), task=np.zeros(3))
    with pytest.raises(PolytaskError, match="does not hold the school data"):
        problems.school(root)


def test_splits_within_members_are_disjoint_and_in_proportion() -> None:
    owner = torch.arange(30).repeat_interleave(torch.arange(30) + 20)
    rows = within(owner, seed=3)
    together = torch.cat(list(rows.values()))
    assert together.sort().values.tolist() == list(range(len(owner)))
    for name, share in {"train": 0.7, "validation": 0.15, "test": 0.15}.items():
        counts = torch.bincount(owner[rows[name]], minlength=30)
        assert bool((counts - share * torch.bincount(owner)).abs().max() < 1.5), name
    assert not torch.equal(rows["test"], within(owner, seed=4)["test"])
