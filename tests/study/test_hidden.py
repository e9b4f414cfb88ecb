"""Problems with fewer training labels than there are."""

import json

import pytest
import torch

from polytask import problems
from polytask.errors import PolytaskError
from polytask.study import with_label_share, with_labels
from polytask.study.hidden import made_again


def test_a_share_of_the_labels_of_every_task_is_kept_each_drawn_by_itself() -> None:
    whole = problems.digits(n_train=200)
    half = with_label_share(whole, 0.5)
    left, right = (half.splits["train"].labelled(name) for name in ("left", "right"))
    assert int(left.sum()) == int(right.sum()) == 100
    assert 30 < int((left & right).sum()) < 70  # a quarter of the rows expected; all, were the draws the same
    for name, there in {"left": left, "right": right}.items():
        kept, before = half.splits["train"].targets[name], whole.splits["train"].targets[name]
        assert torch.equal(kept[there], before[there]) and bool((kept[~there] == -100).all())
    assert half.splits["test"] is whole.splits["test"]
    other = with_label_share(whole, 0.5, seed=1).splits["train"]
    assert not torch.equal(other.labelled("left"), left) and not torch.equal(other.labelled("left"), right)
    assert with_label_share(whole, 1.0) is whole


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_other_shares_are_refused(share: float) -> None:
    with pytest.raises(PolytaskError, match="share must be above 0 and at most 1"):
        with_label_share(problems.digits(n_train=100), share)


def test_what_was_hidden_can_be_made_again() -> None:
    whole = problems.digits(n_train=200)
    few = with_labels(with_label_share(whole, 0.5, seed=3), "left", 10, seed=7)
    spec = json.loads(json.dumps(few.spec))
    made = made_again(problems.digits(**spec["args"]), spec)
    assert made.fingerprint() == few.fingerprint() != whole.fingerprint()
    assert made.tasks == few.tasks
    assert made_again(whole, whole.spec) is whole


def test_rows_are_counted_not_outputs() -> None:
    faces = with_label_share(problems.faces(n_train=60), 0.5)
    assert int(faces.splits["train"].labelled("landmarks").sum()) == 30
    by_rows = with_label_share(problems.many_sines(members=4, rows=20), 0.5).splits["train"]
    by_columns = with_label_share(problems.many_sines(members=4, rows=20, columns=True), 0.5).splits["train"]
    for data in (by_rows, by_columns):
        assert int(data.labelled("y").sum()) == round(len(data) / 2)


def test_fewer_tasks_and_fewer_labels_are_made_again_in_their_order() -> None:
    whole = problems.digits(n_train=200, auxiliary=True)
    few = with_labels(whole.only("left", "sum"), "left", 10).only("left")
    assert [list(step) for step in few.spec["then"]] == [["only"], ["labels"], ["only"]]
    made = made_again(whole, json.loads(json.dumps(few.spec)))
    assert made.fingerprint() == few.fingerprint() and made.tasks == few.tasks and len(made.splits["train"]) == 10
