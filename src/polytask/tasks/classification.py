"""Binary, multi-class and multi-label (one-vs-all) tasks."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    MulticlassAccuracy,
    MulticlassF1Score,
    MultilabelAUROC,
    MultilabelF1Score,
)
from torchmetrics.utilities import dim_zero_cat

from polytask.errors import PolytaskError
from polytask.tasks.task import MISSING_CLASS, Task, present


def check_whole(name: str, labels: Tensor, classes: int) -> None:
    """Every label is a whole number in 0 .. classes - 1."""
    bad = labels[(labels < 0) | (labels >= classes) | (labels != labels.round())]
    if len(bad):
        raise PolytaskError(
            f"task '{name}' expects labels 0 to {classes - 1}, got {bad[0].item():g} "
            f"({len(bad)} of {len(labels)} labels are outside); mark missing labels with NaN (numbers) or -100"
        )


def check_varies(name: str, labels: Tensor) -> None:
    if bool((labels == labels[0]).all()):
        raise PolytaskError(
            f"task '{name}' has one value only ({labels[0].item():g}) in all {len(labels)} training labels: "
            "there is nothing to learn; drop the task or look at the column"
        )


def _binary_sum(logits: Tensor, target: Tensor, complete: bool) -> Tensor:
    if complete:
        return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="sum")
    there = present(target)
    known = torch.where(there, target, 0).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, known, reduction="none")
    return torch.where(there, each, 0).sum()


def _right(logits: Tensor, target: Tensor) -> Tensor:
    """How many of the labels present are on the side of 1/2 that the logit says."""
    return (present(target) & ((logits > 0) == (target > 0))).sum()


@dataclass(frozen=True)
class Binary(Task):
    r"""Yes or no: one logit z, loss -[y log σ(z) + (1 - y) log(1 - σ(z))], the mean over the labels present.

    Targets are [b] of 0 and 1 (missing: -100, or NaN when floating point), network outputs [b, 1] logits.
    Metrics: area under the ROC curve (NaN where all labels are alike) and accuracy at probability 1/2.

    >>> import torch
    >>> Binary("spam").loss(torch.zeros(3, 1), torch.tensor([0, 1, -100]))  # log 2, over two labels
    tensor(0.6931)
    """

    labels: tuple[str, str] = ("0", "1")

    @property
    def outputs(self) -> int:
        return 1

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        return _binary_sum(prediction[:, 0], target, complete)

    def credit_sum(self, prediction: Tensor, target: Tensor) -> Tensor:
        """How many labels are predicted right at probability 1/2."""
        return _right(prediction[:, 0], target)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.labels

    def label_counts(self, target: Tensor) -> Tensor:
        return torch.bincount(target[present(target)].long(), minlength=2)

    def metrics(self) -> dict[str, Metric]:
        return {"auroc": AUROC(validate_args=False), "accuracy": BinaryAccuracy(validate_args=False)}

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        there = present(target)
        shown, known = prediction[there, 0].float().sigmoid(), target[there].long()
        for metric in metrics.values():
            metric.update(shown, known)

    def check(self, target: Tensor) -> None:
        check_whole(self.name, target[present(target)], 2)

    def fitted(self, target: Tensor) -> Self:
        labels = self._labels(target)
        self.check(target)
        check_varies(self.name, labels)
        return self

    def decode(self, prediction: Tensor) -> Tensor:
        """The probability of the second label, [n]."""
        return prediction[:, 0].float().sigmoid()

    def columns(self, prediction: Tensor) -> dict[str, Any]:
        chance = self.decode(prediction)
        return {
            self.name: [self.labels[int(each)] for each in chance > 0.5],
            f"{self.name}: probability of {self.labels[1]}": chance.tolist(),
        }

    def constant(self, target: Tensor) -> Tensor:
        share = self._labels(target).double().mean().clamp(1e-6, 1 - 1e-6)
        return torch.logit(share).float()[None]


@dataclass(frozen=True)
class MultiClass(Task):
    r"""One of several classes: logits z, loss -log softmax(z)_y, the mean over the labels present.

    Targets are [b] class numbers (missing: -100), network outputs [b, classes] logits. Metrics: accuracy, and
    the F1 score averaged over the classes (which small classes feel as much as large ones).

    >>> import torch
    >>> MultiClass("digit", 10).loss(torch.zeros(2, 10), torch.tensor([3, -100]))  # log 10, over one label
    tensor(2.3026)
    """

    classes: int | tuple[str, ...] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outputs < 2:
            raise PolytaskError(f"task '{self.name}' needs at least 2 classes, got {self.classes!r}")

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes; their numbers when they have no names."""
        return self.classes if isinstance(self.classes, tuple) else tuple(map(str, range(self.classes)))

    @property
    def outputs(self) -> int:
        return len(self.classes) if isinstance(self.classes, tuple) else self.classes

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        if not complete:  # a missing label hides even an infinite logit
            prediction = torch.where(present(target)[:, None], prediction, 0)
        return F.cross_entropy(prediction, target.long(), reduction="sum", ignore_index=MISSING_CLASS)

    def credit_sum(self, prediction: Tensor, target: Tensor) -> Tensor:
        """How many labels are predicted right."""
        return (prediction.argmax(1) == target).sum()

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.labels

    def by_class(self) -> tuple[str, Metric]:
        """F1 of every class: recall alone would rise with every class that is named too often."""
        return "f1", ClassF1(self.outputs, average="none", validate_args=False)

    def label_counts(self, target: Tensor) -> Tensor:
        return torch.bincount(target[present(target)].long(), minlength=self.outputs)

    def metrics(self) -> dict[str, Metric]:
        return {
            "accuracy": MulticlassAccuracy(self.outputs, average="micro", validate_args=False),
            "f1": MulticlassF1Score(self.outputs, average="macro", validate_args=False),
        }

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        there = present(target)
        shown, known = prediction[there].argmax(1), target[there].long()
        for metric in metrics.values():
            metric.update(shown, known)

    def check(self, target: Tensor) -> None:
        if target.is_floating_point():
            raise PolytaskError(
                f"task '{self.name}' expects whole class numbers (an integer tensor, missing: -100), "
                f"got {target.dtype}; convert with .long()"
            )
        check_whole(self.name, target[present(target)], self.outputs)

    def fitted(self, target: Tensor) -> Self:
        self.check(target)
        labels = self._labels(target)
        check_varies(self.name, labels)
        return self

    def decode(self, prediction: Tensor) -> Tensor:
        """The probability of each class, [n, classes]."""
        return prediction.float().softmax(1)

    def columns(self, prediction: Tensor) -> dict[str, Any]:
        chances = self.decode(prediction)
        named = {self.name: [self.labels[each] for each in chances.argmax(1).tolist()]}
        return named | {
            f"{self.name}: probability of {label}": chances[:, k].tolist() for k, label in enumerate(self.labels)
        }

    def constant(self, target: Tensor) -> Tensor:
        return torch.bincount(self._labels(target), minlength=self.outputs).double().add(1e-6).log().float()


