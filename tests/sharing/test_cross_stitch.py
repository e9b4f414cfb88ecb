"""Cross-stitch networks: the published mixture and its gradients, its extremes, and what the units learn."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polytask import balancing, sharing, tasks
from polytask.errors import PolytaskError
from polytask.sharing.trunks._mixing import mix, mixed

BOTH = (tasks.Binary("A"), tasks.MultiClass("B", 3))
MANY = tuple(tasks.Binary(name) for name in ("A", "B", "C", "D", "E"))
MLP = sharing.MLP(4, widths=(6, 8))
SHAPES = {"vectors": (4, 6), "tokens": (4, 5, 6), "maps": (4, 6, 3, 2)}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def weights_of(kind: str, outputs: int, inputs: int, channels: int) -> list[Tensor]:
    shape = {"layer": (1, inputs, 1), "channel": (1, inputs, 1, channels), "subspaces": (2, inputs, 2)}[kind]
    return [draw(*shape, seed=10 + k) for k in range(outputs)]


def by_hand(weights: list[Tensor], features: list[Tensor]) -> list[Tensor]:
    """`mix` written out: one weight [channels, channels] from every feature to every output."""
    axis = -1 if features[0].ndim == 3 else 1
    channels = features[0].shape[axis]
    found = []
    for weight in weights:
        parts = len(weight)
        total = 0
        for u, feature in enumerate(features):
            block = weight[:, u]  # [S, S] or [1, 1, c]
            matrix = torch.diag(block.flatten()) if block.ndim == 3 else block.repeat_interleave(channels // parts, 0)
            if block.ndim == 2:
                same_place = torch.eye(channels // parts, dtype=block.dtype).repeat(parts, parts)
                matrix = matrix.repeat_interleave(channels // parts, 1) * same_place
            total = total + (feature.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
        found.append(total)
    return found


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", ["layer", "channel", "subspaces"])
@pytest.mark.parametrize("outputs, inputs", [(2, 2), (3, 3), (1, 3)])
def test_the_quick_mixture_is_the_plain_one(kind: str, outputs: int, inputs: int, shape: tuple[int, ...]) -> None:
    features = [draw(*shape, seed=k).requires_grad_() for k in range(inputs)]
    weights = [each.requires_grad_() for each in weights_of(kind, outputs, inputs, 6)]
    came = [draw(*shape, seed=20 + k) for k in range(outputs)]
    expected = by_hand(weights, features)
    for found in (mix(weights, features), mixed(weights, features)):
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(
            torch.autograd.grad(found, [*weights, *features], came, retain_graph=True),
            torch.autograd.grad(expected, [*weights, *features], came, retain_graph=True),
        )


def test_the_published_gradients() -> None:
    """Equations 2 and 3: dL/dx_A = a_AA dL/dx~_A + a_BA dL/dx~_B, and dL/da_AB = the sum of dL/dx~_A times x_B."""
    a = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)
    rows = [row.clone().requires_grad_() for row in a]
    x = [draw(4, 6, 3, 2, seed=k).requires_grad_() for k in range(2)]
    came = [draw(4, 6, 3, 2, seed=5 + k) for k in range(2)]
    stitched = mixed([row[None, :, None] for row in rows], x)
    gradients = torch.autograd.grad(stitched, [*x, *rows], came)
    for u in range(2):
        torch.testing.assert_close(gradients[u], a[0, u] * came[0] + a[1, u] * came[1])
    for t in range(2):
        expected = torch.stack([(came[t] * x[u]).sum() for u in range(2)]).detach()
        torch.testing.assert_close(gradients[2 + t], expected)


@pytest.mark.parametrize("kind", ["layer", "channel", "subspaces"])
def test_gradients_of_gradients(kind: str) -> None:
    weights = [each.requires_grad_() for each in weights_of(kind, 2, 2, 4)]
    features = [draw(2, 4, 2, seed=k).movedim(1, 2).requires_grad_() for k in range(2)]

    def stitch(*given: Tensor) -> tuple[Tensor, ...]:
        return tuple(mixed(given[:2], given[2:]))

    assert torch.autograd.gradcheck(stitch, (*weights, *features), check_batched_grad=True)
    assert torch.autograd.gradgradcheck(stitch, (*weights, *features))


@pytest.mark.filterwarnings("error::UserWarning")  # "There is a performance drop": a batching rule is missing
def test_function_transforms() -> None:
    weights, features = weights_of("layer", 2, 2, 6), [draw(5, 6, seed=k) for k in range(2)]

    def one(*x: Tensor) -> tuple[Tensor, ...]:
        return tuple(mixed(weights, [each[None] for each in x]))

    one_by_one = torch.func.vmap(one)(*features)
    torch.testing.assert_close([each[:, 0] for each in one_by_one], mix(weights, features))
    half = torch.func.vmap(one, (None, 0))(features[0][0], features[1])
    expected = mix(weights, [features[0][:1].expand(5, -1), features[1]])
    torch.testing.assert_close([each[:, 0] for each in half], expected)
    several = [torch.stack([each, 2 * each]) for each in weights]
    doubled = torch.func.vmap(lambda *a: tuple(mixed(a, features)))(*several)
    torch.testing.assert_close([each[1] for each in doubled], [2 * each for each in mix(weights, features)])
    x = [each.requires_grad_() for each in features]
    found = torch.cat(mixed(weights, x)).flatten()
    rows = torch.eye(len(found), dtype=found.dtype)
    together = torch.autograd.grad(found, x, rows, retain_graph=True, is_grads_batched=True)
    singly = [torch.autograd.grad(found, x, row, retain_graph=True) for row in rows]
    torch.testing.assert_close(together, tuple(map(torch.stack, zip(*singly, strict=True))))


def set_weights(model: sharing.CrossStitch, rows: list[list[float]]) -> None:
    with torch.no_grad():
        for units in model.units.values():
            for task, row in zip(model.tasks, rows, strict=True):
                units.of(task.name).weight.copy_(torch.tensor(row))


def test_the_network_is_the_formula_stage_by_stage() -> None:
    torch.manual_seed(0)
    model = sharing.CrossStitch(MLP, BOTH, per_channel=False)
    a = [[0.6, 0.3], [-0.2, 1.1]]
    set_weights(model, a)
    inputs = torch.randn(5, 4)
    networks = [model.networks.of(name) for name in "AB"]
    x = [inputs, inputs]
    for stage in range(2):
        own = [network.backbone.stages[stage](each) for network, each in zip(networks, x, strict=True)]
        x = [row[0] * own[0] + row[1] * own[1] for row in a]
    found = model(inputs)
    for name, network, feature in zip("AB", networks, x, strict=True):
        torch.testing.assert_close(found[name], network.head(feature))


@pytest.mark.parametrize("per_channel", [False, True])
def test_with_nothing_from_the_others_it_is_independent_networks(per_channel: bool) -> None:
    torch.manual_seed(0)
    alone = sharing.Independent(MLP, BOTH)
    torch.manual_seed(0)
    stitched = sharing.CrossStitch(MLP, BOTH, same=1.0, per_channel=per_channel)
    inputs = torch.randn(5, 4)
    torch.testing.assert_close(stitched(inputs), alone(inputs), rtol=0, atol=0)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("per_channel", [False, True])
def test_rows_are_convex_combinations_at_the_start(count: int, per_channel: bool) -> None:
    model = sharing.CrossStitch(MLP, MANY[:count], same=0.7, per_channel=per_channel)
    for stage, width in enumerate((6, 8)):
        for own, task in enumerate(model.tasks):
            weight = model.units[str(stage)].of(task.name).weight
            assert weight.shape == ((count, width) if per_channel else (count,))
            torch.testing.assert_close(weight.sum(0), torch.ones(weight.shape[1:]))
            torch.testing.assert_close(weight[own], torch.full(weight.shape[1:], 0.7))
            assert weight.min() >= 0
            others = [k for k in range(count) if k != own]
            torch.testing.assert_close(weight[others], weight[others[:1]].expand(count - 1, *weight.shape[1:]))


def test_a_unit_per_channel_is_free_for_every_channel() -> None:
    model = sharing.CrossStitch(sharing.SmallCNN(1, widths=(4, 6)), BOTH, per_channel=True, stages=(1,))
    with torch.no_grad():  # channel 0 of A from B alone, the others as they are
        weight = model.units["1"].of("A").weight
        weight.copy_(torch.tensor([[1.0], [0.0]]).expand(2, 6))
        weight[:, 0] = torch.tensor([0.0, 1.0])
    inputs = torch.randn(3, 1, 16, 16)
    own, other = (model.networks.of(name).backbone.eval()(inputs)[1] for name in "AB")
    mixture = torch.cat([other[:, :1], own[:, 1:]], 1)
    torch.testing.assert_close(model.eval()(inputs)["A"], model.networks.of("A").head(mixture.mean((2, 3))))


def test_stages_left_out_are_not_mixed() -> None:
    torch.manual_seed(0)
    model = sharing.CrossStitch(MLP, BOTH, stages=(0,))
    assert list(model.units) == ["0"] and list(model.inside()) == ["stage 1"]
    inputs = torch.randn(5, 4)
    first = [model.networks.of(name).backbone.stages[0](inputs) for name in "AB"]
    network = model.networks.of("B")
    expected = network.head(network.backbone.stages[1](0.1 * first[0] + 0.9 * first[1]))
    torch.testing.assert_close(model(inputs)["B"], expected)
    above_the_top = {name for name, users in model.shared_by().items() if len(users) == 1}
    assert "networks.A.backbone.stages.1.linear.weight" in above_the_top
    assert "units.0.A.weight" in above_the_top
    assert "networks.A.backbone.stages.0.linear.weight" not in above_the_top


@pytest.mark.parametrize("options", [{}, {"stages": (0,)}, {"per_channel": False}])
def test_balancers_find_what_is_shared_in_the_graph(options: dict[str, Any]) -> None:
    """The units after the highest stage belong to one task each, though one operation computes them all."""
    torch.manual_seed(0)
    model = sharing.CrossStitch(MLP, MANY[:3], **options)
    losses = {name: each.square().mean() for name, each in model(torch.randn(5, 4)).items()}
    declared = [model.get_parameter(name) for name, users in model.shared_by().items() if len(users) > 1]
    found = balancing.shared_gramian(list(losses.values()))
    rows = [torch.autograd.grad(each, declared, retain_graph=True) for each in losses.values()]
    flat = torch.stack([torch.cat([each.flatten() for each in row]) for row in rows])
    torch.testing.assert_close(found, (flat @ flat.T).to(found))
    balancing.backward(losses, balancing.UPGrad())
    assert all(each.grad is not None for each in model.parameters())


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_is_positive(rate: float) -> None:
    with pytest.raises(PolytaskError, match="rate is a multiple of the network's learning rate"):
        sharing.CrossStitch(MLP, BOTH, rate=rate)
    with pytest.raises(PolytaskError, match="rate is a multiple of the network's learning rate"):
        sharing.NDDR(MLP, BOTH, rate=rate)


def test_units_have_their_own_rate_and_no_weight_decay() -> None:
    model = sharing.CrossStitch(MLP, BOTH, rate=50.0)
    rest, units = model.parameter_groups(1e-3)
    assert units["lr"] == pytest.approx(0.05)
    assert units["weight_decay"] == 0
    assert sum(each.numel() for each in units["params"]) == 2 * 2 * (6 + 8)
    assert "lr" not in rest
    assert len(rest["params"]) + len(units["params"]) == len(list(model.parameters()))


def test_units_learn_to_take_from_the_network_that_knows() -> None:
    """B's own network gives nothing, and its head reads the mean: the unit learns to let all of A's feature through."""
    torch.manual_seed(0)
    model = sharing.CrossStitch(MLP, (BOTH[0], tasks.Regression("B")), stages=(1,), per_channel=False, same=0.5)
    with torch.no_grad():
        for each in model.networks.of("B").parameters():
            each.zero_()
        model.networks.of("B").head.weight.fill_(1 / 8)
    inputs = torch.randn(64, 4)
    target = model.networks.of("A").backbone(inputs)[-1].mean(1, keepdim=True).detach()
    optimizer = torch.optim.SGD(model.units.parameters(), 10.0)
    for _ in range(100):
        optimizer.zero_grad()
        (model(inputs, ["B"])["B"] - target).square().mean().backward()
        optimizer.step()
    assert model.inside()["stage 2"]["B from A"] == pytest.approx(1.0, abs=1e-3)
    assert model.inside()["stage 2"]["A from B"] == 0.5  # of A, whose loss was not there


def test_inside_tells_the_mean_over_channels() -> None:
    model = sharing.CrossStitch(MLP, BOTH, per_channel=True)
    with torch.no_grad():
        model.units["1"].of("A").weight[1, :4] = 0.5  # of 8 channels; .1 in the others
    assert model.inside()["stage 2"]["A from B"] == pytest.approx(0.3)
    assert list(model.inside()) == ["stage 1", "stage 2"]


def test_mixed_precision() -> None:
    torch.manual_seed(0)
    model = sharing.CrossStitch(sharing.SmallCNN(1, widths=(4, 6)), BOTH, per_channel=True)
    inputs = torch.randn(8, 1, 16, 16)
    plain = model(inputs)["A"]
    with torch.autocast("cpu", torch.bfloat16):
        found = model(inputs)["A"]
    torch.testing.assert_close(found.float(), plain, rtol=0.1, atol=0.05)
    found.float().sum().backward()
    assert all(each.grad is None or each.grad.dtype == torch.float32 for each in model.parameters())


def test_it_can_be_exported() -> None:
    model = sharing.CrossStitch(MLP, BOTH).eval()
    x = torch.randn(3, 4)
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), model(x))


def test_a_copy_taken_after_a_step_is_whole() -> None:
    model = sharing.CrossStitch(MLP, BOTH)
    model(torch.randn(3, 4))["A"].sum().backward()
    x = torch.randn(3, 4)
    torch.testing.assert_close(copy.deepcopy(model)(x), model(x))


class NoWalk(sharing.Backbone):
    def __init__(self) -> None:
        super().__init__((3,))
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return [self.layer(inputs)]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: sharing.CrossStitch(MLP, BOTH[:1]), r"got one \('A'\); .*train this one alone with HardSharing"),
        (lambda: sharing.CrossStitch(MLP, BOTH, stages=(2,)), r"from 0 \(the lowest\) to 1 .*got \[2\]"),
        (lambda: sharing.CrossStitch(MLP, BOTH, stages=()), "at least one"),
        (lambda: sharing.CrossStitch(MLP, BOTH, same=1.5), "same must be from 0 to 1"),
        (lambda: sharing.CrossStitch(NoWalk, BOTH), "NoWalk can't stop between its stages"),
    ],
)
def test_what_cannot_be_stitched_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        make()


def test_a_network_that_others_use_is_counted_once_where_networks_are_separate() -> None:
    both = [tasks.Binary("a"), tasks.Binary("b")]
    alone = sharing.describe(sharing.Independent(sharing.MLP(4, widths=(8,)), both)).parameters
    stitched = sharing.describe(sharing.CrossStitch(sharing.MLP(4, widths=(8,)), both))
    assert stitched.separate == alone
    assert stitched.parameters == alone + 2 * 2 * 8
    assert "takes 33 % more" in str(stitched)
