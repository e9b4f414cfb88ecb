"""Loss balancers: losses to one scalar, one ordinary backward pass."""

from polytask.balancing.losses.dwa import DWA
from polytask.balancing.losses.equal import Equal, Static
from polytask.balancing.losses.famo import FAMO
from polytask.balancing.losses.gradnorm import GradNorm
from polytask.balancing.losses.priority import DTP
from polytask.balancing.losses.random import RandomWeights
from polytask.balancing.losses.running import SLAW, CoV
from polytask.balancing.losses.scale_free import IMTLL, GeometricMean, LogSum
from polytask.balancing.losses.taskwise_stopping import TaskwiseStopping
from polytask.balancing.losses.uncertainty import Uncertainty
from polytask.balancing.losses.worst_case import STCH, ExponentiatedGradient, WorstCase

__all__ = [
    "DTP",
    "DWA",
    "FAMO",
    "IMTLL",
    "SLAW",
    "STCH",
    "CoV",
    "Equal",
    "ExponentiatedGradient",
    "GeometricMean",
    "GradNorm",
    "LogSum",
    "RandomWeights",
    "Static",
    "TaskwiseStopping",
    "Uncertainty",
    "WorstCase",
]
