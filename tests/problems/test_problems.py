"""Named problems: reproducible, described, without leaks, clearly above chance."""

import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from polytask import problems
from polytask.data import TensorData
from polytask.errors import PolytaskError
from polytask.problems.digits import digit_sources
from polytask.problems.problem import SPLITS, Problem
from polytask.sharing import MLP, HardSharing, SmallCNN
from polytask.tasks import Depth, Edges, MultiClass, Segmentation, Task


@pytest.mark.real_data
def real(name: str) -> Path:
    """The folder of data sets, or a skip with the reason."""
    root = os.environ.get("POLYTASK_DATA_ROOT")
    if not root:
        pytest.skip("POLYTASK_DATA_ROOT is not set")
    if not (Path(root) / name).is_file():
        pytest.skip(f"{root} lacks {name}")
    return Path(root)


def people_csv(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    age, job = rng.integers(20, 60, 600), rng.integers(0, 3, 600)
    hours = (age / 2 + 5 * job + rng.normal(size=600)).round(2)
    rows = [f"{a},{'abc'[j]},{h},{'yes' if h > 27 else 'no'}" for a, j, h in zip(age, job, hours, strict=True)]
    (folder / "people.csv").write_text("\n".join(["age,job,hours,rich", *rows]))
    return folder / "people.csv"


MAKERS: dict[str, Callable[[Path], Problem]] = {
    "digits": lambda folder: problems.digits(n_train=400),
    "digits with sum": lambda folder: problems.digits(n_train=400, auxiliary=True),
    "breast_cancer": lambda folder: problems.breast_cancer(),
    "rooms": lambda folder: problems.rooms(n_train=40, size=16),
    "faces": lambda folder: problems.faces(n_train=80, size=32),
    "table": lambda folder: problems.table(people_csv(folder), ["hours:regression", "rich:binary"]),
    "adult": lambda folder: problems.adult(real("adult/adult.npz")),
    "census_income": lambda folder: problems.census_income(real("census_income/census_income_test_half.npz")),
    "mtfl": lambda folder: problems.mtfl(real("mtfl/train.npz"), n_train=200),
    "many_sines": lambda folder: problems.many_sines(members=6, rows=20),
    "many_sines, columns": lambda folder: problems.many_sines(members=6, rows=20, columns=True),
    "multi_mnist": lambda folder: problems.multi_mnist(real("mnist/mnist.npz"), n_train=400),
}


@pytest.fixture(scope="module", params=MAKERS)
def problem(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return MAKERS[request.param](tmp_path_factory.mktemp("problem"))


def test_it_says_what_it_is(problem: Problem) -> None:
    assert problem.summary
    assert problem.source
    assert problem.licence
    assert {"epochs", "batch_size", "learning_rate"} <= set(problem.suggested)
    assert json.loads(json.dumps(problem.describe()))["name"] == problem.name


def test_it_can_be_made_again_from_its_spec(problem: Problem) -> None:
    spec = json.loads(json.dumps(problem.spec))
    again = getattr(problems, spec["name"])(**spec["args"])
    assert again.fingerprint() == problem.fingerprint()
    assert again.tasks == problem.tasks


def test_the_default_trunk_takes_its_batches_and_all_losses_are_finite(problem: Problem) -> None:
    torch.manual_seed(0)
    inputs, targets = next(iter(problem.loader("train", 32, shuffle=True)))
    losses = problem.losses(HardSharing(problem.backbone, problem.tasks).eval()(inputs), targets)
    assert set(losses) == {task.name for task in problem.tasks}
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_no_picture_or_row_is_in_two_splits(problem: Problem) -> None:
    seen: list[set[bytes]] = []
    for data in problem.splits.values():
        columns = data.inputs.values() if isinstance(data.inputs, dict) else [data.inputs]
        flat = np.concatenate([column.reshape(len(column), -1).numpy().astype(np.float32) for column in columns], 1)
        seen.append({row.tobytes() for row in flat})
    train, validation, test = seen
    few = len(test) // 1000  # words seen once share a code, so that very few different rows look the same
    assert len(train & validation) <= few
    if problem.name != "adult":  # the official split of adult repeats rows, and its notes say so
        assert len((train | validation) & test) <= few
    else:
        assert any("same inputs as a training row" in note for note in problem.notes)


def test_the_catalogue_has_documented_functions() -> None:
    for name in problems.__all__:
        found = getattr(problems, name)
        if found is Problem:
            continue
        assert all(f"* {word}" in found.__doc__ for word in ("Input", "Task", "Split", "Source")), name
        assert inspect.signature(found).return_annotation is Problem


@pytest.mark.parametrize("name", ["adult", "census_income", "multi_mnist"])
def test_a_missing_data_root_says_what_was_expected_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match=r"expected the file .*\.npz"):
        getattr(problems, name)(data_root=tmp_path)
    with pytest.raises(PolytaskError, match="no folder"):
        getattr(problems, name)(data_root=tmp_path / "nowhere")


# --- digits -----------------------------------------------------------------------------------------------


def test_sources_of_digits_are_disjoint_and_cover_all() -> None:
    labels = load_digits().target
    sources = digit_sources(labels, seed=3)
    together = np.concatenate(list(sources.values()))
    assert sorted(together) == list(range(len(labels)))
    assert all(set(labels[own]) == set(range(10)) for own in sources.values())


def test_digits_hang_on_the_seed_alone() -> None:
    first, again, other = (problems.digits(n_train=80, seed=seed).fingerprint() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_sum_is_the_sum_and_does_not_count() -> None:
    problem = problems.digits(n_train=80, auxiliary=True)
    targets = problem.splits["train"].targets
    assert torch.equal(targets["sum"], (targets["left"] + targets["right"]).float())
    assert [task.auxiliary for task in problem.tasks] == [False, False, True]


def test_too_few_digits_are_refused() -> None:
    with pytest.raises(PolytaskError, match="at least 40"):
        problems.digits(n_train=3)


# --- tables -----------------------------------------------------------------------------------------------


def test_a_table_may_be_described_by_a_yaml_file(tmp_path: Path) -> None:
    path, schema = people_csv(tmp_path), tmp_path / "people.yaml"
    schema.write_text("columns: {age: category}\ntargets: ['hours:regression']\n")
    problem = problems.table(path, schema=schema)
    assert [task.name for task in problem.tasks] == ["hours"]
    assert problem.preprocessing.categories == ("age", "job", "rich")


def test_adult_keeps_the_official_test_rows_and_drops_what_gives_targets_away() -> None:
    problem = problems.adult(real("adult/adult.npz"))
    assert len(problem.splits["test"]) == 16_281
    assert sum(map(len, problem.splits.values())) == 48_842
    names = {*problem.preprocessing.features, *problem.preprocessing.categories}
    assert not names & {"fnlwgt", "relationship", "marital_status", "hours_per_week", "income_50k"}


def test_census_income_has_the_known_shares() -> None:
    problem = problems.census_income(real("census_income/census_income_test_half.npz"))
    everyone = {
        name: torch.cat([data.targets[name] for data in problem.splits.values()]).double().mean().item()
        for name in ("income_50k", "never_married")
    }
    assert everyone == pytest.approx({"income_50k": 0.062, "never_married": 0.432}, abs=5e-4)
    names = {*problem.preprocessing.features, *problem.preprocessing.categories}
    assert not names & {"instance_weight", "education", "marital_stat"}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize(
    "task, wrong, said",
    [
        (Segmentation("labels", 3), 7, r"classes 0 to 2 .*first: 7 in sample 1, row 2, column 3"),
        (Depth("labels"), 0.0, r"depths above 0 m.*first: 0 in sample 1, row 2, column 3"),
        (Edges("labels"), 5, r"0 and 1; 1 of 64 pixels"),
    ],
)
def test_labels_that_cannot_be_scored_are_told_of_every_split(task: Task, wrong: float, said: str, split: str) -> None:
    def data(flawed: bool) -> TensorData:
        target = torch.ones(4, 4, 4, dtype=torch.float32 if isinstance(task, Depth) else torch.int8)
        if flawed:
            target[1, 2, 3] = wrong
        return TensorData(torch.zeros(4, 3, 4, 4), {"labels": target})

    with pytest.raises(PolytaskError, match=rf"in the {split} split, task 'labels' expects {said}"):
        Problem("p", (task,), {each: data(each == split) for each in SPLITS}, SmallCNN(3))


def test_labels_of_tables_are_looked_at_too() -> None:
    splits = {each: TensorData(torch.zeros(2, 3), {"kind": torch.tensor([0, 1])}) for each in SPLITS}
    splits["test"] = TensorData(torch.zeros(2, 3), {"kind": torch.tensor([-100, 4])})
    with pytest.raises(PolytaskError, match="in the test split, task 'kind' expects labels 0 to 2, got 4"):
        Problem("p", (MultiClass("kind", 3),), splits, MLP(3))
