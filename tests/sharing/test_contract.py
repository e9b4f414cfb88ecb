"""What every model of several tasks promises: architectures x backbones x tasks.

Not every product is tested: each architecture meets every backbone, every mix of tasks (vectors, maps, both), and one
to five tasks on two backbones. What depends on more than the form of the graph is tested on a few of them, `WIDE`.
"""

import copy
import functools
from typing import Any, NamedTuple

import pytest
import torch
from sharing_cases import BACKBONES, MIXES, MODELS, TASKS, Case, inputs_for, targets_for
from torch import Tensor, nn

from polytask import balancing, sharing, tasks
from polytask.errors import PolytaskError

CASES = {name: case if isinstance(case, Case) else Case(case) for name, case in MODELS.items()}
COUNTED = [(backbone, mix, count) for backbone, mix in (("mlp", "vector"), ("cnn", "mixed")) for count in range(1, 6)]
MET = [
    ("table", "vector", 2),
    ("fusion", "vector", 2),
    ("table", "many", 3),
    ("cnn", "dense", 3),
    ("tcdcn", "vector", 2),
    ("tcdcn", "mixed", 3),
    ("segnet", "dense", 2),
    ("segnet", "mixed", 3),
    ("dilated", "mixed", 3),
    ("resnet", "dense", 2),
    ("resnet", "vector", 3),
    ("convnext", "dense", 2),
    ("swin", "mixed", 3),
    ("dinov2", "dense", 2),
    ("dinov2", "vector", 3),
    ("segformer", "mixed", 2),
]
WIDE = [
    ("table", "vector", 2),
    ("table", "many", 3),
    ("cnn", "mixed", 4),
    ("segnet", "dense", 2),
    ("swin", "mixed", 3),
    ("dinov2", "dense", 2),
]


class Built(NamedTuple):
    """A model, and what it is shown."""

    model: sharing.MultiTaskModel
    inputs: Any
    targets: dict[str, Tensor]

    def losses(self) -> dict[str, Tensor]:
        return tasks.losses(self.model.tasks, self.model(self.inputs), self.targets)


@functools.cache
def made(architecture: str, backbone: str, mix: str, count: int) -> sharing.MultiTaskModel:
    torch.manual_seed(0)
    return CASES[architecture](BACKBONES[backbone], MIXES[mix][:count])


def combinations(among: list[tuple[str, str, int]]) -> list[Any]:
    """All architectures with all of these, but those with fewer tasks than they need."""
    return [
        pytest.param((architecture, *each), id=f"{architecture}-{each[0]}-{each[2]} {each[1]}")
        for architecture, case in CASES.items()
        for each in among
        if each[0] in BACKBONES and each[2] >= case.needs
    ]


@pytest.fixture
def built(request: pytest.FixtureRequest) -> Built:
    architecture, backbone, mix, count = request.param
    claim = request.function.__name__.removeprefix("test_")
    for what in (backbone, mix, claim):
        if what in CASES[architecture].without:
            pytest.skip(f"{architecture}: {CASES[architecture].without[what]}")
    model = copy.deepcopy(made(architecture, backbone, mix, count))
    return Built(model, inputs_for(backbone), targets_for(model.tasks))


everywhere = pytest.mark.parametrize("built", combinations(COUNTED + MET), indirect=True)
widely = pytest.mark.parametrize("built", combinations(WIDE), indirect=True)
on_images = pytest.mark.parametrize("built", combinations(WIDE[2:]), indirect=True)
once = pytest.mark.parametrize("built", combinations(WIDE[2:3]), indirect=True)


