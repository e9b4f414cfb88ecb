"""What a comparison will cost, from a few real steps."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from polytask.balancing import backward
from polytask.problems import Problem
from polytask.study import Arm
from polytask.training import Budget, evaluate, make_optimizer

STEPS = 4
"""Measured after one that is not."""


@dataclass(frozen=True)
class Cost:
    """What one way of training costs.

    Args:
        name: of the balancing method, or of the task trained alone.
        passes: backward passes in a step.
        step: seconds.
        training: seconds for one network under the budget, with the look at validation data after every epoch.
    """

    name: str
    passes: int
    step: float
    training: float
    alone: bool = False


def forecast(problem: Problem, arms: Sequence[Arm], budget: Budget) -> list[Cost]:
    """Costs of the single-task networks, then of the arms."""
    alone = [(task.name, problem.only(task.name), Arm()) for task in problem.tasks]
    together = [(arm.balancer_name, problem, arm) for arm in arms]
    state = torch.get_rng_state()
    try:
        _cost("", *alone[0][1:], budget)  # the first one pays for what is made ready once
        return [
            *(_cost(f"{name} alone", posed, arm, budget, alone=True) for name, posed, arm in alone),
            *(_cost(name, posed, arm, budget) for name, posed, arm in together),
        ]
    finally:
        torch.set_rng_state(state)


def _cost(name: str, problem: Problem, arm: Arm, budget: Budget, alone: bool = False) -> Cost:
    model, balancer = arm.sharing(problem.backbone, problem.tasks), copy.deepcopy(arm.balancer)
    balancer.bind(problem.tasks)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for each in (model, balancer):
        if isinstance(each, torch.nn.Module):
            each.to(device)
    optimizer = make_optimizer(budget, model, balancer)
    batches = problem.loader("train", budget.batch_size, shuffle=True)
    seconds: list[float] = []
    while len(seconds) <= STEPS:
        begun = time.perf_counter()
        for gathered in batches:
            batch = gathered.to(device)
            predictions, shared = model.forward_with_features(batch.inputs, list(batch.targets))
            losses = problem.losses(predictions, batch.targets)
            backward(losses, balancer, features=shared if arm.at_features else None)
            optimizer.step()
            optimizer.zero_grad()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            if len(seconds) > STEPS:
                break
    begun = time.perf_counter()
    evaluate(model, problem.tasks, problem.splits["validation"], device)
    looking = time.perf_counter() - begun
    step = sorted(seconds[1:])[STEPS // 2]
    steps = max(1, len(problem.splits["train"]) // budget.batch_size)
    return Cost(name, balancer.passes(len(problem.tasks)), step, budget.epochs * (steps * step + looking), alone)
