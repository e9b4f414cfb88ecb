"""Counts of labels, overlap, balance and scales, by hand; rows that are in two splits."""

import math

import pytest
import torch

from polytask.data import Bookkeeping, TensorData, crossings, duplicates
from polytask.data.leakage import row_hashes, share
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.sharing import MLP
from polytask.tasks import Binary, Depth, MultiClass, MultiLabel, Regression, Segmentation, Task

NAN = float("nan")


def two_splits() -> dict[str, TensorData]:
    """Six training rows and two test rows of five tasks."""
    train = {
        "rain": torch.tensor([1, 0, 0, -100, -100, 0]),
        "kind": torch.tensor([2, 2, 0, -100, 1, 2]),
        "degrees": torch.tensor([1e6 + 1, NAN, 1e6 + 3, NAN, NAN, NAN]),
        "tags": torch.tensor([[1, 0], [-100, 1], [1, -100], [-100, -100], [0, 1], [1, 1]]),
    }
    test = {
        "rain": torch.tensor([1, 1]),
        "kind": torch.tensor([0, 0]),
        "degrees": torch.tensor([NAN, 7.0]),
        "tags": torch.tensor([[0, 0], [0, 1]]),
    }
    return {"train": TensorData(torch.zeros(6, 1), train), "test": TensorData(torch.zeros(2, 1), test)}


TASKS: list[Task] = [
    Binary("rain", labels=("dry", "wet")),
    MultiClass("kind", ("a", "b", "c")),
    Regression("degrees", unit="C"),
    MultiLabel("tags", ("red", "round")),
]


@pytest.fixture
def book() -> Bookkeeping:
    return Bookkeeping(TASKS, two_splits())


def test_rows_with_a_label(book: Bookkeeping) -> None:
    assert book.rows == {"train": 6, "test": 2}
    assert {task: found["train"] for task, found in book.labelled.items()} == {
        "rain": 4, "kind": 5, "degrees": 2, "tags": 5,
    }  # fmt: skip
    assert book.labelled["degrees"]["test"] == 1
    assert book.filled["tags"] == {"train": 8 / 12, "test": 1.0}


def test_overlap(book: Bookkeeping) -> None:
    assert book.overlap("train").tolist() == [[4, 4, 2, 4], [4, 5, 2, 5], [2, 2, 2, 2], [4, 5, 2, 5]]
    assert book.unlabelled("train") == 1
    assert book.unlabelled("test") == 0


def test_class_balance(book: Bookkeeping) -> None:
    assert set(book.balance) == {"rain", "kind", "tags"}
    assert book.balance["rain"]["train"].shares.tolist() == [3 / 4, 1 / 4]
    assert book.balance["kind"]["train"].counts.tolist() == [1, 1, 3]
    assert book.balance["kind"]["test"].shares.tolist() == [1, 0, 0]
    assert book.balance["tags"]["train"].shares.tolist() == [3 / 4, 3 / 4]  # of the labels that each has


def test_scales_keep_small_deviations_of_large_numbers(book: Bookkeeping) -> None:
    assert set(book.scales) == {"degrees"}
    train, test = book.scales["degrees"].values()
    assert (train.labels, train.mean, train.deviation, train.low, train.high) == (2, 1e6 + 2, 1.0, 1e6 + 1, 1e6 + 3)
    assert (test.labels, test.mean, test.deviation) == (1, 7.0, 0.0)


def test_scales_of_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 3 + 100
    numbers[::7] = NAN
    data = {"train": TensorData(torch.zeros(1000), {"x": numbers})}
    monkeypatch.setattr("polytask.data.bookkeeping.AT_ONCE", 13)
    scale = Bookkeeping([Regression("x")], data).scales["x"]["train"]
    there = numbers[~numbers.isnan()].double()
    assert scale.labels == len(there)
    assert scale.mean == pytest.approx(there.mean().item(), abs=1e-9)
    assert scale.deviation == pytest.approx(there.std(correction=0).item(), abs=1e-9)


def test_without_labels_nothing_is_known() -> None:
    empty = {"x": torch.full((3,), NAN), "kind": torch.full((3,), -100)}
    book = Bookkeeping([Regression("x"), MultiClass("kind", 2)], {"train": TensorData(torch.zeros(3), empty)})
    assert book.labelled == {"x": {"train": 0}, "kind": {"train": 0}}
    assert math.isnan(book.scales["x"]["train"].mean)
    assert book.balance["kind"]["train"].shares.isnan().all()


def test_maps_are_counted_by_sample_and_pixel() -> None:
    labels, depth = torch.tensor([[[0, 1], [-100, 1]], [[-100, -100], [-100, -100]]]), torch.full((2, 2, 2), NAN)
    depth[1] = 2.0
    data = {"train": TensorData(torch.zeros(2, 3, 2, 2), {"labels": labels, "depth": depth})}
    book = Bookkeeping([Segmentation("labels", 2), Depth("depth")], data)
    assert book.labelled == {"labels": {"train": 1}, "depth": {"train": 1}}
    assert book.filled["labels"]["train"] == 3 / 8
    assert book.overlap("train").tolist() == [[1, 0], [0, 1]]
    assert book.balance["labels"]["train"].counts.tolist() == [1, 2]