def reached(prediction: Tensor, model: nn.Module) -> set[str]:
    """Names of the parameters that have a gradient (zero included) from the prediction."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(prediction.sum(), parameters, retain_graph=True, allow_unused=True)
    return {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}


def doubled(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {name: each.double() if each.is_floating_point() else each for name, each in inputs.items()}
    return inputs.double()


# --- of every combination --------------------------------------------------------------------------------------------


@everywhere
def test_declared_users_are_those_in_the_graph(built: Built) -> None:
    predictions = built.model(built.inputs)
    found = {task: reached(prediction, built.model) for task, prediction in predictions.items()}
    for name, users in built.model.shared_by().items():
        # Of a shared backbone a task uses `backbone.used_for(stages that it reads)`.
        assert users == tuple(task for task in predictions if name in found[task]), name


@everywhere
def test_gradients_reach_everything_trainable(built: Built) -> None:
    """From the losses, with what the architecture adds to them."""
    model = built.model
    losses = built.losses()
    further = model.intermediate()
    for task in model.tasks:
        for prediction in further.get(task.name, ()):
            losses[task.name] = losses[task.name] + task.loss(prediction, built.targets[task.name])
    penalty = model.penalty(losses)
    (sum(losses.values()) + (0 if penalty is None else penalty)).backward()  # type: ignore[union-attr]
    assert not [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]
    assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())


@everywhere
def test_asking_for_some_tasks_gives_the_same_as_asking_for_all(built: Built) -> None:
    model = built.model.eval()
    everything = model(built.inputs)
    assert list(everything) == [task.name for task in model.tasks]
    for task in model.tasks:
        assert everything[task.name].shape == (4, task.outputs, *([32, 32] if task.dense else []))
        some = model(built.inputs, tasks=[task.name])
        assert list(some) == [task.name]
        torch.testing.assert_close(some[task.name], everything[task.name])
    pair = [model.tasks[-1].name, model.tasks[0].name]
    some = model(built.inputs, tasks=pair)
    assert list(some) == [task.name for task in model.tasks if task.name in pair]
    torch.testing.assert_close(some, {name: everything[name] for name in some})


@everywhere
def test_only_what_is_asked_is_computed(built: Built) -> None:
    model = built.model
    wanted = model.tasks[0].name
    mine = {id(each) for module in model.used_by(wanted) for each in module.modules()}
    ran: list[nn.Module] = []
    for module in model.modules():
        if id(module) not in mine:
            module.register_forward_hook(lambda module, args, output: ran.append(module))
    model(built.inputs, tasks=[wanted])
    used_by_others = [module for task in model.tasks[1:] for module in model.used_by(task.name)]
    others = {id(each) for module in used_by_others for each in module.modules()}
    assert not [module for module in ran if id(module) in others]


# --- of a few combinations -------------------------------------------------------------------------------------------


@widely
def test_shared_gradients_pass_through_the_features(built: Built) -> None:
    """dL/d(shared) = dL/d(features) d(features)/d(shared), for each task: nothing goes around them."""
    model, inputs = built.model.eval().double(), doubled(built.inputs)
    predictions, features = model.forward_with_features(inputs)
    users = model.shared_by()
    shared = [each for name, each in model.named_parameters() if each.requires_grad and len(users[name]) > 1]
    if features is None:
        return  # nothing is shared, or more than one place would have to be named
    cut = [features] if isinstance(features, Tensor) else list(features)
    assert cut
    for prediction in predictions.values():
        loss = prediction.square().sum()
        direct = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        there = torch.autograd.grad(loss, cut, retain_graph=True, allow_unused=True)
        pairs = [(place, each) for place, each in zip(cut, there, strict=True) if each is not None]
        through = torch.autograd.grad(
            [place for place, _ in pairs], shared, [each for _, each in pairs], retain_graph=True, allow_unused=True
        )
        assert [each is None for each in through] == [each is None for each in direct]
        torch.testing.assert_close([each for each in through if each is not None], [d for d in direct if d is not None])


@widely
def test_features_serve_for_balancing(built: Built) -> None:
    """Balancing there or at the shared parameters: with equal weights it is the gradient of the sum of the losses."""
    model = built.model
    predictions, features = model.forward_with_features(built.inputs)
    losses = tasks.losses(model.tasks, predictions, built.targets)
    names, parameters = zip(*[(n, p) for n, p in model.named_parameters() if p.requires_grad], strict=True)
    plain = torch.autograd.grad(sum(losses.values()), parameters, retain_graph=True, allow_unused=True)  # type: ignore[arg-type]
    if features is not None and len(losses) > 1:
        balancing.backward(losses, lambda gramian: torch.ones(len(gramian)), features=features)
    else:
        balancing.backward(losses, lambda gramian: torch.ones(len(gramian)))
    for name, parameter, gradient in zip(names, parameters, plain, strict=True):
        assert (parameter.grad is None) == (gradient is None), name
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4)


@widely
def test_a_task_without_labels_leaves_what_it_alone_uses_untouched(built: Built) -> None:
    model = built.model
    present = model.tasks[0].name
    losses = tasks.losses(model.tasks, model(built.inputs), {present: built.targets[present]})
    balancing.backward(losses, balancing.Equal())
    for name, users in model.shared_by().items():
        parameter = model.get_parameter(name)
        if parameter.requires_grad:
            assert (parameter.grad is not None) == (present in users), name


@widely
def test_state_round_trip(built: Built, request: pytest.FixtureRequest) -> None:
    architecture, backbone, *_ = request.node.callspec.params["built"]
    other = CASES[architecture](BACKBONES[backbone], built.model.tasks)  # with other weights
    state = {name: each.clone() for name, each in built.model.state_dict().items()}
    other.load_state_dict(state)
    assert list(other.state_dict()) == list(state)
    for name, prediction in built.model.eval()(built.inputs).items():
        torch.testing.assert_close(other.eval()(built.inputs)[name], prediction, rtol=0, atol=0)


@once
def test_initial_weights_depend_on_the_global_seed_only(built: Built, request: pytest.FixtureRequest) -> None:
    architecture, backbone, *_ = request.node.callspec.params["built"]
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(CASES[architecture](BACKBONES[backbone], built.model.tasks).state_dict())
    first, same, other = states
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@widely
def test_copies_have_weights_of_their_own(built: Built) -> None:
    model, inputs = built.model, built.inputs  # `built` is a copy already
    built.losses()  # what is kept of a training pass does not prevent a copy
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(each.abs().sum() == 0 for each in model(inputs).values())
    assert all(each.abs().sum() > 0 for each in twin(inputs).values())


@on_images
def test_channels_last_predicts_the_same(built: Built) -> None:
    model = built.model.eval()
    expected = model(built.inputs)
    model.to(memory_format=torch.channels_last)
    came = model(built.inputs.to(memory_format=torch.channels_last))
    torch.testing.assert_close(came, expected, rtol=1e-4, atol=1e-4)


@widely
def test_autocast_is_near(built: Built) -> None:
    model = built.model
    expected = model.eval()(built.inputs)
    with torch.autocast("cpu", torch.bfloat16):
        came = model(built.inputs)
        losses = tasks.losses(model.tasks, model.train()(built.inputs), built.targets)
        penalty = model.penalty(losses)
    (sum(losses.values()) + (0 if penalty is None else penalty)).backward()  # type: ignore[union-attr]
    assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())
    for name, prediction in came.items():
        error = (prediction.float() - expected[name]).abs().mean()  # rounding can move a maximum that is pooled
        assert error < 0.05 * expected[name].abs().max(), name


@widely
def test_optimizer_groups_hold_everything_trainable_once(built: Built) -> None:
    groups = built.model.parameter_groups(0.1)
    listed = [id(each) for group in groups for each in group["params"]]
    assert sorted(listed) == sorted(id(each) for each in built.model.parameters() if each.requires_grad)
    torch.optim.SGD(groups, lr=0.1)


@widely
def test_what_is_added_to_the_losses_is_differentiable_and_of_the_last_pass(built: Built) -> None:
    model = built.model.train()
    losses = built.losses()
    further = model.intermediate()
    by_name = {task.name: task for task in model.tasks}
    for name, predictions in further.items():
        for prediction in predictions:
            loss = by_name[name].loss(prediction, built.targets[name])
            assert loss.isfinite()
            assert loss.requires_grad
    penalty = model.penalty(losses)
    assert penalty is None or (penalty.ndim == 0 and penalty.isfinite() and penalty.requires_grad)
    first = model.tasks[0].name
    model(built.inputs, tasks=[first])
    assert set(model.intermediate()) <= set(further)
    model.eval()(built.inputs)
    assert model.intermediate() == {}


@widely
def test_what_is_inside_can_be_looked_at(built: Built) -> None:
    model = built.model.train()
    built.losses()
    numbers = model.inside()
    assert all(isinstance(each, float) for panel in numbers.values() for each in panel.values())
    built.losses()
    assert {panel: list(lines) for panel, lines in model.inside().items()} == {k: list(v) for k, v in numbers.items()}
    model.keep_maps = True
    model.eval()(built.inputs)
    for label, maps in model.maps_inside().items():
        assert (maps.ndim, len(maps), maps.requires_grad) == (3, 4, False), label
        assert maps.min() >= 0, label
        assert maps.max() <= 1, label


@widely
def test_described_parts_are_all_there_is(built: Built) -> None:
    described = sharing.describe(built.model)
    assert sum(part.parameters for part in described.parts) == described.parameters
    assert described.parameters == sum(each.numel() for each in built.model.parameters())
    assert str(described).startswith(f"{type(built.model).__name__}, {len(built.model.tasks)} tasks: ")


@once
def test_an_unknown_task_is_named(built: Built) -> None:
    with pytest.raises(PolytaskError, match="no task 'nonsense'"):
        built.model(built.inputs, tasks=["nonsense"])


@pytest.mark.parametrize("architecture", [name for name, case in CASES.items() if case.needs > 1])
def test_too_few_tasks_are_refused(architecture: str) -> None:
    case = CASES[architecture]
    mix = next(mix for mix in ("mixed", "dense", "vector") if mix not in case.without)
    with pytest.raises(PolytaskError, match=r"HardSharing|Independent"):
        case(BACKBONES["cnn"], MIXES[mix][: case.needs - 1])


# --- of sharing the first stages -------------------------------------------------------------------------------------


@pytest.fixture(params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> str:
    return request.param


@functools.cache
def hard(backbone: str, shared_stages: int | None) -> sharing.HardSharing:
    torch.manual_seed(0)
    mix = "vector" if backbone in ("mlp", "table", "fusion") else "mixed"
    return sharing.HardSharing(BACKBONES[backbone], MIXES[mix][:3], shared_stages=shared_stages)


def test_every_task_starts_with_weights_of_its_own(backbone: str) -> None:
    model = sharing.HardSharing(BACKBONES[backbone], TASKS, shared_stages=1)
    one, two, _ = model.branches.values()
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_sharing_nothing_is_independent_networks(backbone: str) -> None:
    shared = copy.deepcopy(hard(backbone, 0)).eval()
    torch.manual_seed(0)
    alone = sharing.Independent(BACKBONES[backbone], shared.tasks).eval()
    inputs = inputs_for(backbone)
    for name, prediction in alone(inputs).items():
        torch.testing.assert_close(shared(inputs)[name], prediction, rtol=0, atol=0)
    assert shared.forward_with_features(inputs)[1] is None
    assert alone.forward_with_features(inputs)[1] is None


@pytest.mark.parametrize("shared_stages", [1, None])
def test_all_that_is_shared_is_below_the_features(backbone: str, shared_stages: int | None) -> None:
    """With the features as constants, nothing shared has a gradient; with them, everything has."""
    model = copy.deepcopy(hard(backbone, shared_stages)).eval()
    predictions, features = model.forward_with_features(inputs_for(backbone))
    assert features is not None
    shared = list(model.shared.parameters())
    loss = sum(each.square().sum() for each in predictions.values())
    cut = [features] if isinstance(features, Tensor) else features
    there = torch.autograd.grad(loss, cut, retain_graph=True)  # type: ignore[arg-type]
    direct = torch.autograd.grad(loss, shared, retain_graph=True)  # type: ignore[arg-type]
    torch.testing.assert_close(torch.autograd.grad(cut, shared, there), direct, rtol=1e-3, atol=1e-3)
