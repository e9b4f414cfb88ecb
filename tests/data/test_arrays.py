"""Samples in memory: batches gathered at once are what gathering one by one gives."""

import math

import pytest
import torch

from polytask.data import TensorData
from polytask.errors import PolytaskError


def table(rows: int = 20) -> TensorData:
    generator = torch.Generator().manual_seed(rows)
    number = torch.randn(rows, generator=generator)
    number[::4] = math.nan
    kind = torch.randint(3, (rows,), generator=generator)
    kind[::3] = -100
    tags = torch.randint(2, (rows, 2), generator=generator)
    tags[::5, 0] = -100
    inputs = {
        "numbers": torch.randn(rows, 4, generator=generator),
        "categories": torch.randint(9, (rows, 2), generator=generator),
    }
    return TensorData(inputs, {"number": number, "kind": kind, "tags": tags, "whole": torch.arange(rows)})


def test_a_batch_is_its_samples() -> None:
    data = table()
    index = torch.tensor([3, 17, 3, 0, 8])
    batch = data.gather(index)
    assert len(batch) == 5
    for place, row in enumerate(index.tolist()):
        for name, column in data.inputs.items():
            assert torch.equal(batch.inputs[name][place], column[row])
        for name, target in data.targets.items():
            torch.testing.assert_close(batch.targets[name][place], target[row], equal_nan=True)
    inputs, targets = batch
    assert inputs is batch.inputs and targets is batch.targets


def test_counts_and_absent_tasks() -> None:
    data = table()
    assert data.counts() == {"number": 15, "kind": 13, "tags": 36, "whole": 20}
    batch = data.gather(torch.tensor([0, 4, 8]))  # no label of number; kind only at 4 and 8; one tag missing
    assert batch.counts == {"kind": 2, "tags": 5, "whole": 3} and set(batch.targets) == set(batch.counts)
    nothing = data.gather(torch.tensor([], dtype=torch.long))
    assert len(nothing) == 0 and nothing.targets == {}


def test_a_piece_counts_the_whole_batch() -> None:
    data = table()
    whole = torch.arange(8)
    pieces = [data.piece(part, whole) for part in whole.split(3)]
    for piece in pieces:
        assert piece.counts == data.gather(whole).counts and set(piece.targets) == set(piece.counts)
    assert sum(len(piece) for piece in pieces) == 8


def test_transform_is_applied_to_inputs_of_a_batch() -> None:
    pixels = torch.randint(256, (6, 4), dtype=torch.uint8)
    data = TensorData(pixels, {"a": torch.zeros(6)}, transform=lambda x: x.float() / 255)
    assert torch.equal(data.gather(torch.tensor([5, 1])).inputs, pixels[[5, 1]].float() / 255)
    assert torch.equal(data.select(torch.tensor([2, 3])).gather(torch.tensor([1])).inputs, pixels[[3]].float() / 255)


def test_select_and_only() -> None:
    data = table()
    some = data.select(torch.tensor([1, 2, 4]))
    assert len(some) == 3 and some.counts()["number"] == 2
    alone = data.only("number")
    assert len(alone) == 15 and set(alone.targets) == {"number"} and not alone.targets["number"].isnan().any()
    both = data.only("number", "kind")
    assert len(both) == 20 - 2  # rows 0 and 12 have neither
    assert len(data.only("whole")) == 20


def test_batch_goes_to_a_device() -> None:
    moved = table().gather(torch.arange(5)).to(torch.device("meta"))
    assert moved.inputs["numbers"].device.type == "meta" and moved.targets["kind"].device.type == "meta"
    assert moved.counts["whole"] == 5


def test_no_samples() -> None:
    """An empty split has no labels; whoever needs some says so."""
    empty = table().select(torch.tensor([], dtype=torch.long))
    assert len(empty) == 0
    assert empty.counts() == {"number": 0, "kind": 0, "tags": 0, "whole": 0}
    assert isinstance(empty.fingerprint(), str)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_inputs_that_are_not_finite(bad: float) -> None:
    inputs = torch.randn(10, 3)
    inputs[[4, 7], 1] = bad
    with pytest.raises(PolytaskError, match=r"NaN or infinity in 2 of 10 rows \(first: row 4\)"):
        TensorData(inputs, {"a": torch.zeros(10)})
    with pytest.raises(PolytaskError, match="input 'numbers' holds NaN"):
        TensorData({"numbers": inputs}, {"a": torch.zeros(10)})


def test_infinities_that_cancel_and_huge_sums() -> None:
    with pytest.raises(PolytaskError, match="2 of 3 rows"):
        TensorData(torch.tensor([math.inf, -math.inf, 0.0]), {})
    TensorData(torch.full((4,), 1e308, dtype=torch.float64), {})  # large, but fine
    TensorData(torch.full((4,), 3e38), {})


def test_columns_of_different_length() -> None:
    with pytest.raises(PolytaskError, match=r"one row per sample each, got .*'target a': 4"):
        TensorData(torch.zeros(5, 2), {"a": torch.zeros(4)})
    with pytest.raises(PolytaskError, match="'input x': 3"):
        TensorData({"x": torch.zeros(3), "y": torch.zeros(4)}, {})
    with pytest.raises(PolytaskError, match="empty dict"):
        TensorData({}, {"a": torch.zeros(4)})


def test_fingerprint_of_equal_data_is_equal() -> None:
    assert table().fingerprint() == table().fingerprint()
    data = table()
    assert data.select(torch.arange(20)).fingerprint() == data.fingerprint()
    wide = torch.randn(6, 4)
    assert TensorData(wide.T.contiguous().T, {}).fingerprint() == TensorData(wide, {}).fingerprint()


def test_fingerprint_feels_every_change() -> None:
    base = table()
    seen = {base.fingerprint()}

    def check(inputs: object = None, targets: object = None) -> None:
        changed = TensorData(inputs or base.inputs, targets or base.targets).fingerprint()
        assert changed not in seen
        seen.add(changed)

    numbers = base.inputs["numbers"].clone()
    numbers[11, 2] = torch.nextafter(numbers[11, 2], torch.tensor(9.0))
    check({**base.inputs, "numbers": numbers})
    check({**base.inputs, "categories": base.inputs["categories"].int()})
    check({**base.inputs, "more": torch.zeros(20, 0)})
    check({"renamed": base.inputs["numbers"], "categories": base.inputs["categories"]})
    check({**base.inputs, "numbers": base.inputs["numbers"].reshape(20, 2, 2)})
    for name, target in base.targets.items():
        other = target.clone()
        other[1] = 1 - other[1]
        check(targets={**base.targets, name: other})
        check(targets={("new" if key == name else key): value for key, value in base.targets.items()})
    check(targets={"number": base.targets["number"]})
    order = torch.randperm(20)
    shuffled = base.select(order).fingerprint()
    assert shuffled not in seen


def test_fingerprint_tells_inputs_from_targets() -> None:
    """A column called 'target a' is not the target a."""
    column, target = torch.arange(3.0), torch.ones(3)
    first = TensorData({"x": target, "target a": column}, {"a": target})
    second = TensorData({"x": target, "target a": column + 1}, {"a": target})
    assert first.fingerprint() != second.fingerprint()
