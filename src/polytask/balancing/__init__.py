"""How tasks are weighed: mathematics on tensors, and the one verb `backward` for a training loop."""

from polytask.balancing.backward import Accumulation, Balanced, NonFinite, backward
from polytask.balancing.balancer import (
    Balancer,
    GramianBalancer,
    JacobianBalancer,
    LossBalancer,
    Step,
    parameter_groups,
)
from polytask.balancing.gradients import shared_gramian
from polytask.balancing.gramian import MGDA, PCGrad
from polytask.balancing.jacobian import GradDrop
from polytask.balancing.losses import DWA, Equal, RandomWeights, Static, Uncertainty

METHODS = (Equal, Static, Uncertainty, DWA, RandomWeights, MGDA, PCGrad, GradDrop)
"""Every balancing method, in the order in which lists show them."""

__all__ = [
    "DWA",
    "METHODS",
    "MGDA",
    "Accumulation",
    "Balanced",
    "Balancer",
    "Equal",
    "GradDrop",
    "GramianBalancer",
    "JacobianBalancer",
    "LossBalancer",
    "NonFinite",
    "PCGrad",
    "RandomWeights",
    "Static",
    "Step",
    "Uncertainty",
    "backward",
    "parameter_groups",
    "shared_gramian",
]
