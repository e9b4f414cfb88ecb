"""A network that starts from the run folders of single-task networks."""

from pathlib import Path

import pytest
import torch
from training_cases import data, tasks, train

from polytask.errors import PolytaskError
from polytask.sharing import MLP, CrossStitch, HardSharing
from polytask.training import start_from_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, HardSharing]]:
    """By task: the folder of a short training, and the network it ended with."""
    root = tmp_path_factory.mktemp("alone")
    found = {}
    for number, task in enumerate(tasks(data())):
        torch.manual_seed(number)
        net = HardSharing(MLP(4, widths=(8, 8)), [task])
        train(net=net, folder=root / task.name, tasks=[task])
        found[task.name] = (root / task.name, net)
    return found


def joint() -> CrossStitch:
    torch.manual_seed(9)
    return CrossStitch(MLP(4, widths=(8, 8)), tasks(data()))


def test_every_network_has_the_weights_of_its_best_epoch(runs) -> None:
    net = joint()
    start_from_runs(net, [runs[name][0] for name in ("yes", "number", "kind")])
    for name, (_, alone) in runs.items():
        network = net.networks.of(name)
        assert torch.equal(network.get_submodule("head").weight, alone.heads.of(name).weight)
        own = network.get_submodule("backbone").state_dict()
        assert own.keys() == alone.shared.state_dict().keys()
        assert all(torch.equal(each, own[key]) for key, each in alone.shared.state_dict().items())


def test_a_network_without_a_run_stays_as_it_is(runs) -> None:
    net, fresh = joint(), joint()
    start_from_runs(net, [runs["kind"][0]])
    for name in ("number", "kind", "yes"):
        weight = (each.networks.of(name).get_submodule("head").weight for each in (net, fresh))
        assert torch.equal(*weight) == (name != "kind")


def test_two_runs_of_one_task(runs) -> None:
    with pytest.raises(PolytaskError, match="both trained 'number'"):
        start_from_runs(joint(), [runs["number"][0], runs["number"][0]])


def test_a_run_of_several_tasks_is_none_to_start_from(tmp_path: Path) -> None:
    train(folder=tmp_path)
    with pytest.raises(PolytaskError, match=r"trained 3 tasks \(number, kind, yes\); say which one"):
        start_from_runs(joint(), [tmp_path])


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match="not the folder of a run"):
        start_from_runs(joint(), [tmp_path])
