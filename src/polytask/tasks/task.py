"""What every task is, and the losses of several tasks on one batch."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from polytask.errors import PolytaskError

MISSING_CLASS = -100
"""How an integer target says "no label here"; a floating-point target says it with NaN."""


def present(target: Tensor) -> Tensor:
    """True where there is a label: not NaN for floating-point targets, not -100 for integer ones.

    Types that can't hold -100 (uint8, bool) have no missing labels.

    >>> import torch
    >>> present(torch.tensor([1.5, float("nan")])), present(torch.tensor([-100, 3]))
    (tensor([ True, False]), tensor([False,  True]))
    """
    if target.is_floating_point():
        return ~torch.isnan(target)
    if not target.dtype.is_signed:  # compared with uint8, -100 would wrap to 156
        return torch.ones_like(target, dtype=torch.bool)
    return target != MISSING_CLASS


@dataclass(frozen=True)
class Task(ABC):
    """What to predict: its loss, its metrics with their direction, its default head, its missing labels.

    Args:
        name: what the task is called everywhere: keys of targets, predictions, losses, tables.
        importance: how much the task counts where results of several tasks are summed up (model selection and
            delta_m over tasks). It does not touch the training losses: for that, weigh them with a balancer.
        auxiliary: trained for the sake of the other tasks: reported apart, never in the headline.
        unit: what the target is measured in, for tables and axes; empty when it has no unit.
        descriptor: what is known of the task itself, as numbers (properties of a school, an embedded text), for
            networks that are told it (`sharing.Conditioned`); empty when nothing is.
    """

    dense: ClassVar[bool] = False
    """Whether predictions are maps [b, outputs, h, w]; else they are vectors [b, outputs]."""
    exclusive: ClassVar[bool] = True
    """Whether a label is one of the classes; else each class is there or not (where there are classes)."""

    name: str
    importance: float = field(default=1.0, kw_only=True)
    auxiliary: bool = field(default=False, kw_only=True)
    unit: str = field(default="", kw_only=True)
    descriptor: tuple[float, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "descriptor", tuple(float(each) for each in self.descriptor))
        if not self.name or not isinstance(self.name, str):
            raise PolytaskError(f"a task needs a name (a non-empty string), got {self.name!r}")
        if not (0 < self.importance < float("inf")):
            raise PolytaskError(
                f"importance of task '{self.name}' must be a positive number, got {self.importance!r}; "
                "to train a task without counting it, mark it auxiliary"
            )

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many numbers the network gives for one sample."""

    @property
    def shown(self) -> bool:
        """Whether it can be looked at: `picture` and `target_picture` work, and `error_map` where `dense`."""
        return False

    @property
    def likelihood_scale(self) -> float:
        """Factor of exp(-s) * loss in the negative log likelihood: 1 for a softmax, 1/2 for a Gaussian.

        Kendall, Gal, Cipolla 2018, eq. 7 (Gaussian) and eq. 10 (softmax).
        """
        return 1.0

    @abstractmethod
    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        """The sum of the losses of all labels that are present, a scalar; `complete`: none is missing, so that there
        is nothing to mask."""

    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """Fresh torchmetrics objects by name; their direction is their `higher_is_better`."""

    @abstractmethod
    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        """Show the labels that are present, and the predictions for them, to the metrics."""

    @abstractmethod
    def fitted(self, target: Tensor) -> Self:
        """The task after a look at the *training* labels: checks them, and learns what the loss needs."""

    def check_form(self, target: Tensor) -> None:
        """Raise unless a target has the type and the axes that the loss reads: a glance at every batch of a loop of
        one's own."""
        if not isinstance(target, Tensor):
            raise PolytaskError(
                f"task '{self.name}' expects its targets as a tensor, got {type(target).__name__}; convert them, as "
                "with torch.as_tensor(...)"
            )

    def check(self, target: Tensor) -> None:
        """Labels of any split are of the form that the task can be scored on; a kind of task that can tell says so.

        Raises:
            PolytaskError: they are not; it says what was expected, what came, where, and what to do.
        """

    @abstractmethod
    def decode(self, prediction: Tensor) -> Tensor:
        """Network outputs as people read them: probabilities, or numbers in the target's own unit."""

    @abstractmethod
    def columns(self, prediction: Tensor) -> dict[str, Any]:
        """Network outputs of n samples as named table columns of n entries: what `polytask predict` writes."""

    @abstractmethod
    def constant(self, target: Tensor) -> Tensor:
        """The best constant network output for these labels, shape [outputs]: what learning has to beat."""

    def loss(
        self, prediction: Tensor, target: Tensor, count: float | Tensor | None = None, complete: bool = False
    ) -> Tensor:
        """The sum of the losses of the labels present, divided by their number.

        Args:
            prediction: network outputs, [b, outputs].
            target: labels, [b] or [b, outputs], missing ones marked.
            count: divide by this instead of the number of labels present here: on several processes, or when a
                batch is cut in pieces, the number in the whole batch (so that the pieces add up to the whole).
            complete: no label is missing (saves the masking).

        Returns:
            A scalar. NaN when no label is present and no count is given: leave absent tasks out instead.
        """
        if count is None:
            count = target.numel() if complete else present(target).sum()
        return self.loss_sum(prediction, target, complete) / count

    def credit_sum(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The sum, over the labels present, of how well each is predicted: at most 1 each, a scalar.

        For balancers that weigh tasks by a metric; a kind of task that they shall weigh defines it.
        """
        raise PolytaskError(
            f"{type(self).__name__} (task '{self.name}') does not say how well it does on a batch; define its "
            "credit_sum, or take a balancer that does not read progress"
        )

    def progress(self, prediction: Tensor, target: Tensor, count: float | Tensor | None = None) -> Tensor:
        """How well the task does on a batch, from 0 to 1: accuracy; for numbers 1 - squared error / variance, or 0.

        Args:
            prediction, target, count: as in `loss`.

        >>> import torch
        >>> from polytask.tasks import MultiClass
        >>> MultiClass("digit", 3).progress(torch.eye(3), torch.tensor([0, 2, -100]))
        tensor(0.5000)
        """
        labels = present(target).sum() if count is None else count
        return (self.credit_sum(prediction, target).float() / labels).clamp(0.0, 1.0)

    @property
    def label_unit(self) -> str:
        """What single numbers of its labels are measured in: `unit`, unless that is of the metrics alone."""
        return self.unit

    @property
    def class_names(self) -> tuple[str, ...]:
        """What its classes are called; empty for a task without classes."""
        return ()

    def by_class(self) -> tuple[str, Metric] | None:
        """A score of every single class, for the study of rare ones; None where there is nothing of the kind.

        Returns:
            What the score is called, and a fresh metric, to be shown what `update` shows; its `compute()` gives one
            number per class, from 0 to 1, higher is better, in the order of `class_names`; NaN for a class that has no
            label.
        """
        return None

    def label_counts(self, target: Tensor) -> Tensor:
        """How many of these labels each class has, integers [classes]: empty for a task without classes."""
        return torch.zeros(0, dtype=torch.long)

    @property
    def member_names(self) -> tuple[str, ...]:
        """What its members are called, where it stands for many small tasks (`Many`); else empty."""
        return ()

    def values(self, target: Tensor) -> Tensor:
        """The labels alone, missing ones marked, where a target holds more than labels (whose they are)."""
        return target

    def member_counts(self, target: Tensor) -> Tensor:
        """How many of these labels each member has, integers [members]: empty for a task without members."""
        return torch.zeros(0, dtype=torch.long)

    def by_member(self) -> tuple[str, Metric] | None:
        """A score of every single member, for reports; None for a task without members.

        Returns:
            What the score is called, and a fresh metric, to be shown what `update` shows; its `compute()` gives one
            number per member, in the order of `member_names`; NaN for one that has no score.
        """
        return None

    def metric_units(self) -> dict[str, str]:
        """The unit of every metric: the metric's own, where it says one, else that of the task."""
        return {name: getattr(metric, "unit", self.unit) for name, metric in self.metrics().items()}

    def picture(self, prediction: Tensor, inputs: Tensor | None = None) -> Tensor:
        """Network outputs as pictures.

        Args:
            prediction: network outputs, [b, outputs] or [b, outputs, h, w].
            inputs: the images they were made from, floats 0 to 1, [b, 3 or 1, h, w], for tasks that draw on them.

        Returns:
            uint8 [b, h, w, 3].

        Raises:
            PolytaskError: the task can't be looked at (`shown` is False).
        """
        raise self._not_shown()

    def target_picture(self, target: Tensor, inputs: Tensor | None = None) -> Tensor:
        """Labels as pictures, in the colours of `picture`; missing ones grey. Args and result as there."""
        raise self._not_shown()

    def legend(self) -> dict[str, tuple[int, int, int]]:
        """What the colours of its pictures mean: red, green, blue (0 to 255) by label; empty where nothing needs it."""
        return {}

    def _not_shown(self) -> PolytaskError:
        return PolytaskError(
            f"{type(self).__name__} (task '{self.name}') has no picture: its predictions are numbers; "
            "read them with decode, or columns"
        )

    def head(self, width: int) -> nn.Module:
        """The default head: one linear layer from pooled features of `width` numbers."""
        return nn.Linear(width, self.outputs)

    def repeated(self, constant: Tensor, target: Tensor) -> Tensor:
        """The network outputs that are this constant ([outputs]) for every sample of a target."""
        return constant.expand(len(target), -1)

    def describe(self) -> dict[str, Any]:
        """The task as plain data: its kind and everything that it was made with (a descriptor where it has one)."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        if not self.descriptor:
            del told["descriptor"]
        return {"kind": type(self).__name__, **told}

    def _labels(self, target: Tensor, where: str = "training") -> Tensor:
        """The labels present, flat; an error when there is none."""
        labels = target[present(target)]
        if not len(labels):
            raise PolytaskError(
                f"task '{self.name}' has no label at all in the {where} data ({len(target)} rows); "
                "drop the task, or give it labels (missing: NaN for numbers, -100 for classes)"
            )
        return labels


def losses(
    tasks: Iterable[Task],
    predictions: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    counts: Mapping[str, float] | None = None,
    complete: Collection[str] = (),
) -> dict[str, Tensor]:
    """The loss of every task that has labels in the batch, by name, in the order of `tasks`; see `Task.loss`.

    Without `counts`, a task of which no label is present has no loss: absent is absent. (That is looked at, which waits
    for a GPU once per task.) The form of the targets is looked at as well.

    Raises:
        PolytaskError: a target that is no tensor, or of another form than the task reads.

    >>> import torch
    >>> from polytask.tasks import Binary, Regression
    >>> both = [Binary("rain"), Regression("degrees")]
    >>> predictions = {"rain": torch.zeros(2, 1), "degrees": torch.zeros(2, 1)}
    >>> losses(both, predictions, {"rain": torch.tensor([-100, -100]), "degrees": torch.tensor([2.0, float("nan")])})
    {'degrees': tensor(4.)}
    """
    found = {}
    for task in tasks:
        if task.name not in targets:
            continue
        target = targets[task.name]
        if counts is not None:
            count: float | Tensor = counts[task.name]
        else:
            task.check_form(target)
            count = present(target).sum()
            if not count:
                continue
        try:
            found[task.name] = task.loss(predictions[task.name], target, count, task.name in complete)
        except IndexError:  # a class number out of range, which torch does not place
            task.check(target)
            raise
    return found
