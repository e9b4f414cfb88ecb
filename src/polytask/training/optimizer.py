"""The optimizer that a budget asks for."""

import inspect
from typing import Any

import torch
from torch import nn

from polytask.balancing import Balancer, parameter_groups
from polytask.errors import PolytaskError
from polytask.training.budget import Budget


def make_optimizer(budget: Budget, model: nn.Module, balancer: Balancer) -> torch.optim.Optimizer:
    """The optimizer of the budget, for what the model and the balancer learn; fused where there is such a thing.

    Raises:
        PolytaskError: the optimizer does not take these settings.
    """
    groups = [{"params": [p for p in model.parameters() if p.requires_grad]}, *parameter_groups(balancer)]
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
