"""Members of tasks that stand for many, of which a split has no label."""

from collections.abc import Mapping

from torch import Tensor

from polytask.tasks import Task

NAMED = 5
MEANS = {
    "train": "only the common part of the heads predicts for them",
    "validation": "the choice of an epoch does not look at them",
    "test": "they have no score there",
}
"""What a member without a label in a split means."""


def silent_members(task: Task, counts: Mapping[str, Tensor]) -> tuple[str, ...]:
    """A sentence for every split in which members have no label.

    Args:
        task: that stands for many.
        counts: labels of every member, by split.

    >>> import torch
    >>> from polytask.tasks import ManyRegression
    >>> silent_members(ManyRegression("exam", ("north", "south")), {"test": torch.tensor([3, 0])})
    ("task 'exam': 1 of 2 members have no label in the test split (south): they have no score there",)
    """
    told = []
    for split, each in counts.items():
        without = [task.member_names[k] for k in (each == 0).nonzero()[:, 0].tolist()]
        if without:
            some = ", ".join(without[:NAMED]) + (f" and {len(without) - NAMED} more" if len(without) > NAMED else "")
            told.append(
                f"task '{task.name}': {len(without)} of {len(task.member_names)} members have no label in the {split} "
                f"split ({some}): {MEANS.get(split, 'they are left out there')}"
            )
    return tuple(told)
