"""Task-wise early stopping of auxiliary tasks (Zhang, Luo, Loy, Tang 2014)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, ClassVar

from torch import Tensor

from polytask.balancing._auxiliary import ForAuxiliaries
from polytask.balancing._by_name import by_name, check_names
from polytask.balancing.balancer import LossBalancer
from polytask.errors import PolytaskError
from polytask.tasks import Task


def stopping_measure(train: Sequence[float], validation: float, strip: int, importance: float = 1.0) -> float:
    r"""How little a task is still worth: trend of its training error times its generalisation error.

    (k med / (sum - k med)) ((E_val - min E_tr) / (lambda min E_tr)), median and sum over the last k + 1 training
    errors, minimum over all of them; see `TaskwiseStopping`.

    Args:
        train: training errors so far, E_tr(1) .. E_tr(t), more than `strip` of them, none negative.
        validation: E_val(t).
        strip: k.
        importance: lambda.

    >>> stopping_measure([4.0, 2.0, 2.0, 2.0], 3.0, strip=2)  # flat: 2 2 / (6 - 4); a gap of half the error
    1.0
    >>> stopping_measure([8.0, 4.0, 2.0], 3.0, strip=2)  # falling: 2 4 / (14 - 8)
    0.666...
    """
    last = train[-(strip + 1) :]
    middle = strip * median(last)
    rest, lowest = math.fsum(last) - middle, min(train)
    if not (rest > 0 and middle > 0):
        return 0.0
    gap = validation - lowest
    return middle / rest * (gap / (importance * lowest) if lowest else math.copysign(math.inf, gap) if gap else 0.0)


@dataclass(eq=False, repr=False)
class TaskwiseStopping(ForAuxiliaries, LossBalancer):
    r"""The sum of the losses, in which an auxiliary task stops for good once it has little left to give.

    total = sum_main L + sum_a lambda_a L_a. Auxiliary task a is left out from the moment on when

        k med E_tr(j) / (sum E_tr(j) - k med E_tr(j)) * (E_val(t) - min E_tr) / (lambda_a min E_tr) > epsilon

    with median and sum over j = t - k .. t and the minimum over j = 1 .. t (Zhang, Luo, Loy, Tang 2014, "Facial
    Landmark Detection by Deep Multi-Task Learning", eq. 5, the task-wise early stopping of TCDCN). The first factor is
    the trend of the training error: k where it is flat or falls in a line, less where it falls fast at first. The
    second is the generalisation error, relative to the lowest training error. An important task (large lambda) goes on
    for longer. Main tasks never stop.

    Errors are the values of the task's own loss function, as in the paper: means over an epoch of training, and over
    the validation data. They are told by `judged` once per epoch, so t and k count *epochs*; the paper counts
    iterations. The training error is that of the steps of the epoch (with dropout, while weights move), which costs
    nothing. The first k epochs stop nothing. `training.fit` calls `judged`; in a loop of your own do so after
    every epoch. `stopped` tells who stopped when. A stopped task has weight 0: its head gets a zero gradient, its
    predictions get worse, and its scores count for nothing.

    Where the product as written has no meaning, a task goes on: where the denominator of the first factor is not
    positive (the error fell steeply at the end of the strip). Just short of that the factor is large: the median does
    not see one last low error, and the formula takes a sudden fall for the end of learning. With a training error of
    exactly 0 any larger validation error stops a task.

    What was read: the abstract, and two summaries by others, which describe eq. 3 (lambda_a weighs the loss) and eq. 5
    (its two factors, lambda and the threshold epsilon). The paper itself was not at hand, so hold the symbols above
    against it. It says that lambda can be learned by gradient descent; here the lambdas are given, and 1 if they are
    not. Which k and epsilon its authors took is not known to us. Cost: one backward pass.

    Args:
        strip: k, epochs. 5 here.
        threshold: epsilon. 2.5 here: with k = 5 and a flat training error a task stops when its validation error is
            above the lowest training error by half.
        importances: lambda, a positive number by name of an auxiliary task; 1 for those not named.
        auxiliary: names of the auxiliary tasks; without any, those that are marked. `training.fit` finds them.

    >>> import torch
    >>> balancer = TaskwiseStopping(strip=2, threshold=0.9, auxiliary=["smile"])
    >>> for error in (4.0, 2.0, 2.0, 2.0):
    ...     balancer.judged({"smile": error, "eyes": 1.0}, {"smile": 3.0, "eyes": 1.0})
    >>> balancer.stopped  # 2 in a row: 2 2 / (6 - 4) times (3 - 2) / 2, at the end of epoch 4
    {'smile': 4}
    >>> balancer.total(torch.tensor([1.0, 10.0]), ["eyes", "smile"])
    tensor(1.)
    """

    linear: ClassVar[bool] = True
    strip: int = 5
    threshold: float = 2.5
    importances: Mapping[str, float] = field(default_factory=dict)
    auxiliary: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strip < 1:
            raise PolytaskError(f"the strip of TaskwiseStopping must be at least 1 epoch, got {self.strip}")
        if not self.threshold > 0:
            raise PolytaskError(f"the threshold of TaskwiseStopping must be positive, got {self.threshold}")
        bad = {name: each for name, each in self.importances.items() if not 0 < each < math.inf}
        if bad:
            raise PolytaskError(f"importances of TaskwiseStopping must be positive numbers, got {bad}")
        self._memory = {"epochs": 0, "train": {}, "stopped": {}}

    def bind(self, tasks: Sequence[Task]) -> None:
        super().bind(tasks)
        check_names("importance", self.importances, self.helpers or [task.name for task in tasks])

    @property
    def stopped(self) -> dict[str, int]:
        """The auxiliary tasks that have stopped, with the epoch after which they did, counted from 1."""
        return dict(self._memory["stopped"])

    def total(self, losses: Tensor, tasks: Sequence[str] = ()) -> Tensor:
        self.are_main(len(losses), tasks)  # names, where they are needed
        weights = {**self.importances, **dict.fromkeys(self._memory["stopped"], 0.0)}
        return (losses * by_name(weights, 1.0, losses, tasks)).sum()

    def judged(self, train: Mapping[str, float], validation: Mapping[str, float]) -> None:
        memory: dict[str, Any] = self._memory
        memory["epochs"] += 1
        for name in self.helpers:
            if name in train and name in validation and name not in memory["stopped"]:
                if train[name] < 0:
                    raise PolytaskError(
                        f"TaskwiseStopping compares errors, which are not negative; the mean loss of '{name}' is "
                        f"{train[name]}: take a loss that is 0 at best, or another balancer"
                    )
                errors = memory["train"].setdefault(name, [])
                errors.append(train[name])
                enough = len(errors) > self.strip
                if enough and self._measure(name, validation[name]) > self.threshold:
                    memory["stopped"][name] = memory["epochs"]

    def _measure(self, name: str, validation: float) -> float:
        return stopping_measure(self._memory["train"][name], validation, self.strip, self.importances.get(name, 1.0))
