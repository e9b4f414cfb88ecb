"""Task conditioning: concatenation is addition, gating is independent networks, FiLM starts as hard sharing."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polytask import sharing, tasks
from polytask.errors import PolytaskError
from polytask.tasks import MultiClass, Regression

VECTORS = [tasks.Regression("one"), tasks.Binary("two"), tasks.MultiClass("three", 3)]
NAMES = [task.name for task in VECTORS]
MLP = sharing.MLP(5, widths=(6, 7))
CNN = sharing.SmallCNN(1, widths=(4, 6))
STAGED = [sharing.Addition, sharing.Concatenation, sharing.FiLM]


def randomised(model: nn.Module) -> Any:
    """Also what starts at zero has a value."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def loss_of(predictions: dict[str, Tensor]) -> Tensor:
    return torch.stack([each.square().mean() for each in predictions.values()]).sum()


def steps(model: Any, x: Tensor, number: int = 3) -> None:
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], 0.05)
    for _ in range(number):
        optimizer.zero_grad()
        loss_of(model(x)).backward()
        optimizer.step()


class Literal(nn.Module):
    """An MLP of one stage with z put beside its output and a linear layer over both, task by task, then the heads."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        stage = model.trunk.backbone.stages[0]
        layer = model.trunk.layers["0"]
        self.below = nn.Linear(5, 6)
        self.below.load_state_dict(stage.linear.state_dict())
        columns = torch.stack([layer.embedding.columns.of(name)() for name in NAMES], 1)
        self.beside = nn.Linear(6 + len(NAMES), 6)
        with torch.no_grad():
            self.beside.weight.copy_(torch.cat([layer.linear.weight, columns], 1))
            self.beside.bias.copy_(layer.linear.bias)
        self.heads = nn.ModuleList(nn.Linear(6, task.outputs) for task in VECTORS)
        for head, name in zip(self.heads, NAMES, strict=True):
            head.load_state_dict(model.heads.of(name).state_dict())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = torch.relu(self.below(x))
        z = torch.eye(len(NAMES)).expand(len(x), -1, -1)
        return {name: self.heads[k](self.beside(torch.cat([h, z[:, k]], 1))) for k, name in enumerate(NAMES)}


def test_concatenation_before_a_linear_layer_is_addition_after_it() -> None:
    """Computed as W x + E z + b, against a literal torch.cat: functions, gradients and three steps of Adam."""
    model = randomised(sharing.Conditioned(sharing.MLP(5, widths=(6,)), VECTORS, by=sharing.Concatenation()))
    literal = Literal(model)
    x = torch.randn(8, 5)
    torch.testing.assert_close(model(x), literal(x))
    for each in (model, literal):
        loss_of(each(x)).backward()
    layer = model.trunk.layers["0"]
    columns = [layer.embedding.columns.of(name).values for name in NAMES]
    expected = torch.cat([layer.linear.weight.grad, torch.stack([each.grad for each in columns], 1)], 1)
    torch.testing.assert_close(literal.beside.weight.grad, expected)
    torch.testing.assert_close(literal.beside.bias.grad, layer.linear.bias.grad)
    for each in (model, literal):
        steps(each, x)
    torch.testing.assert_close(model(x), literal(x))
    torch.testing.assert_close(literal.beside.weight[:, 6:], torch.stack(columns, 1))


@pytest.mark.parametrize("backbone", [MLP, CNN])
def test_addition_is_concatenation_whose_linear_layer_leaves_x(backbone: Any) -> None:
    x = torch.randn(8, 5) if backbone is MLP else torch.randn(8, 1, 8, 8)
    added = randomised(sharing.Conditioned(backbone, VECTORS, by=sharing.Addition()))
    beside = sharing.Conditioned(backbone, VECTORS, by=sharing.Concatenation())
    missing, unexpected = beside.load_state_dict(added.state_dict(), strict=False)
    assert not unexpected and all("linear" in name for name in missing)  # these are the identity
    for name, parameter in beside.named_parameters():
        parameter.requires_grad_(name not in missing)
    torch.testing.assert_close(beside(x), added(x))
    for each in (added, beside):
        each.zero_grad()
        loss_of(each(x)).backward()
    theirs = dict(beside.named_parameters())
    for name, parameter in added.named_parameters():
        torch.testing.assert_close(theirs[name].grad, parameter.grad)
    for each in (added, beside):
        steps(each, x)
    torch.testing.assert_close(beside(x), added(x))


def test_gating_with_one_hot_descriptors_is_independent_networks() -> None:
    gated = sharing.Conditioned(CNN, VECTORS, by=sharing.Gating())
    alone = sharing.Independent(CNN, VECTORS)
    for k, name in enumerate(NAMES):
        network: Any = alone.networks.of(name)
        network.backbone.load_state_dict(gated.trunk.networks[k].state_dict())  # type: ignore[index,union-attr]
        network.head.load_state_dict(gated.heads.of(name).state_dict())
    x = torch.randn(8, 1, 8, 8)
    for _ in range(2):
        torch.testing.assert_close(gated(x), alone(x), rtol=0, atol=0)
        for each in (gated, alone):
            steps(each, x)
    assert sharing.describe(gated).shared == 0


def test_gates_mix_whole_networks() -> None:
    model = sharing.Conditioned(
        MLP, VECTORS[:2], by=sharing.Gating(), descriptors={"one": [0.25, 0.75], "two": [0.0, 2.0]}
    )
    x = torch.randn(4, 5)
    first, second = (network(x)[-1] for network in model.trunk.networks)  # type: ignore[union-attr]
    torch.testing.assert_close(model(x)["one"], model.heads.of("one")(0.25 * first + 0.75 * second))
    torch.testing.assert_close(model(x)["two"], model.heads.of("two")(2 * second))
    users = {name.split(".")[2]: users for name, users in model.shared_by().items() if "networks" in name}
    assert users == {"0": ("one",), "1": ("one", "two")}


def test_a_network_that_no_task_has_part_in_is_refused() -> None:
    for idle in ({"one": [1.0, 0.0], "two": [2.0, 0.0]}, {"one": [1.0, 1.0], "two": [0.0, 0.0]}):
        with pytest.raises(PolytaskError, match="never used"):
            sharing.Conditioned(MLP, VECTORS[:2], by=sharing.Gating(), descriptors=idle)


@pytest.mark.parametrize("by", STAGED)
@pytest.mark.parametrize("descriptors", [None, sharing.LearnedDescriptors(3)])
def test_training_starts_from_hard_sharing(by: Any, descriptors: Any) -> None:
    """FiLM with gamma 1 and beta 0, and the like."""
    model = sharing.Conditioned(CNN, VECTORS, by=by(), descriptors=descriptors)
    hard = sharing.HardSharing(CNN, VECTORS)
    hard.shared.load_state_dict(model.trunk.backbone.state_dict())  # type: ignore[union-attr]
    hard.heads.load_state_dict(model.heads.state_dict())
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(model(x), hard(x))


def test_film_by_hand() -> None:
    """gamma = 3, beta = -1 for the second task alone: 3 x - 1."""
    model: Any = sharing.Conditioned(sharing.MLP(5, widths=(2,)), VECTORS[:2], by=sharing.FiLM())
    with torch.no_grad():
        model.trunk.layers["0"].embedding.columns.of("two").values.copy_(torch.tensor([2.0, 2.0, -1.0, -1.0]))
    x = torch.randn(4, 5)
    (feature,) = model.trunk.backbone(x)
    torch.testing.assert_close(model(x)["one"], model.heads.of("one")(feature))
    torch.testing.assert_close(model(x)["two"], model.heads.of("two")(3 * feature - 1))


@pytest.mark.parametrize("by", STAGED)
@pytest.mark.parametrize("shape", [(4, 6), (4, 5, 6), (4, 6, 2, 2)])
def test_every_position_is_told_the_same(by: Any, shape: tuple[int, ...]) -> None:
    """Of maps [b, c, h, w] and tokens [b, n, c] as of vectors [b, c]."""
    backbone = lambda: sharing.SequentialBackbone([nn.Identity()], (6,))  # noqa: E731
    model = randomised(sharing.Conditioned(backbone, VECTORS, by=by()))
    x = torch.randn(shape)
    (feature,) = model.trunk(x, ["two"])["two"]
    rows = x if x.ndim < 4 else x.permute(0, 2, 3, 1)
    (expected,) = model.trunk(rows.reshape(-1, 6), ["two"])["two"]
    came = feature if x.ndim < 4 else feature.permute(0, 2, 3, 1)
    torch.testing.assert_close(came.reshape(-1, 6), expected)


@pytest.mark.parametrize("by", STAGED)
def test_the_descriptor_enters_where_it_is_told_to(by: Any) -> None:
    model = randomised(sharing.Conditioned(MLP, VECTORS, by=by(stages=(1,))))
    features = model.trunk(torch.randn(4, 5), NAMES)
    assert torch.equal(features["one"][0], features["two"][0])
    assert not torch.allclose(features["one"][1], features["two"][1])
    for wrong in ((2,), (-1,), (), 1):
        with pytest.raises(PolytaskError, match="stages are numbers from 0"):
            sharing.Conditioned(MLP, VECTORS, by=by(stages=wrong))


def test_how_much_tasks_change_can_be_followed() -> None:
    model: Any = sharing.Conditioned(MLP, VECTORS[:2], by=sharing.Addition(stages=(1,)))
    with torch.no_grad():
        model.trunk.layers["1"].embedding.columns.of("two").values.fill_(-0.5)
    assert model.inside() == {"stage 2, size of E z": {"one": 0.0, "two": 0.5}}
    gated = sharing.Conditioned(MLP, VECTORS, by=sharing.Gating(), descriptors=sharing.LearnedDescriptors(2))
    assert set(gated.inside()["gates of three"]) == {"network 1", "network 2"}
    assert sharing.Conditioned(MLP, VECTORS, by=sharing.Gating()).inside() == {}


def test_with_one_hot_descriptors_a_tasks_part_is_its_own() -> None:
    model = sharing.Conditioned(MLP, VECTORS, by=sharing.Concatenation())
    own = {users for name, users in model.shared_by().items() if "columns" in name}
    assert own == {(name,) for name in NAMES}
    told = sharing.Conditioned(MLP, VECTORS, descriptors=sharing.LearnedDescriptors(2))
    assert {users for name, users in told.shared_by().items() if "vectors" in name} == own
    assert {users for name, users in told.shared_by().items() if "embedding" in name} == {tuple(NAMES)}


def test_what_is_known_of_tasks_decides_how_alike_they_are() -> None:
    """Tasks with one descriptor have one trunk; one between two others has a feature between theirs."""
    known = {"one": [0.0, 1.0], "two": [1.0, 0.0], "three": [0.5, 0.5]}
    model = randomised(sharing.Conditioned(MLP, VECTORS, by=sharing.Addition(stages=(1,)), descriptors=known))
    features = {name: each[-1] for name, each in model.trunk(torch.randn(4, 5), NAMES).items()}
    torch.testing.assert_close(features["three"], (features["one"] + features["two"]) / 2)
    assert not any("vectors" in name for name, _ in model.named_parameters())
    assert "trunk.descriptors.vectors.one.values" in model.state_dict()


@pytest.mark.parametrize(
    "given, message",
    [
        ({"one": [1.0]}, "not for two, three"),
        ({"one": [1.0], "two": [1.0], "three": [1.0], "tree": [1.0]}, "'tree', which is no task; did you mean 'three'"),
        ({"one": [1.0], "two": [1.0, 2.0], "three": [1.0]}, r"vectors of one length, got one \[1\], two \[2\]"),
        ({"one": 1.0, "two": 1.0, "three": 1.0}, "vectors of one length"),
        ({"one": [1.0], "two": [float("nan")], "three": [1.0]}, "task 'two' is not finite"),
    ],
)
def test_descriptors_that_do_not_fit(given: Any, message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        sharing.Conditioned(MLP, VECTORS, descriptors=given)


def test_what_is_no_recipe_is_refused() -> None:
    with pytest.raises(PolytaskError, match="recipe"):
        sharing.Conditioned(MLP, VECTORS, by=sharing.FiLM)  # type: ignore[arg-type]
    with pytest.raises(PolytaskError, match="at least one number"):
        sharing.LearnedDescriptors(0)


def test_dense_tasks_are_told_too() -> None:
    dense = [tasks.Segmentation("classes", classes=3), tasks.Depth("depth")]
    model = sharing.Conditioned(CNN, dense, by=sharing.FiLM(), descriptors=sharing.LearnedDescriptors(2))
    assert model(torch.randn(2, 1, 16, 16))["classes"].shape == (2, 3, 16, 16)


def test_a_gated_network_keeps_what_its_own_tasks_read() -> None:
    """A vector reads the last feature alone: the norms of the others are no part of its network."""
    pytest.importorskip("transformers")
    swin = sharing.Transformers(
        "swin",
        num_channels=1,
        image_size=32,
        patch_size=4,
        embed_dim=8,
        depths=(1, 1),
        num_heads=(1, 1),
        window_size=4,
    )
    model = sharing.Conditioned(swin, [tasks.Depth("depth"), VECTORS[0]], by=sharing.Gating())
    loss_of(model(torch.randn(2, 1, 32, 32))).backward()
    assert not [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]


# --- tasks that were never seen ---------------------------------------------------------------------------------------


def told(name: str, *descriptor: float) -> Regression:
    return Regression(name, descriptor=descriptor)


def test_a_task_that_was_never_seen_is_told_by_its_descriptor() -> None:
    """head(x (1 + c z) + d z) by hand, with a descriptor that no task of the training had."""
    model: Any = sharing.Conditioned(sharing.MLP(5, widths=(2,)), [told("a", 1.0), told("b", -1.0)], one_head=True)
    with torch.no_grad():
        model.trunk.layers["0"].embedding.weight.copy_(torch.tensor([[2.0], [0.0], [0.5], [-1.0]]))
    unseen = model.for_tasks([told("between", 0.5)])
    x = torch.randn(4, 5)
    (feature,) = model.trunk.backbone(x)
    expected = model.head(feature * torch.tensor([2.0, 1.0]) + torch.tensor([0.25, -0.5]))
    torch.testing.assert_close(unseen(x)["between"], expected)
    assert list(model(x)) == ["a", "b"]  # as it was
    assert {id(p) for p in model.parameters()} == {id(p) for p in unseen.parameters()}
    gated = sharing.Conditioned(MLP, [told("a", 1.0, 0.0), told("b", 0.0, 1.0)], by=sharing.Gating(), one_head=True)
    mixed: Any = gated.for_tasks([told("both", 0.5, 0.5)])
    first, second = (network(x)[-1] for network in gated.trunk.networks)  # type: ignore[union-attr]
    torch.testing.assert_close(mixed(x)["both"], gated.head(0.5 * first + 0.5 * second))  # type: ignore[misc]


def test_tasks_that_were_never_seen_are_learned_from_others() -> None:
    """y = a x1 + b x2 with descriptor (a, b): from four tasks to a fifth; without descriptors it can't be told."""
    corners = [(1.0, 0.5), (-1.0, 0.5), (0.5, -1.0), (-0.5, -1.0)]
    tasks = [told(f"task {k}", *corner) for k, corner in enumerate(corners)]
    model = sharing.Conditioned(sharing.MLP(2, widths=(32,)), tasks, one_head=True)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(400):
        x = torch.randn(64, 2)
        errors = [
            (each[:, 0] - x @ torch.tensor(corners[k])).square().mean() for k, each in enumerate(model(x).values())
        ]
        optimizer.zero_grad()
        torch.stack(errors).sum().backward()
        optimizer.step()
    x, unseen = torch.randn(256, 2), (0.5, 0.25)
    y = x @ torch.tensor(unseen)
    error = (model.for_tasks([told("new", *unseen)])(x)["new"][:, 0] - y).square().mean()
    assert error < 0.1 * y.var()


def test_a_network_that_can_be_told_nothing_new_says_why() -> None:
    x, new = [told("a", 1.0), told("b", 0.0)], [told("c", 0.5)]
    with pytest.raises(PolytaskError, match="one_head=True"):
        sharing.Conditioned(MLP, x).for_tasks(new)
    with pytest.raises(PolytaskError, match="one-hot or learned"):
        sharing.Conditioned(MLP, [Regression("a"), Regression("b")], one_head=True).for_tasks(new)
    model = sharing.Conditioned(MLP, x, one_head=True)
    for wrong, message in (
        ([Regression("c")], "no descriptor is given for c"),
        ([told("c", 1.0, 2.0)], "descriptors of 1 numbers"),
        ([MultiClass("c", 3, descriptor=(1.0,))], "one head is for tasks of one kind"),
        ([told("c", 1.0), told("c", 0.0)], "own name"),
    ):
        with pytest.raises(PolytaskError, match=message):
            model.for_tasks(wrong)
    with pytest.raises(PolytaskError, match="not for b"):
        sharing.Conditioned(MLP, [told("a", 1.0), Regression("b")])