@dataclass(frozen=True)
class MultiLabel(Task):
    r"""Several yes-or-no labels at once (one-vs-all): the mean binary cross-entropy over all labels present.

    Targets are [b, labels] of 0 and 1, each entry may be missing (-100, or NaN when floating point); network
    outputs [b, labels] logits. Metrics: AUROC and F1, both averaged over the labels; AUROC over those that are there in
    some samples and not in others, NaN where no label is.

    >>> import torch
    >>> MultiLabel("tags", ("red", "round")).loss(torch.zeros(1, 2), torch.tensor([[1, -100]]))
    tensor(0.6931)
    """

    exclusive: ClassVar[bool] = False

    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.labels) < 1:
            raise PolytaskError(f"task '{self.name}' needs the names of its labels, got {self.labels!r}")

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        return _binary_sum(prediction, target, complete)

    def credit_sum(self, prediction: Tensor, target: Tensor) -> Tensor:
        """How many labels are predicted right at probability 1/2."""
        return _right(prediction, target)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.labels

    def by_class(self) -> tuple[str, Metric]:
        """Area under the ROC curve of every label; NaN where it is always there, or never."""
        return "auroc", LabelAUROC(self.outputs, average="none", validate_args=False, ignore_index=MISSING_CLASS)

    def label_counts(self, target: Tensor) -> Tensor:
        """How often each label is there (1), [labels]."""
        return (present(target) & (target > 0)).sum(0)

    def metrics(self) -> dict[str, Metric]:
        options: dict[str, Any] = {"validate_args": False, "ignore_index": MISSING_CLASS}
        return {
            "auroc": MeanLabelAUROC(self.outputs, average="none", **options),
            "f1": MultilabelF1Score(self.outputs, average="macro", **options),
        }

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        known = torch.where(present(target), target, MISSING_CLASS).long()
        for metric in metrics.values():
            metric.update(prediction.float().sigmoid(), known)

    def check(self, target: Tensor) -> None:
        if target.ndim != 2 or target.shape[1] != self.outputs:
            raise PolytaskError(
                f"task '{self.name}' expects targets of shape [rows, {self.outputs}] (one column per label), "
                f"got {list(target.shape)}"
            )
        for column, label in zip(target.T, self.labels, strict=True):
            check_whole(f"{self.name}: {label}", column[present(column)], 2)

    def fitted(self, target: Tensor) -> Self:
        self.check(target)
        for column, label in zip(target.T, self.labels, strict=True):
            name, there = f"{self.name}: {label}", column[present(column)]
            if not len(there):
                raise PolytaskError(f"label '{name}' is missing in all {len(column)} training rows; drop the label")
            check_varies(name, there)
        return self

    def decode(self, prediction: Tensor) -> Tensor:
        """The probability of each label, [n, labels]."""
        return prediction.float().sigmoid()

    def columns(self, prediction: Tensor) -> dict[str, Any]:
        chances = self.decode(prediction)
        return {f"{self.name}: probability of {each}": chances[:, k].tolist() for k, each in enumerate(self.labels)}

    def constant(self, target: Tensor) -> Tensor:
        there = present(target)
        share = torch.where(there, target, 0).double().sum(0) / there.sum(0)
        return torch.logit(share.clamp(1e-6, 1 - 1e-6)).float()


