"""Tasks that stand for many, on two processes: the step and the scores of one, wherever the rows of a member are."""

import members_worker as worker
import pytest
import torch
from launching import start
from torch import Tensor

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp("members")
    start(worker, 2, folder, timeout=120)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("label", worker.CASES)
def test_two_processes_give_what_one_gives(ranks: list[dict[str, dict[str, Tensor]]], label: str) -> None:
    """Members with rows on both, on one, or on none; a process without labels, and one without rows."""
    expected = worker.run(label, 0, 1)
    for rank in ranks:
        torch.testing.assert_close(rank[label], expected, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_the_mean_over_members_is_not_that_of_the_processes(ranks: list[dict[str, dict[str, Tensor]]]) -> None:
    """Of scores of a member with rows on both: the case tells them apart."""
    label = "number, user, uneven"
    task, target = worker.labelled("number", "user", "uneven")
    zeros = torch.zeros(11, 1)
    found = []
    for rows in (slice(0, 11), slice(0, 5), slice(5, 11)):
        metrics = task.metrics()
        task.update(metrics, zeros[rows], target[rows])
        found.append(float(metrics["rmse"].compute()))
    whole, first, second = found
    assert whole != pytest.approx((first + second) / 2, rel=0.01)
    assert ranks[0][label]["by member"].isnan().tolist() == [False, False, False, False, True]
