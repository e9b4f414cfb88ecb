"""Gradient balancers that need no more than the Gramian of the task gradients."""

from polytask.balancing.gramian.mgda import MGDA
from polytask.balancing.gramian.pcgrad import PCGrad

__all__ = ["MGDA", "PCGrad"]
