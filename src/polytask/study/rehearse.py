"""What will not work is said before anything is trained."""

import copy
import time
from collections.abc import Sequence

import torch
from joblib import parallel_config
from torch import nn

from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.sharing import MultiTaskModel, start_from
from polytask.study.arms import Arm
from polytask.training import Budget, FineTuned, make_optimizer
from polytask.training.evaluate import selection_score


def rehearse(
    problem: Problem,
    arms: Sequence[Arm],
    budget: Budget,
    seeds: Sequence[int] | None = None,
    backend: str | None = None,
    confidence: float = 0.95,
) -> dict[str, float]:
    """Look at what a study is asked for, and make every network, balancer and optimizer once, to throw them away.

    Two samples are sent forward through each network. Where gradients are made in a way that not every network allows
    (at features, layer by layer, ...), a batch is, and asked what its backward passes would do (`balancing.forecast`).

    Returns:
        Seconds that the two samples took, by name of the arm: what takes longest is best begun first.

    Raises:
        PolytaskError: one of them can't be made for this problem, or the request makes no sense.
    """
    if seeds is not None:
        _check(problem, seeds, backend, confidence)
    selection_score(problem.tasks, {}, budget.select)
    state = torch.get_rng_state()
    took = {}
    for arm in arms:
        balancer = copy.deepcopy(arm.balancer)
        balancer.bind(problem.tasks)
        if balancer.lacks:
            raise PolytaskError(f"{arm.balancer_name} lacks {balancer.lacks}")
        model = arm.sharing(problem.backbone, problem.tasks)
        if arm.from_single_task:
            alone = {task.name: Arm().sharing(problem.backbone, [task]) for task in problem.tasks}
            start_from(model, {name: each.state_dict() for name, each in alone.items()})
        if arm.fine_tuning is not None:
            tuned = FineTuned(model, model.state_dict(), arm.fine_tuning)
            tuned.begin_epoch(0, budget.epochs)
        make_optimizer(budget, model if arm.fine_tuning is None else tuned, balancer)
        took[arm.name] = _try(model, problem, arm)
        steps = arm.steps(model, problem, balancer, budget)
        if steps.at_features or arm.changed:
            steps.rehearse(next(arm.batches(problem, budget).indices()))
    torch.set_rng_state(state)
    return took


@torch.no_grad()
def _try(model: nn.Module, problem: Problem, arm: Arm) -> float:
    """Two samples forward, in evaluation mode, and who uses what; the seconds of a second time."""
    data = problem.splits["train"]
    names = [task.name for task in problem.tasks]
    try:
        if isinstance(model, MultiTaskModel):
            model.shared_by()
        inputs = data.gather(torch.arange(min(2, len(data)))).inputs
        predictions = model.eval()(inputs, names)
        start = time.perf_counter()
        model(inputs, names)
        took = time.perf_counter() - start
    except PolytaskError:
        raise
    except Exception as error:
        raise PolytaskError(
            f"{arm.name} fails on two samples of {problem.name}: {type(error).__name__}: {error}; look at the "
            "network and its inputs (bytes become floats by the `transform` of TensorData; channels come first)"
        ) from error
    missing = [name for name in names if name not in predictions]
    if missing:
        raise PolytaskError(f"{arm.name} gives no prediction of {', '.join(missing)}; it gave {', '.join(predictions)}")
    model.train()
    return took


def _check(problem: Problem, seeds: Sequence[int], backend: str | None, confidence: float) -> None:
    if len(problem.tasks) < 2 and not problem.tasks[0].member_names:
        raise PolytaskError(
            f"'{problem.name}' has one task only ({problem.tasks[0].name}): whether to train together or apart is a "
            "question of two or more; name another target, or train the one (polytask train)"
        )
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
