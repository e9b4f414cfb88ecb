"""The optimizer that a budget asks for."""

import inspect
from typing import Any

import torch
from torch import nn

from polytask.balancing import Balancer, parameter_groups
from polytask.errors import PolytaskError
from polytask.sharing import MultiTaskModel
from polytask.training.budget import Budget


def make_optimizer(budget: Budget, model: nn.Module, balancer: Balancer) -> torch.optim.Optimizer:
    """The optimizer of the budget, for what the model and the balancer learn; fused where there is such a thing.

    A `MultiTaskModel` says which of its parameters have a learning rate of their own; the schedule multiplies every
    group's.

    Raises:
        PolytaskError: the optimizer does not take these settings, or the model's groups leave a parameter out.
    """
    groups = [*_groups_of(model, budget.learning_rate), *parameter_groups(balancer)]
    options: dict[str, Any] = {"lr": budget.learning_rate, "weight_decay": budget.weight_decay}
    if "fused" in inspect.signature(budget.optimizer).parameters:
        options["fused"] = True
    try:
        return budget.optimizer(groups, **options | budget.optimizer_options)
    except (TypeError, ValueError) as error:
        raise PolytaskError(
            f"{budget.optimizer.__name__} can't be made with {options | budget.optimizer_options}: {error}; take an "
            "optimizer that knows parameter groups and weight decay, such as AdamW or SGD"
        ) from error


def _groups_of(model: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
    learned = {name: each for name, each in model.named_parameters() if each.requires_grad}
    if not isinstance(model, MultiTaskModel):
        return [{"params": list(learned.values())}]
    groups = [group | {"params": list(group["params"])} for group in model.parameter_groups(learning_rate)]
    given = {id(each) for group in groups for each in group["params"]}
    lost = [name for name, each in learned.items() if id(each) not in given]
    if lost:
        raise PolytaskError(
            f"the parameter_groups of {type(model).__name__} leave out {len(lost)} parameters that would never learn "
            f"(the first: {lost[0]}); put every parameter in one group, or freeze it (requires_grad_(False))"
        )
    return groups
