"""Problems with fewer training labels than there are."""

import json

import pytest
import torch

from polytask import problems
from polytask.errors import PolytaskError
from polytask.study import with_label_share, with_labels
from polytask.study.hidden import hidden_again


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


def test_what_was_hidden_can_be_hidden_again() -> None:
    whole = problems.digits(n_train=200)
    few = with_labels(with_label_share(whole, 0.5, seed=3), "left", 10, seed=7)
    spec = json.loads(json.dumps(few.spec))
    made = hidden_again(problems.digits(**spec["args"]), spec)
    assert made.fingerprint() == few.fingerprint() != whole.fingerprint()
    assert made.tasks == few.tasks
    assert hidden_again(whole, whole.spec) is whole
