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
from polytask.balancing.losses import (
    DWA,
    IMTLL,
    SLAW,
    STCH,
    CoV,
    Equal,
    ExponentiatedGradient,
    GeometricMean,
    LogSum,
    RandomWeights,
    Static,
    Uncertainty,
    WorstCase,
)

METHODS = (
    Equal,
    Static,
    Uncertainty,
    DWA,
    RandomWeights,
    GeometricMean,
    LogSum,
    IMTLL,
    STCH,
    WorstCase,
    ExponentiatedGradient,
    CoV,
    SLAW,
    MGDA,
    PCGrad,
    GradDrop,
)
"""Every balancing method, in the order in which lists show them."""

__all__ = [
    "WorstCase",
    "STCH",
    "SLAW",
    "LogSum",
    "IMTLL",
    "GeometricMean",
    "ExponentiatedGradient",
    "CoV",
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
