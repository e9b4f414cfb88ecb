"""Gradient balancers that look at every element of the task gradients."""

from polytask.balancing.jacobian.graddrop import GradDrop

__all__ = ["GradDrop"]
