"""Loss balancers: losses to one scalar, one ordinary backward pass."""

from polytask.balancing.losses.dwa import DWA
from polytask.balancing.losses.equal import Equal, Static
from polytask.balancing.losses.random import RandomWeights
from polytask.balancing.losses.uncertainty import Uncertainty

__all__ = ["DWA", "Equal", "RandomWeights", "Static", "Uncertainty"]
