"""Objectives that are not a task, as pure functions of tensors: added to the losses unbalanced."""

from polytask.penalties.distances import DISTANCES, l1, squared_l2
from polytask.penalties.orthogonality import orthogonality
from polytask.penalties.starting_point import l2_sp
from polytask.penalties.trace import trace_norm

__all__ = ["DISTANCES", "l1", "l2_sp", "orthogonality", "squared_l2", "trace_norm"]
