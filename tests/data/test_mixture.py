"""One data set per task, stacked; views of rows and tasks that copy nothing; what samplers draw from."""

import pickle

import pytest
import torch

from polytask.data import Sources, TensorData, mixture
from polytask.errors import PolytaskError


def books(rows: int = 4) -> TensorData:
    return TensorData(torch.arange(rows * 2.0).reshape(rows, 2), {"stars": torch.arange(float(rows))})


def films(rows: int = 3) -> TensorData:
    seen = torch.tensor([1, 0, -100])[:rows]
    return TensorData(100 + torch.arange(rows * 2.0).reshape(rows, 2), {"seen": seen, "stars": torch.ones(rows)})


def test_rows_labels_and_sources_of_a_mixture() -> None:
    both = mixture({"books": books(), "films": films()})
    assert len(both) == 7 and both.inputs[4].tolist() == [100.0, 101.0]
    assert both.targets["seen"].tolist() == [-100] * 4 + [1, 0, -100]
    assert both.targets["stars"].tolist() == [0, 1, 2, 3, 1, 1, 1]
    assert both.counts() == {"stars": 7, "seen": 2}
    assert both.sources.names == ("books", "films") and both.sources.of_row.tolist() == [0] * 4 + [1] * 3
    assert {name: rows.tolist() for name, rows in both.pools().items()} == {"books": [0, 1, 2, 3], "films": [4, 5, 6]}


def test_types_that_hold_no_missing_label_are_made_wider() -> None:
    maps = TensorData(torch.zeros(2, 1), {"parts": torch.tensor([[200, 3], [0, 1]], dtype=torch.uint8)})
    both = mixture({"maps": maps, "books": TensorData(torch.zeros(1, 1), {})})
    assert both.targets["parts"].dtype == torch.int16 and both.targets["parts"].tolist()[2] == [-100, -100]
    alone = mixture({"maps": maps})
    assert alone.targets["parts"].dtype == torch.uint8


