"""Harbours: levels follow the formula, every harbour has rows of its own."""

import numpy as np
import pytest
import torch

from polytask import problems
from polytask.errors import PolytaskError


def test_levels_are_those_of_the_formula() -> None:
    """Least squares on the inputs finds A cos g, A sin g as the descriptor tells them, and 1 cm per hPa."""
    problem = problems.harbours(count=3, n_train=2000)
    data = problem.splits["train"]
    for number, task in enumerate(problem.tasks):
        rows = data.pools()[task.name]
        assert len(rows) == 2000 and torch.equal(rows, torch.arange(2000) + 2000 * number)
        x, y = data.inputs[rows].double().numpy(), data.targets[task.name][rows].double().numpy()
        wind = x[:, 4] * np.abs(x[:, 4])
        found, *_ = np.linalg.lstsq(np.column_stack([x[:, :4], wind, x[:, 5]]), y, rcond=None)
        high, low, shelter = task.descriptor
        assert found[:2] == pytest.approx([high, low], abs=0.02)
        assert found[4] == pytest.approx(shelter / 3, abs=0.01)  # 100 e
        assert found[5] == pytest.approx(-0.1, abs=0.02)
        assert np.std(y - np.column_stack([x[:, :4], wind, x[:, 5]]) @ found) == pytest.approx(0.08, rel=0.1)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(PolytaskError, match="at least 2 harbours"):
        problems.harbours(count=1)
