"""Lets the tests of training import `training_cases`, and the list of balancers of tests/balancing."""

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "balancing")]


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk: nothing here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
