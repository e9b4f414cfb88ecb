"""What every test may count on: one thread, a seeded generator, and real data only where there is some."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; child processes inherit it

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers in every test, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets named by POLYTASK_DATA_ROOT; without it the test is skipped."""
    named = os.environ.get("POLYTASK_DATA_ROOT")
    if not named:
        pytest.skip("POLYTASK_DATA_ROOT is not set: no real data sets here")
    root = Path(named)
    if not root.is_dir():
        pytest.skip(f"POLYTASK_DATA_ROOT={named} is not a folder: no real data sets here")
    return root