def test_inputs_by_name_are_stacked_by_name() -> None:
    def part(value: float) -> TensorData:
        return TensorData({"x": torch.full((2, 1), value), "k": torch.full((2,), int(value))}, {})

    both = mixture({"a": part(1.0), "b": part(2.0)})
    assert both.inputs["x"].flatten().tolist() == [1, 1, 2, 2] and both.inputs["k"].tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize(
    "other, told",
    [
        (TensorData(torch.zeros(2, 3), {}), r"'books' has rows of one tensor: float32 \[2\], 'other' of .*\[3\]"),
        (TensorData({"x": torch.zeros(2, 2)}, {}), "x: float32"),
        (TensorData(torch.zeros(2, 2), {}, transform=torch.abs), "one `transform`"),
        (TensorData(torch.zeros(2, 2), {"stars": torch.zeros(2, dtype=torch.long)}), "task 'stars' differ.*int64"),
    ],
)
def test_what_does_not_fit_together_is_told(other: TensorData, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        mixture({"books": books(), "other": other})


def test_a_mixture_of_nothing_is_refused() -> None:
    with pytest.raises(PolytaskError, match="at least one data set"):
        mixture({})
    with pytest.raises(PolytaskError, match="0 to 0"):
        Sources(("a",), torch.tensor([0, 1]))


def test_targets_are_used_as_a_dict() -> None:
    found = books().select(torch.tensor([3, 1])).targets
    assert list(found) == ["stars"] and len(found) == 1 and "seen" not in found and found.get("seen") is None
    more = found | {"seen": torch.ones(2)}
    assert {name: each.tolist() for name, each in more.items()} == {"stars": [3, 1], "seen": [1, 1]}
    with pytest.raises(KeyError, match="seen"):
        found["seen"]


def test_views_copy_no_column() -> None:
    data = mixture({"books": books(), "films": films()})
    stored = data.inputs.data_ptr()
    neighbours, scattered = data.select(torch.arange(2, 6)), data.select(torch.tensor([6, 0, 3]))
    assert neighbours.inputs.untyped_storage().data_ptr() == data.inputs.untyped_storage().data_ptr()
    assert scattered._inputs.data_ptr() == stored  # the columns are the same; rows are taken when they are asked for
    assert scattered.inputs.tolist() == data.inputs[[6, 0, 3]].tolist()
    again = scattered.select(torch.tensor([2, 1]))
    assert again._inputs.data_ptr() == stored and again.gather(torch.tensor([0])).inputs.tolist() == [[6.0, 7.0]]
    assert again.sources.of_row.tolist() == [0, 0] and scattered.sources.of_row.tolist() == [1, 0, 0]


def test_a_view_equals_a_copy_of_its_rows() -> None:
    data = mixture({"books": books(), "films": films()})
    for rows in (torch.tensor([6, 0, 3]), torch.arange(1, 5), torch.tensor([5])):
        view = data.select(rows)
        copied = TensorData(
            data.inputs[rows], {name: each[rows] for name, each in data.targets.items()}, sources=view.sources
        )
        assert view.fingerprint() == copied.fingerprint() and view.counts() == copied.counts()
        index = torch.arange(len(rows)).flip(0)
        assert view.gather(index).complete == copied.gather(index).complete
        assert view.gather(index).inputs.equal(copied.gather(index).inputs)
    assert data.select(data.inputs[:, 0] > 50).counts() == {"stars": 3, "seen": 2}  # a mask, as in PyTorch


def test_a_view_is_sent_with_its_own_rows_alone() -> None:
    data = TensorData(torch.zeros(10_000, 8), {"a": torch.zeros(10_000)})
    for rows in (torch.tensor([5, 9, 7]), torch.arange(3, 6)):
        sent = pickle.dumps(data.select(rows))
        assert len(sent) < 5_000
        assert pickle.loads(sent).fingerprint() == data.select(rows).fingerprint()


def test_one_task_of_a_mixture() -> None:
    data = mixture({"books": books(), "films": films()})
    alone = data.only("seen")
    assert len(alone) == 2 and alone.gather(torch.arange(2)).complete == {"seen"}
    assert list(alone.pools()) == ["seen"]  # one source is left: what is drawn from are tasks
    assert list(data.only("stars").pools()) == ["books", "films"]
    with pytest.raises(PolytaskError, match="did you mean 'stars'"):
        data.only("star")


def test_one_task_per_row() -> None:
    x = torch.arange(4.0)[:, None]
    a, b = torch.tensor([1.0, 2.0, torch.nan, 4.0]), torch.tensor([[7, 8], [-100, 8], [5, -100], [-100, -100]])
    data = TensorData(x, {"a": a, "b": b, "none": torch.full((4,), -100)})
    apart = data.one_task_per_row()
    assert len(apart) == 6 and apart.inputs.flatten().tolist() == [0, 1, 3, 0, 1, 2]
    assert {name: rows.tolist() for name, rows in apart.pools().items()} == {"a": [0, 1, 2], "b": [3, 4, 5]}
    assert apart.counts() == {"a": 3, "b": 4}
    batch = apart.gather(torch.tensor([2, 3]))
    assert batch.counts == {"a": 1, "b": 2} and batch.complete == frozenset()
    assert batch.targets["a"][0] == 4 and batch.targets["a"][1].isnan() and batch.targets["b"].tolist()[0] == [-100] * 2
    assert set(apart.gather(torch.tensor([3, 4])).targets) == {"b"}
    sent = pickle.loads(pickle.dumps(apart))
    assert sent.fingerprint() == apart.fingerprint() != data.fingerprint() and sent.counts() == apart.counts()
    assert apart.only("b").counts() == {"b": 4} and len(apart.only("b")) == 3


def test_data_sets_without_names_are_refused() -> None:
    with pytest.raises(PolytaskError, match="got a list: give a mapping of names to data sets"):
        mixture([books(), films()])  # type: ignore[arg-type]


def test_pools_leave_out_what_has_no_rows() -> None:
    data = mixture({"books": books(), "films": films(), "none": books().select(torch.zeros(0, dtype=torch.long))})
    assert list(data.pools()) == ["books", "films"]
    assert {name: rows.tolist() for name, rows in films().pools().items()} == {"seen": [0, 1], "stars": [0, 1, 2]}