def test_views_are_counted_by_their_own_rows() -> None:
    data = two_splits()["train"]
    book = Bookkeeping(TASKS, {"train": data.select(torch.tensor([4, 0]))})
    assert {task: found["train"] for task, found in book.labelled.items()} == {
        "rain": 1, "kind": 2, "degrees": 1, "tags": 2,
    }  # fmt: skip


# --- what is refused and warned of ------------------------------------------------------------------------------------


def posed(**changed: dict[str, torch.Tensor]) -> Problem:
    """A problem with different inputs in every row."""
    inputs = torch.arange(12.0).reshape(3, 4, 1)
    splits = {
        name: {"rain": torch.tensor([0, 1, 1, -100]), "x": torch.arange(4.0)} | changed.get(name, {})
        for name in ("train", "validation", "test")
    }
    data = {name: TensorData(inputs[k], targets) for k, (name, targets) in enumerate(splits.items())}
    return Problem("p", (Binary("rain"), Regression("x")), data, MLP(1))


def test_targets_in_the_test_split_only() -> None:
    none = {"rain": torch.full((4,), -100)}
    with pytest.raises(PolytaskError) as told:
        posed(train=none, validation=none)
    assert "task 'rain' has no label in the train and validation split" in str(told.value)
    assert "0 of 4 train rows, 0 of 4 validation rows, 3 of 4 test rows" in str(told.value)
    assert "nothing could be learned" in str(told.value)


def test_no_validation_label() -> None:
    with pytest.raises(PolytaskError, match=r"in the validation split .*no network could be chosen"):
        posed(validation={"rain": torch.full((4,), -100)})


def test_labels_outside_the_classes_and_targets_that_are_not_there() -> None:
    with pytest.raises(PolytaskError, match="in the test split, task 'rain' expects labels 0 to 1, got 3"):
        posed(test={"rain": torch.tensor([0, 3, 1, 1])})
    data = TensorData(torch.zeros(2, 1), {"rian": torch.tensor([0, 1])})
    with pytest.raises(PolytaskError, match=r"no targets for task 'rain'.*Allowed: rian"):
        Problem("p", (Binary("rain"),), dict.fromkeys(("train", "validation", "test"), data), MLP(1))


def test_a_problem_warns_of_rows_that_are_in_two_splits() -> None:
    fine = posed()
    assert fine.warnings == ()
    splits = dict(fine.splits)
    splits["test"] = TensorData(torch.tensor([[1.0], [50.0], [51.0], [5.0]]), splits["test"].targets)
    leaking = Problem("p", fine.tasks, splits, MLP(1), notes=("a note",))
    assert [each.split(":")[1] for each in leaking.warnings] == [
        " 1 of 4 test rows (25.0 %) with exactly the inputs of a train row",
        " 1 of 4 test rows (25.0 %) with exactly the inputs of a validation row",
    ]
    assert leaking.all_notes == (*leaking.warnings, "a note")


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: torch.stack([torch.full((3, 4, 4), value, dtype=torch.uint8) for value in rows]),
        lambda rows: {"numbers": torch.tensor([rows]).T.float(), "words": torch.tensor([rows, rows]).T},
        lambda rows: {"a": torch.zeros(len(rows), 2), "b": torch.tensor(rows)},
        lambda rows: torch.tensor(rows, dtype=torch.float64)[:, None].expand(-1, 3),
    ],
)
def test_duplicates_of_pictures_and_tables(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polytask.data.leakage.AT_ONCE", 100)  # several parts
    data = {"train": TensorData(make([1, 2, 3, 2]), {}), "test": TensorData(make([9, 2, 2, 1, 8]), {})}
    (found,) = duplicates(data)
    assert (found.earlier, found.later, found.values, found.rows, found.of) == ("train", "test", 2, 3, 5)
    hashes = row_hashes(data["train"])
    assert hashes[1] == hashes[3]
    assert len(hashes.unique()) == 3


def test_numbers_that_differ_in_high_bits_only_are_told_apart() -> None:
    """Small whole numbers as float64 differ in bits that simple sums of products would lose."""
    data = TensorData(torch.arange(4096.0, dtype=torch.float64).reshape(-1, 2), {})
    assert len(row_hashes(data).unique()) == 2048


def test_crossings_by_hand() -> None:
    found = crossings({"a": torch.tensor([1, 1, 2]), "b": torch.tensor([3, 2, 2, 1]), "c": torch.tensor([4])})
    assert [(each.earlier, each.later, each.values, each.rows, each.of) for each in found] == [("a", "b", 2, 3, 4)]
    assert "2 of the values of group 'shop' in both a and b (3 of 4 b rows (75.0 %))" in found[0].same_group("shop")


def test_shares_never_round_to_nothing_or_all() -> None:
    assert [share(part, 10_000) for part in (0, 1, 9_999, 10_000)] == ["0 %", "< 0.1 %", "> 99.9 %", "100 %"]
