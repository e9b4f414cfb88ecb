"""The words that everything else speaks: what a task is, its loss, its metrics, its missing labels."""

from polytask.tasks.classification import Binary, MultiClass, MultiLabel
from polytask.tasks.regression import Regression
from polytask.tasks.task import MISSING_CLASS, Task, losses, present

__all__ = ["MISSING_CLASS", "Binary", "MultiClass", "MultiLabel", "Regression", "Task", "losses", "present"]
