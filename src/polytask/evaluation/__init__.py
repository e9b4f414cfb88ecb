"""Numbers about results and tasks: gains, delta_m, ranks, intervals, conflict; no training."""

from polytask.evaluation.conflict import cosines, magnitude_similarity, norms
from polytask.evaluation.cost import ForwardCost, forward_cost, latencies
from polytask.evaluation.intervals import Interval, interval
from polytask.evaluation.scores import delta_m_metrics, delta_m_tasks, gain, gains, mean_ranks, task_gain

__all__ = [
    "ForwardCost",
    "Interval",
    "cosines",
    "delta_m_metrics",
    "delta_m_tasks",
    "forward_cost",
    "gain",
    "gains",
    "interval",
    "latencies",
    "magnitude_similarity",
    "mean_ranks",
    "norms",
    "task_gain",
]
