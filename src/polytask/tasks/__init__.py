"""The words that everything else speaks: what a task is, its loss, its metrics, its missing labels."""

from polytask.tasks.classification import Binary, MultiClass, MultiLabel
from polytask.tasks.dense import Dense
from polytask.tasks.depth import Depth
from polytask.tasks.regression import Regression
from polytask.tasks.segmentation import Segmentation
from polytask.tasks.task import MISSING_CLASS, Task, losses, present

__all__ = [
    "MISSING_CLASS",
    "Binary",
    "Dense",
    "Depth",
    "MultiClass",
    "MultiLabel",
    "Regression",
    "Segmentation",
    "Task",
    "losses",
    "present",
]
