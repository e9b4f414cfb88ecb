"""`fit`: a tested training loop on Accelerate, with exact resume; evaluation; checkpoints."""

from polytask.training.budget import Budget
from polytask.training.checkpoint import load_state, load_tree, save_tree
from polytask.training.evaluate import constant_scores, directions, evaluate
from polytask.training.fine_tuning import L2SP, FineTuned, FineTuning
from polytask.training.fit import Fitted, TrainingError, fit
from polytask.training.folder import RunFolder
from polytask.training.optimizer import make_optimizer
from polytask.training.schedules import Constant, Cosine, Schedule
from polytask.training.starting import start_from_runs

__all__ = [
    "L2SP",
    "Budget",
    "Constant",
    "Cosine",
    "FineTuned",
    "FineTuning",
    "Fitted",
    "RunFolder",
    "Schedule",
    "TrainingError",
    "constant_scores",
    "directions",
    "evaluate",
    "fit",
    "load_state",
    "load_tree",
    "make_optimizer",
    "save_tree",
    "start_from_runs",
]
