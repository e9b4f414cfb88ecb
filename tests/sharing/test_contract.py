"""What every model of several tasks promises: architectures x backbones x tasks."""

import copy
import functools

import pytest
import torch
from sharing_cases import BACKBONES, MODELS, TASKS, inputs_for
from torch import Tensor, nn

from polytask import sharing


@pytest.fixture(params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=MODELS)
def architecture(request: pytest.FixtureRequest) -> str:
    return request.param


@functools.cache
def built(architecture: str, backbone: str, count: int) -> sharing.MultiTaskModel:
    torch.manual_seed(0)
    return MODELS[architecture](BACKBONES[backbone], TASKS[:count])


@pytest.fixture(params=[1, 2, 3])
def model(request: pytest.FixtureRequest, architecture: str, backbone: str) -> sharing.MultiTaskModel:
    return copy.deepcopy(built(architecture, backbone, request.param))


def reached(prediction: Tensor, model: nn.Module) -> set[str]:
    """Names of the parameters that have a gradient (zero included) from the prediction."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(prediction.sum(), parameters, retain_graph=True, allow_unused=True)
    return {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}


def test_declared_users_are_those_in_the_graph(model: sharing.MultiTaskModel, backbone: str) -> None:
    predictions = model(inputs_for(backbone))
    found = {task: reached(prediction, model) for task, prediction in predictions.items()}
    for name, users in model.shared_by().items():
        assert users == tuple(task for task in predictions if name in found[task]), name


def test_gradients_reach_everything_trainable(model: sharing.MultiTaskModel, backbone: str) -> None:
    sum(each.square().sum() for each in model(inputs_for(backbone)).values()).backward()
    assert not [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]


def test_asking_for_some_tasks_gives_the_same_as_asking_for_all(model: sharing.MultiTaskModel, backbone: str) -> None:
    model.eval()
    everything = model(inputs_for(backbone))
    assert list(everything) == [task.name for task in model.tasks]
    for task in model.tasks:
        assert everything[task.name].shape == (4, task.outputs)
        some = model(inputs_for(backbone), tasks=[task.name])
        assert list(some) == [task.name]
        torch.testing.assert_close(some[task.name], everything[task.name])


def test_only_what_is_asked_is_computed(model: sharing.MultiTaskModel, backbone: str) -> None:
    wanted = model.tasks[0].name
    ran: list[nn.Module] = []
    for module in model.modules():
        module.register_forward_hook(lambda module, args, output: ran.append(module))
    model(inputs_for(backbone), tasks=[wanted])
    mine = {id(each) for module in model.used_by(wanted) for each in module.modules()}
    used_by_others = [module for task in model.tasks[1:] for module in model.used_by(task.name)]
    others = {id(each) for module in used_by_others for each in module.modules()}
    assert not [module for module in ran if id(module) in others - mine]


def test_state_round_trip(model: sharing.MultiTaskModel, architecture: str, backbone: str) -> None:
    other = MODELS[architecture](BACKBONES[backbone], model.tasks)  # with other weights
    other.load_state_dict({name: each.clone() for name, each in model.state_dict().items()})
    inputs = inputs_for(backbone)
    for name, prediction in model.eval()(inputs).items():
        torch.testing.assert_close(other.eval()(inputs)[name], prediction, rtol=0, atol=0)


def test_initial_weights_depend_on_the_global_seed_only(architecture: str, backbone: str) -> None:
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(MODELS[architecture](BACKBONES[backbone], TASKS[:2]).state_dict())
    first, same, other = states
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_every_task_starts_with_weights_of_its_own(backbone: str) -> None:
    model = sharing.HardSharing(BACKBONES[backbone], TASKS, shared_stages=1)
    one, two, _ = model.branches.values()
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_sharing_nothing_is_independent_networks(backbone: str) -> None:
    torch.manual_seed(0)
    alone = sharing.Independent(BACKBONES[backbone], TASKS).eval()
    torch.manual_seed(0)
    hard = sharing.HardSharing(BACKBONES[backbone], TASKS, shared_stages=0).eval()
    inputs = inputs_for(backbone)
    for name, prediction in alone(inputs).items():
        torch.testing.assert_close(hard(inputs)[name], prediction, rtol=0, atol=0)
    assert hard.forward_with_features(inputs)[1] is None
    assert alone.forward_with_features(inputs)[1] is None


@pytest.mark.parametrize("shared_stages", [1, None])
def test_shared_gradients_pass_through_the_features(backbone: str, shared_stages: int | None) -> None:
    """dL/d(shared) = dL/d(features) d(features)/d(shared), for each task: nothing goes around them."""
    model = sharing.HardSharing(BACKBONES[backbone], TASKS, shared_stages=shared_stages).eval().double()
    inputs = inputs_for(backbone)
    inputs = inputs | {"numbers": inputs["numbers"].double()} if backbone == "table" else inputs.double()
    predictions, features = model.forward_with_features(inputs)
    assert isinstance(features, Tensor)
    shared = list(model.shared.parameters())
    for prediction in predictions.values():
        loss = prediction.square().sum()
        direct = torch.autograd.grad(loss, shared, retain_graph=True)
        at_features = torch.autograd.grad(loss, features, retain_graph=True)
        through = torch.autograd.grad(features, shared, at_features, retain_graph=True)
        torch.testing.assert_close(through, direct)


def test_copies_have_weights_of_their_own(model: sharing.MultiTaskModel, backbone: str) -> None:
    twin = copy.deepcopy(model)  # of a copy already: see `model`
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    inputs = inputs_for(backbone)
    assert all(each.abs().sum() == 0 for each in model(inputs).values())
    assert all(each.abs().sum() > 0 for each in twin(inputs).values())
