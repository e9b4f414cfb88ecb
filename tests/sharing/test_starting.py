"""Starting from trained single-task networks: what arrives where, and what is refused before anything is touched."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polytask import balancing, sharing, tasks
from polytask.data import TensorData
from polytask.errors import PolytaskError
from polytask.training import Budget, fit
from polytask.training.starting import start_from_runs

BOTH = (tasks.Binary("rain"), tasks.MultiClass("sky.colour", 3))
CNN = sharing.SmallCNN(1, widths=(4, 6))
MLP = sharing.MLP(4, widths=(6, 8))
Make = Callable[..., sharing.MultiTaskModel]
TARGETS: dict[str, Make] = {
    "CrossStitch": sharing.CrossStitch,
    "NDDR": sharing.NDDR,
    "Sluice": sharing.Sluice,
    "SoftSharing": sharing.SoftSharing,
    "Independent": sharing.Independent,
    "HardSharing": partial(sharing.HardSharing, shared_stages=0),
}
SOURCES: dict[str, Make] = {
    "HardSharing": sharing.HardSharing,
    "HardSharing, nothing shared": partial(sharing.HardSharing, shared_stages=0),
    "Independent": sharing.Independent,
}


def trained(make: Make = sharing.HardSharing, recipe: Any = CNN) -> dict[str, sharing.MultiTaskModel]:
    """Single-task networks, as if trained: with running means of their own."""
    torch.manual_seed(7)
    found = {}
    for task in BOTH:
        model = make(recipe, [task])
        if recipe is CNN:
            model(torch.randn(8, 1, 16, 16) * 3 + 1)
        found[task.name] = model
    return found


def states(models: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {name: model.state_dict() for name, model in models.items()}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("target", TARGETS)
def test_networks_arrive_whole(source: str, target: str) -> None:
    """Backbones, heads and running means are those of the sources; what the architecture adds is as it was."""
    alone = trained(SOURCES[source])
    torch.manual_seed(0)
    model = TARGETS[target](CNN, BOTH)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    assert sharing.start_from(model, states(alone)) is model
    apart = sharing.start_from(sharing.Independent(CNN, BOTH), states(alone)).eval()
    inputs = torch.randn(5, 1, 16, 16)
    for name, single in alone.items():
        torch.testing.assert_close(apart(inputs)[name], single.eval()(inputs)[name], rtol=0, atol=0)
    own = model.state_dict()
    for name, each in own.items():
        if name.startswith(("units", "layers", "shortcuts")):
            torch.testing.assert_close(each, before[name], rtol=0, atol=0)
    if target in ("Independent", "SoftSharing", "HardSharing"):
        torch.testing.assert_close(model.eval()(inputs), apart(inputs), rtol=0, atol=0)
    else:
        arrived = {name: each for name, each in own.items() if name.startswith("networks")}
        torch.testing.assert_close(arrived, dict(apart.state_dict()), rtol=0, atol=0)


def test_units_that_let_only_the_own_network_through_go_on_where_the_networks_ended() -> None:
    alone = trained()
    inputs = torch.randn(5, 1, 16, 16)
    stitched = sharing.start_from(sharing.CrossStitch(CNN, BOTH, same=1.0), states(alone)).eval()
    fused = sharing.NDDR(CNN, BOTH, alpha=1.0, beta=0.0, norm=False, relu=False)
    sharing.start_from(fused, states(alone)).eval()
    for name, single in alone.items():
        expected = single.eval()(inputs)[name]
        torch.testing.assert_close(stitched(inputs)[name], expected)
        torch.testing.assert_close(fused(inputs)[name], expected)


def test_dense_heads_arrive_too() -> None:
    torch.manual_seed(0)
    dense = [tasks.Segmentation("objects", classes=4), tasks.Depth("depth")]
    alone = {task.name: sharing.HardSharing(CNN, [task]) for task in dense}
    model = sharing.start_from(sharing.CrossStitch(CNN, dense, same=1.0), states(alone)).eval()
    inputs = torch.randn(2, 1, 16, 16)
    for name, single in alone.items():
        torch.testing.assert_close(model(inputs)[name], single.eval()(inputs)[name])


def test_tasks_that_are_not_named_keep_their_weights() -> None:
    torch.manual_seed(0)
    model = sharing.SoftSharing(MLP, BOTH)
    kept = {name: each.clone() for name, each in model.networks.of("rain").state_dict().items()}
    alone = trained(recipe=MLP)["sky.colour"].state_dict()
    sharing.start_from(model, {"sky.colour": alone})
    torch.testing.assert_close(dict(model.networks.of("rain").state_dict()), kept, rtol=0, atol=0)
    torch.testing.assert_close(model.networks.of("sky.colour").head.weight, alone["heads.sky%2Ecolour.weight"])


def test_a_task_of_a_model_of_several_can_be_taken() -> None:
    torch.manual_seed(0)
    joint = sharing.HardSharing(MLP, BOTH)
    model = sharing.start_from(
        sharing.Independent(MLP, BOTH), dict.fromkeys(("rain", "sky.colour"), joint.state_dict())
    )
    inputs = torch.randn(5, 4)
    torch.testing.assert_close(model(inputs), joint(inputs), rtol=0, atol=0)


@pytest.mark.parametrize(
    "make, recipe, given, message",
    [
        (sharing.CrossStitch, MLP, {"rains": MLP}, "no task 'rains'; did you mean 'rain'"),
        (sharing.HardSharing, MLP, {"rain": MLP}, "HardSharing has no whole network per task.*CrossStitch"),
        (partial(sharing.HardSharing, shared_stages=1), MLP, {"rain": MLP}, "no whole network per task"),
        (
            sharing.CrossStitch,
            MLP,
            {"rain": sharing.MLP(4, widths=(6, 9))},
            r"the backbone of 'rain' has stages.1.linear.weight of shape \[9, 6\] instead of \[8, 6\]; .*"
            r"the head of 'rain' has weight of shape \[1, 9\] .*same backbone",
        ),
        (
            sharing.CrossStitch,
            MLP,
            {"rain": sharing.MLP(4, widths=(6, 8, 8, 8, 8))},
            "stages.2.linear.weight, which the model has not; .*and 2 more",
        ),
        (
            sharing.CrossStitch,
            sharing.MLP(4, widths=(6, 8, 8)),
            {"rain": MLP},
            "the backbone of 'rain' lacks stages.2.linear.weight",
        ),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_touched(
    make: Make, recipe: sharing.MLP, given: dict[str, sharing.MLP], message: str
) -> None:
    torch.manual_seed(0)
    target = make(recipe, BOTH)
    before = {name: each.clone() for name, each in target.state_dict().items()}
    fitting = {"sky.colour": sharing.HardSharing(recipe, BOTH[1:]).state_dict()}
    wrong = {task: sharing.HardSharing(other, BOTH[:1]).state_dict() for task, other in given.items()}
    with pytest.raises(PolytaskError, match=message):
        sharing.start_from(target, fitting | wrong)
    torch.testing.assert_close(dict(target.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    "state, told",
    [
        ({}, "nothing"),
        (sharing.HardSharing(MLP, [BOTH[1]]).state_dict(), "shared.stages.0"),  # of another task
        (sharing.HardSharing(MLP, [BOTH[0]], shared_stages=1).state_dict(), "shared.stages.0"),  # cut in two
    ],
)
def test_a_state_without_a_whole_network_of_the_task_is_refused(state: dict[str, Tensor], told: str) -> None:
    with pytest.raises(
        PolytaskError, match=rf"holds no whole network .*begins with {told}.*expected that of HardSharing"
    ):
        sharing.start_from(sharing.CrossStitch(MLP, BOTH), {"rain": state})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of finished runs: one per task, and one of both."""
    root = tmp_path_factory.mktemp("runs")
    x = torch.randn(24, 4)
    labels = {"rain": (x[:, 0] > 0).float(), "sky.colour": torch.randint(0, 3, (24,))}
    found = {}
    for name, chosen in {"rain": BOTH[:1], "sky.colour": BOTH[1:], "both": BOTH}.items():
        data = TensorData(x, {task.name: labels[task.name] for task in chosen})
        torch.manual_seed(3)
        budget = Budget(epochs=2, batch_size=8)
        fit(sharing.HardSharing(MLP, chosen), chosen, data, data, balancing.Equal(), budget, folder=root / name)
        found[name] = root / name
    return found


def test_starting_from_run_folders(folders: dict[str, Path]) -> None:
    named = {name: folders[name] for name in ("rain", "sky.colour")}
    by_name = start_from_runs(sharing.CrossStitch(MLP, BOTH), named)
    by_list = start_from_runs(sharing.CrossStitch(MLP, BOTH), [str(folder) for folder in reversed(named.values())])
    x = torch.randn(5, 4)
    torch.testing.assert_close(by_name(x), by_list(x), rtol=0, atol=0)
    joint = start_from_runs(sharing.CrossStitch(MLP, BOTH), {"rain": folders["both"]})
    one, other = (each.networks.of("rain").head.weight for each in (by_name, joint))
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    "given, message",
    [
        (["rain", "both"], r"trained 2 tasks \(rain, sky.colour\); say which one"),
        (["rain", "rain"], "both trained 'rain'; give one of them"),
        (["nowhere"], "there is no run.json"),
    ],
)
def test_folders_that_do_not_say_what_to_take_are_refused(
    folders: dict[str, Path], given: list[str], message: str
) -> None:
    with pytest.raises(PolytaskError, match=message):
        start_from_runs(sharing.CrossStitch(MLP, BOTH), [folders.get(name, Path("nowhere")) for name in given])
