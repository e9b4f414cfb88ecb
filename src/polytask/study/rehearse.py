"""What will not work is said before anything is trained."""

import copy
from collections.abc import Sequence

import torch
from joblib import parallel_config

from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.study.arms import Arm
from polytask.training import Budget
from polytask.training.evaluate import selection_score


def rehearse(
    problem: Problem,
    arms: Sequence[Arm],
    budget: Budget,
    seeds: Sequence[int] = (0,),
    backend: str | None = None,
    confidence: float = 0.95,
) -> None:
    """Look at what a study is asked for, and make every network, balancer and optimizer once, to throw them away.

    Raises:
        PolytaskError: one of them can't be made for this problem, or the request makes no sense.
    """
    _check(seeds, backend, confidence)
    selection_score(problem.tasks, {}, budget.select)
    state = torch.get_rng_state()
    for arm in arms:
        model = arm.sharing(problem.backbone, problem.tasks)
        copy.deepcopy(arm.balancer).bind(problem.tasks)
        try:
            budget.optimizer(model.parameters(), lr=budget.learning_rate, **budget.optimizer_options)  # type: ignore[call-arg]
        except (TypeError, ValueError) as error:
            raise PolytaskError(
                f"{budget.optimizer.__name__} can't be made with {budget.optimizer_options}: {error}"
            ) from error
    torch.set_rng_state(state)


def _check(seeds: Sequence[int], backend: str | None, confidence: float) -> None:
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise PolytaskError(
            f"seeds: expected how many (at least 1), or which ones, each once (as in 0 1 2), got {list(seeds)}"
        )
    if not 0 < confidence < 1:
        raise PolytaskError(f"confidence: expected a share between 0 and 1, as in 0.95, got {confidence}")
    if backend is not None:
        try:
            with parallel_config(backend=backend):
                pass
        except (ValueError, ImportError) as error:
            raise PolytaskError(f"backend: {error}") from error
