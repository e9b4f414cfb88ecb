"""`fit` on two processes gives what one process gives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import fit_worker
import pytest
import torch
from objective_cases import WORLDS
from training_cases import flat, train

from polytask.training import load_tree

pytestmark = [pytest.mark.distributed, pytest.mark.slow]
every = pytest.mark.parametrize("name", WORLDS)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict]]:
    folder = tmp_path_factory.mktemp("fit")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(2):
        env = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }
        log = open(folder / f"log{rank}", "w")  # noqa: SIM115
        running.append(
            subprocess.Popen(
                [sys.executable, fit_worker.__file__, str(folder), str(rank)], env=env, stdout=log, stderr=log
            )
        )
    try:
        codes = [each.wait(timeout=90) for each in running]
    except subprocess.TimeoutExpired:
        codes = ["hangs", *(each.poll() for each in running)]
    finally:
        for each in running:
            each.kill()
    assert codes == [0, 0], "\n".join((folder / f"log{rank}").read_text()[-3000:] for rank in range(2))
    return [load_tree(Path(folder) / f"rank{rank}.safetensors") for rank in range(2)]


@every
def test_weights_are_those_of_one_process(ranks: list[dict[str, dict]], name: str) -> None:
    make, net_of, options = WORLDS[name]
    net, fitted = train(make(), net=net_of(), **options)
    found = ranks[0][name]
    torch.testing.assert_close(found["weights"], flat(net), rtol=1e-5, atol=1e-5)
    assert found["steps"] == fitted.steps and found["best"] == fitted.best_epoch
    for there, here in zip(found["epochs"], fitted.epochs, strict=True):
        assert there["score"] == pytest.approx(here["score"], rel=1e-4)
        for task, scores in here["validation"].items():
            assert there["validation"][task] == pytest.approx(scores, rel=1e-4)
            assert there["train"][task]["loss"] == pytest.approx(here["train"][task]["loss"], rel=1e-4)
        assert there.get("penalty", 0.0) == pytest.approx(here.get("penalty", 0.0), rel=1e-4)


@every
def test_processes_agree_to_the_last_bit(ranks: list[dict[str, dict]], name: str) -> None:
    assert torch.equal(ranks[0][name]["weights"], ranks[1][name]["weights"])
    assert [e["validation"] for e in ranks[0][name]["epochs"]] == [e["validation"] for e in ranks[1][name]["epochs"]]


@every
def test_a_finished_run_is_loaded_on_both(ranks: list[dict[str, dict]], name: str) -> None:
    for rank in ranks:
        assert torch.equal(rank[name]["again"], rank[name]["weights"])


def test_the_command_line_under_a_launcher(tmp_path: Path) -> None:
    """`torchrun -m polytask train`, with the default tracker, leaves one whole run."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "polytask"]
    words += ["train", "digits(n_train=200)", "--budget.epochs", "2", "--out", str(tmp_path / "run")]
    done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["status"] == "finished" and len(record["epochs"]) == 2
