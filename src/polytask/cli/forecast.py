"""What a comparison will cost, from a few real steps."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from polytask.balancing import Balancer, Forecast
from polytask.problems import Problem
from polytask.study import Arm
from polytask.study.alone import way_alone
from polytask.training import Budget, evaluate, make_optimizer
from polytask.training.memory import kept_bytes, step_bytes
from polytask.training.watching import Pass

STEPS = 4
"""Measured after one that is not."""


@dataclass(frozen=True)
class Cost:
    """What one way of training costs.

    Args:
        name: of the balancing method, or of the task trained alone.
        passes: backward passes in a step; a balancer that keeps its weights for several steps: the mean.
        way: how the gradients are made, as `balancing.forecast` tells it.
        plain_mib: parameters, gradients, optimizer state and what autograd keeps in a step: what a step needs anyway.
        balancing_mib: what balancing holds besides.
        step: seconds.
        training: seconds for one network under the budget, with the look at validation data after every epoch.
    """

    name: str
    passes: int
    way: str
    plain_mib: float
    balancing_mib: float
    step: float
    training: float
    alone: bool = False


def forecast(problem: Problem, arms: Sequence[Arm], budget: Budget) -> list[Cost]:
    """Costs of the single-task networks, then of the arms."""
    apart = [problem.only(task.name) for task in problem.tasks]
    alone = [(posed.tasks[0].name, posed, way_alone(posed)) for posed in apart]
    together = [(arm.balancer_name, problem, arm) for arm in arms]
    samples = len(problem.splits["train"])  # in an epoch of every network
    state = torch.get_rng_state()
    try:
        _cost("", *alone[0][1:], budget, samples)  # the first one pays for what is made ready once
        return [
            *(_cost(f"{name} alone", posed, arm, budget, samples, alone=True) for name, posed, arm in alone),
            *(_cost(name, posed, arm, budget, samples) for name, posed, arm in together),
        ]
    finally:
        torch.set_rng_state(state)


def _cost(name: str, problem: Problem, arm: Arm, budget: Budget, samples: int, alone: bool = False) -> Cost:
    model, balancer = arm.sharing(problem.backbone, problem.tasks), copy.deepcopy(arm.balancer)
    balancer.bind(problem.tasks)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for each in (model, balancer):
        if isinstance(each, torch.nn.Module):
            each.to(device)
    optimizer = make_optimizer(budget, model, balancer)
    steps = arm.steps(model, problem, balancer, budget, device)
    batches = arm.batches(problem, budget)
    told, kept = Forecast(0, "", 0.0), 0
    seconds: list[float] = []

    def first(seen: Pass, pieces: int) -> None:
        nonlocal told, kept
        if not seconds:
            told, kept = steps.forecast(seen, pieces), kept_bytes(model, seen.losses.values())

    while len(seconds) <= STEPS:
        for whole in batches.indices():
            begun = time.perf_counter()
            steps.gradients(whole, first=first)
            optimizer.step()
            steps.look(whole)
            optimizer.zero_grad()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begun)
            if len(seconds) > STEPS:
                break
    begun = time.perf_counter()
    evaluate(model, problem.tasks, problem.splits["validation"], device)
    looking = time.perf_counter() - begun
    step = sorted(seconds[1:])[STEPS // 2]
    steps_of_epoch = max(1, samples // budget.batch_size)
    return Cost(
        name,
        _passes(balancer, told, len(problem.tasks)),
        told.way,
        step_bytes(model, optimizer, kept) / 2**20,
        told.memory_mib,
        step,
        budget.epochs * (steps_of_epoch * step + looking),
        alone,
    )


def _passes(balancer: Balancer, told: Forecast, tasks: int) -> int:
    """Of the first step, or the mean of a balancer that does not form its Gramian in every one."""
    return min(told.passes, balancer.passes(tasks)) if balancer.passes(tasks) < tasks else told.passes
