"""Which task, or which data set, the rows of a batch come from."""

from polytask.data.samplers.by_error import ByError
from polytask.data.samplers.by_size import Annealed, Proportional, Temperature, Uniform
from polytask.data.samplers.in_turn import AllTasks, RoundRobin
from polytask.data.samplers.sampler import Sampler

__all__ = ["AllTasks", "Annealed", "ByError", "Proportional", "RoundRobin", "Sampler", "Temperature", "Uniform"]
