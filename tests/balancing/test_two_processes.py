"""Two processes (gloo on CPU) give what one process gives on the joined batch, with every method."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import balancing_worker
import pytest
import torch
from balancing_cases import CASES

from polytask.training import load_tree

pytestmark = pytest.mark.distributed
LABELS = [f"{case.name}, {way}" for case in CASES for way in balancing_worker.ways(case)]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict]]:
    """What both processes wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(2):
        env = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }
        log = open(folder / f"log{rank}", "w")  # noqa: SIM115
        running.append(
            subprocess.Popen([sys.executable, balancing_worker.__file__, str(folder)], env=env, stdout=log, stderr=log)
        )
    try:
        codes = [each.wait(timeout=120) for each in running]
    finally:
        for each in running:
            each.kill()
    assert codes == [0, 0], "\n".join((folder / f"log{rank}").read_text()[-3000:] for rank in range(2))
    return [load_tree(Path(folder) / f"rank{rank}.safetensors") for rank in range(2)]


@pytest.mark.parametrize("label", LABELS)
def test_two_processes_equal_one(ranks: list[dict[str, dict]], label: str) -> None:
    name, way = label.rsplit(", ", 1)
    case = next(case for case in CASES if case.name == name)
    wanted = balancing_worker.run(case, way, 0, 1)
    found = ranks[0]["found"][label]
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("label", LABELS)
def test_processes_agree_to_the_last_bit(ranks: list[dict[str, dict]], label: str) -> None:
    first, second = (rank["found"][label] for rank in ranks)
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_different_tasks_on_the_processes_are_told_on_both(ranks: list[dict[str, dict]], case) -> None:
    for rank, names in enumerate((r"['a', 'b', 'c']", r"['a', 'c']")):
        told = ranks[rank]["errors"][f"{case.name}, different tasks"]
        assert "the processes have losses of different tasks" in told and names in told


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nan_on_one_process_is_told_on_both(ranks: list[dict[str, dict]], case) -> None:
    for rank in ranks:
        assert "the loss of 'b' is nan" in rank["errors"][f"{case.name}, NaN on one"]


def test_graddrop_at_features_says_what_to_do(ranks: list[dict[str, dict]]) -> None:
    for rank in ranks:
        assert "balance at the parameters" in rank["errors"]["GradDrop at features"]
