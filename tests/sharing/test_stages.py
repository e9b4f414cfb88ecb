"""Which stage a weight belongs to, and one trained trunk for another model, with every kind of backbone."""

import pytest
import torch
from sharing_cases import BACKBONES

from polytask import sharing, tasks
from polytask.sharing.stages import named, stages_of

A, B = tasks.Binary("a"), tasks.Binary("b")


@pytest.mark.parametrize("name", BACKBONES)
def test_every_weight_of_a_trunk_has_a_stage_and_every_stage_weights(name: str) -> None:
    model = sharing.HardSharing(BACKBONES[name], [A])
    found = stages_of(model)
    weights = {each for each, tensor in named(model) if each.startswith("shared.") and tensor.requires_grad}
    assert weights <= set(found)
    assert not any(each.startswith("heads") for each in found)
    widths = model.shared.widths
    assert set(found.values()) == set(range(len(widths)))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_trunk_that_is_taken_over_gives_the_same_features(name: str) -> None:
    torch.manual_seed(0)
    trained = sharing.HardSharing(BACKBONES[name], [A])
    with torch.no_grad():
        for each in trained.parameters():
            each.add_(0.01)
    model = sharing.start_from(sharing.HardSharing(BACKBONES[name], [B]), trained.state_dict())
    own, theirs = model.shared.state_dict(), trained.shared.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[key], theirs[key]) for key in own)


def test_in_a_split_trunk_stages_are_counted_through() -> None:
    model = sharing.HardSharing(sharing.MLP(4, widths=(5, 6, 7)), [A, B], shared_stages=1)
    found = stages_of(model)
    assert found["shared.stages.0.linear.weight"] == 0
    assert [found[f"branches.b.stages.{k}.linear.weight"] for k in (0, 1)] == [1, 2]
    assert not any(name.startswith("heads") for name in found)


def test_where_nothing_is_shared_every_branch_is_a_trunk() -> None:
    model = sharing.HardSharing(sharing.MLP(4, widths=(5, 6)), [A, B], shared_stages=0)
    found = stages_of(model)
    assert [found[f"branches.{task}.whole.stages.1.linear.weight"] for task in "ab"] == [1, 1]
