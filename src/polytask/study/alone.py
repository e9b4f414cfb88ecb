"""How a task is trained alone."""

from polytask.problems import Problem
from polytask.sharing import Separate
from polytask.study.arms import Arm


def way_alone(problem: Problem) -> Arm:
    """The way of the single-task baseline: a network for the task; for one that stands for many, one per member.

    >>> from polytask import problems
    >>> way_alone(problems.digits(n_train=100)).name, way_alone(problems.many_sines(members=2)).name
    ('HardSharing + Equal', 'Separate + Equal')
    """
    return Arm(Separate) if any(task.member_names for task in problem.tasks) else Arm()