class ClassF1(MulticlassF1Score):
    """F1 of every class; NaN for a class without a label."""

    def compute(self) -> Tensor:
        """[classes]."""
        there = torch.as_tensor(self.tp) + torch.as_tensor(self.fn) > 0
        return torch.where(there, super().compute(), torch.nan)


class AUROC(BinaryAUROC):
    """Area under the ROC curve; NaN where all labels are alike."""

    def compute(self) -> Tensor:  # type: ignore[override]
        """One number."""
        known = dim_zero_cat(self.target)
        both = bool((known == 0).any() and (known == 1).any())
        return super().compute() if both else torch.tensor(torch.nan, device=known.device)


class LabelAUROC(MultilabelAUROC):
    """Area under the ROC curve of every label; NaN for one that is always there, or never."""

    def compute(self) -> Tensor:  # type: ignore[override]
        """[labels]."""
        known = dim_zero_cat(self.target)
        both = (known == 0).any(0) & (known == 1).any(0)
        with warnings.catch_warnings():  # of labels without one of the two, which are NaN here
            warnings.simplefilter("ignore", UserWarning)
            return torch.where(both, super().compute(), torch.nan)


class MeanLabelAUROC(LabelAUROC):
    """The mean over the labels that have an area; NaN where none has."""

    def compute(self) -> Tensor:  # type: ignore[override]
        """One number."""
        return super().compute().nanmean()
