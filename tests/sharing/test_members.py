"""Architectures for the members of a task: separate networks are k networks, pooled ones do not tell them apart."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polytask import sharing, tasks
from polytask.errors import PolytaskError
from polytask.sharing.trunks._member_networks import groups
from polytask.tasks import ManyBinary, ManyRegression, MemberHeads

TRUNK = sharing.MLP(sharing.TableInputs(4, (3,)), widths=(6, 5))
EXAM = ManyRegression("exam", 7, "school")
NUMBERS = torch.tensor([6, 0, 0, 3, 6, 6, 6, 6, 0, 1])


def rows() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    categories = torch.randint(0, 3, (len(NUMBERS), 1), generator=generator)
    numbers = torch.randn(len(NUMBERS), 4, generator=generator)
    return {"numbers": numbers, "categories": categories, "school": NUMBERS.short()}


def alone(model: sharing.Separate, task: str, member: int) -> nn.Module:
    """The network of one member, as an ordinary module."""
    several: Any = model.networks.of(task)
    made = sharing.HardSharing(TRUNK, [tasks.Regression("y")])
    weights = {name: each[member] for name, each in several.network.state_dict().items()}
    own = {name.replace("backbone.", "shared.").replace("head.0.", "heads.y."): each for name, each in weights.items()}
    made.load_state_dict(own)
    return made


def test_separate_networks_are_k_networks() -> None:
    """Predictions and gradients equal those of ordinary networks, one by one: the slow twin."""
    torch.manual_seed(0)
    model, inputs = sharing.Separate(TRUNK, [EXAM]), rows()
    found = model(inputs)["exam"]
    found.square().sum().backward()
    for member in range(7):
        here = member == NUMBERS
        one = alone(model, "exam", member)
        expected = one({name: each[here] for name, each in inputs.items()})["y"]
        torch.testing.assert_close(found[here], expected)
        if not bool(here.any()):
            continue
        expected.square().sum().backward()
        of = {
            name.replace("shared.", "backbone.").replace("heads.y.", "head.0."): p for name, p in one.named_parameters()
        }
        for name, each in model.networks.of("exam").network.named_parameters():
            torch.testing.assert_close(each.grad[member], of[name].grad)


def test_separate_networks_of_columns_are_k_networks() -> None:
    torch.manual_seed(0)
    model, inputs = sharing.Separate(TRUNK, [ManyBinary("active", 3)]), rows()
    found = model(inputs)["active"]
    for member in range(3):
        torch.testing.assert_close(found[:, [member]], alone(model, "active", member)(inputs)["y"])


def test_separate_networks_begin_differently_and_with_a_hidden_layer_where_heads_have_one() -> None:
    task = ManyRegression("exam", 4, "school", hidden=3)
    model = sharing.Separate(TRUNK, [task])
    weights = dict(model.named_parameters())
    assert [tuple(each.shape) for name, each in weights.items() if "head" in name] == [
        (4, 3, 5),
        (4, 3),
        (4, 1, 3),
        (4, 1),
    ]
    first = next(iter(weights.values()))
    assert not torch.equal(first[0], first[1])


def test_rows_are_computed_with_others_of_nearly_as_many_rows() -> None:
    made = groups(NUMBERS, 7)
    seen = torch.cat([found[real] for _, found, real in made])
    assert seen.sort().values.tolist() == list(range(10))
    for members, found, real in made:
        assert bool((NUMBERS[found] == members[:, None]).all())
        counts = real.sum(1)
        assert counts.max() <= 2 * counts.min()
    generator = torch.Generator().manual_seed(0)
    skewed = (torch.rand(500, generator=generator) ** 4 * 1000).long()
    assert sum(found.numel() for _, found, _ in groups(skewed, 1000)) <= 2 * 500


def test_networks_with_running_statistics_are_computed_one_by_one() -> None:
    model: Any = sharing.Separate(sharing.SmallCNN(1, widths=(4,)), [ManyBinary("active", 3)]).eval()
    x = torch.rand(2, 1, 8, 8)
    networks = model.networks.of("active").networks
    torch.testing.assert_close(model(x)["active"], torch.cat([each(x) for each in networks], 1))


def test_rows_find_the_network_of_their_member_one_by_one() -> None:
    def normed() -> sharing.SequentialBackbone:
        encoder = sharing.MLP(sharing.TableInputs(4, (3,)), widths=(6,))()
        return sharing.SequentialBackbone([nn.Sequential(encoder.stages[0], nn.BatchNorm1d(6))], (6,))

    routed: Any = sharing.Separate(normed, [EXAM]).eval()
    found = routed(rows())["exam"]
    for member, network in enumerate(routed.networks.of("exam").networks):
        here = member == NUMBERS
        if bool(here.any()):
            torch.testing.assert_close(found[here], network({name: each[here] for name, each in rows().items()}))


def test_too_many_networks_are_refused() -> None:
    with pytest.raises(PolytaskError, match=r"1,000,000 members, and separate networks of [\d,]+ parameters"):
        sharing.Separate(sharing.MLP(50, widths=(64,)), [ManyBinary("active", 1_000_000)])
    with pytest.raises(PolytaskError, match="an input 'school'"):
        sharing.Separate(TRUNK, [EXAM])({"numbers": torch.zeros(1, 4), "categories": torch.zeros(1, 1).long()})


def test_dropout_differs_between_networks() -> None:
    torch.manual_seed(0)
    trunk = sharing.MLP(4, widths=(64,), dropout=0.5)
    model: Any = sharing.Separate(trunk, [ManyBinary("active", 2)])
    for parameter in model.parameters():
        parameter.data[1] = parameter.data[0]
    one, other = model(torch.ones(1, 4))["active"][0]
    assert one != other
    one, other = model.eval()(torch.ones(1, 4))["active"][0]
    assert one == other


def test_a_pooled_network_does_not_tell_members_apart() -> None:
    inputs = rows()
    model = sharing.Pooled(TRUNK, [EXAM, tasks.Binary("passed")])
    first = model(inputs)
    second = model(inputs | {"school": torch.zeros(10, dtype=torch.int32)})
    torch.testing.assert_close(first, second)
    head = model.heads.of("exam")
    assert isinstance(head, MemberHeads)
    assert sum(each.numel() for each in head.parameters()) == 6
    every = sharing.Pooled(TRUNK, [ManyBinary("active", 3)])(inputs)["active"]
    assert every.shape == (10, 3)
    assert bool((every == every[:, :1]).all())


def test_where_heads_are_not_shown_the_inputs_it_is_said() -> None:
    model = sharing.Cascade(TRUNK, [EXAM, tasks.Binary("passed")])
    with pytest.raises(PolytaskError, match="HardSharing"):
        model(rows())


def test_bare_inputs_make_linear_models() -> None:
    model = sharing.HardSharing(sharing.Bare(3), [tasks.Regression("y")])
    x = torch.randn(5, 3)
    head: Any = model.heads.of("y")
    torch.testing.assert_close(model(x)["y"], x @ head.weight.T + head.bias)
    with pytest.raises(PolytaskError, match="at least one input"):
        sharing.Bare(0)


# --- what is shared --------------------------------------------------------------------------------------------------


def test_a_trunk_is_shared_by_all_members_of_a_task() -> None:
    """7 members: the trunk and the common head serve all; every member's own head is its own."""
    alone = sharing.describe(sharing.HardSharing(TRUNK, [tasks.Regression("y")])).parameters
    told = sharing.describe(sharing.HardSharing(TRUNK, [EXAM]))
    trunk, common, own = (part.parameters for part in told.parts)
    assert [(part.module, part.apart) for part in told.parts] == [
        ("shared", False),
        ("heads.exam.common", False),
        ("heads.exam.outer", True),
    ]
    assert (trunk + common, own) == (alone, 7 * 6)
    assert (told.shared, told.separate) == (alone, 7 * alone + own)
    assert "exam, all 7 members" in str(told)
    assert "exam, each member for itself" in str(told)
    assert "Nothing is shared" not in str(told)


@pytest.mark.parametrize("trunk", [TRUNK, sharing.SmallCNN(1, widths=(4,))], ids=["together", "one by one"])
def test_networks_of_members_share_nothing(trunk: Any) -> None:
    told = sharing.describe(sharing.Separate(trunk, [ManyBinary("active", 3)]))
    assert (told.shared, told.separate) == (0, told.parameters)
    assert str(told).endswith("Nothing is shared.")


def test_members_are_counted_beside_other_tasks() -> None:
    told = sharing.describe(sharing.Pooled(TRUNK, [EXAM, tasks.Binary("passed")]))
    head = 6
    trunk = told.parameters - 2 * head
    assert told.shared == trunk + head  # the one head of all schools; that of "passed" is its own
    assert told.separate == 7 * (trunk + head) + trunk + head
    assert "exam, passed, all 7 members" in str(told)


def test_networks_that_learn_from_each_other_would_be_one_for_every_member() -> None:
    model = sharing.CrossStitch(sharing.MLP(4, widths=(8,)), [ManyBinary("active", 3), tasks.Binary("passed")])
    trunk, head = 4 * 8 + 8, 9
    assert sharing.describe(model).separate == 3 * trunk + 3 * head + trunk + head
