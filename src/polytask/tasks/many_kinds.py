"""The kinds of many small tasks: numbers, yes or no, one of several classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from polytask.errors import PolytaskError
from polytask.tasks.classification import check_varies, check_whole
from polytask.tasks.many import Many
from polytask.tasks.member_metrics import MemberAccuracy, MemberAUROC, MemberError, mean_over, worst_tenth


def _means(values: Tensor, member: Tensor, members: int) -> Tensor:
    """The mean of values [n, c] by member, [k, c]; of all values for one that has none."""
    sums = torch.zeros(members, values.shape[1], dtype=torch.float64).index_add_(0, member, values.double())
    counts = torch.bincount(member, minlength=members).double()[:, None]
    return torch.where(counts > 0, sums / counts, values.double().mean(0))


@dataclass(frozen=True)
class ManyRegression(Many):
    r"""A number for each of many members: loss ((prediction - (y - mean) / deviation)^2), see `Many` for all else.

    Where every member has a column of targets, each has a mean and a deviation of its own, since units may differ, and
    metrics are in these deviations. Where rows belong to members, all predict one quantity: one mean and one deviation
    of all training labels, metrics in `unit`. Metrics: "rmse" and "mae", averaged over the members, and
    "rmse_worst_tenth".

    Args:
        mean, deviation: one for all members, or one each; `fitted` learns them. A member with one value only, or
            without a training label, has those of all labels.

    >>> from polytask.tasks import of_members
    >>> exam = ManyRegression("score", ("north", "south"), "school", unit="points", training_labels=(3, 1))
    >>> target = of_members(torch.tensor([1.0, 1.0, 1.0, 2.0]), torch.tensor([0, 0, 0, 1]))
    >>> exam.loss(torch.zeros(4, 1), target)  # (1 + 4) / 2: members count alike
    tensor(2.5000)
    """

    mean: tuple[float, ...] = field(default=(0.0,), kw_only=True)
    deviation: tuple[float, ...] = field(default=(1.0,), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if {len(self.mean), len(self.deviation)} - {1, len(self.member_names)} or not all(
            each > 0 for each in self.deviation
        ):
            raise PolytaskError(
                f"task '{self.name}' needs one mean and one deviation above 0, or one for each of its "
                f"{len(self.member_names)} members; got {len(self.mean)} and {len(self.deviation)}"
            )

    @property
    def each(self) -> int:
        return 1

    @property
    def likelihood_scale(self) -> float:
        return 0.5

    def _spread(self, of: tuple[float, ...], like: Tensor, member: Tensor) -> Tensor | float:
        return of[0] if len(of) == 1 else torch.tensor(of, dtype=like.dtype, device=like.device)[member]

    def _standard(self, label: Tensor, member: Tensor) -> Tensor:
        """Labels in standard units."""
        return (label - self._spread(self.mean, label, member)) / self._spread(self.deviation, label, member)

    def _losses(self, shown: Tensor, label: Tensor, member: Tensor) -> Tensor:
        return (shown[..., 0] - self._standard(label, member)).square()

    def _credits(self, shown: Tensor, label: Tensor, member: Tensor) -> Tensor:
        return 1 - self._losses(shown, label, member)

    def _compared(self, shown: Tensor, label: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
        if self.column:
            return self._read(shown.float()), label.float()
        return shown[..., 0].float(), self._standard(label, member).float()

    def _read(self, shown: Tensor) -> Tensor:
        """The number in the target's own unit."""
        every = torch.arange(shown.shape[-2] if len(self.mean) > 1 else 1, device=shown.device)
        return shown[..., 0] * self._spread(self.deviation, shown, every) + self._spread(self.mean, shown, every)

    def metrics(self) -> dict[str, Metric]:
        count = len(self.member_names)
        return {
            "rmse": MemberError(count, 2),
            "mae": MemberError(count, 1),
            "rmse_worst_tenth": MemberError(count, 2, worst_tenth),
        }

    def metric_units(self) -> dict[str, str]:
        return dict.fromkeys(self.metrics(), self.unit if self.column else "deviations")

    def by_member(self) -> tuple[str, Metric]:
        return "rmse", MemberError(len(self.member_names), 2, over=None)

    def _check_labels(self, label: Tensor) -> None:
        if not label.is_floating_point():
            raise PolytaskError(
                f"task '{self.name}' expects floating-point targets (missing: NaN), got {label.dtype}; "
                "convert with .float()"
            )
        if bool(torch.isinf(label).any()):
            raise PolytaskError(f"task '{self.name}' has infinite labels; mark them missing (NaN) or mend them")

    def _learned(self, label: Tensor, member: Tensor) -> Mapping[str, Any]:
        label = label.double()
        mean, deviation = label.mean(), label.std(correction=0)
        if deviation <= 1e-12 * max(abs(float(mean)), 1e-300):
            raise PolytaskError(
                f"task '{self.name}' has one value only ({float(mean):g}) in all {len(label)} training labels: "
                "there is nothing to learn; drop the task or look at its labels"
            )
        if self.column:
            return {"mean": (mean.item(),), "deviation": (deviation.item(),)}
        means = _means(label[:, None], member, len(self.member_names))
        deviations = _means((label - means[member, 0]).square()[:, None], member, len(self.member_names)).sqrt()
        flat = deviations <= 1e-12 * means.abs().clamp(min=1e-300)
        return {
            "mean": tuple(means[:, 0].tolist()),
            "deviation": tuple(torch.where(flat, deviation, deviations)[:, 0].tolist()),
        }

    def _constants(self, label: Tensor, member: Tensor) -> Tensor:
        return _means(self._standard(label, member)[:, None], member, len(self.member_names))

    def _columns_of(self, name: str, found: Tensor) -> dict[str, Any]:
        return {f"{name} [{self.unit}]" if self.unit else name: found.tolist()}


@dataclass(frozen=True)
class ManyBinary(Many):
    r"""Yes or no for each of many members: one logit each, cross-entropy as of `Binary`; see `Many` for all else.

    Labels are 0 and 1. Metrics: area under the ROC curve and accuracy at probability 1/2, averaged over the members
    ("auroc" over those that have both labels in the split), and "auroc_worst_tenth".

    >>> assays = ManyBinary("active", ("liver", "heart", "skin"))
    >>> assays.loss(torch.zeros(2, 3), torch.tensor([[1, -100, -100], [0, 1, -100]]))  # log 2, over three labels
    tensor(0.6931)
    """

    @property
    def each(self) -> int:
        return 1

    def _losses(self, shown: Tensor, label: Tensor, member: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(shown[..., 0], label.to(shown.dtype), reduction="none")

    def _credits(self, shown: Tensor, label: Tensor, member: Tensor) -> Tensor:
        return ((shown[..., 0] > 0) == (label > 0)).to(shown.dtype)

    def _compared(self, shown: Tensor, label: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
        return self._read(shown.float()), label

    def _read(self, shown: Tensor) -> Tensor:
        """The probability of 1."""
        return shown[..., 0].sigmoid()

    def metrics(self) -> dict[str, Metric]:
        count = len(self.member_names)
        return {
            "auroc": MemberAUROC(count),
            "accuracy": _Sides(count),
            "auroc_worst_tenth": MemberAUROC(count, worst_tenth),
        }

    def by_member(self) -> tuple[str, Metric]:
        return "auroc", MemberAUROC(len(self.member_names), over=None)

    def _check_labels(self, label: Tensor) -> None:
        check_whole(self.name, label, 2)

    def _learned(self, label: Tensor, member: Tensor) -> Mapping[str, Any]:
        check_varies(self.name, label)
        return {}

    def _constants(self, label: Tensor, member: Tensor) -> Tensor:
        return torch.logit(_means(label[:, None], member, len(self.member_names)).clamp(1e-6, 1 - 1e-6))

    def _columns_of(self, name: str, found: Tensor) -> dict[str, Any]:
        return {f"{name}: probability": found.tolist()}


class _Sides(MemberAccuracy):
    """Accuracy of probabilities: which side of 1/2."""

    def update(self, shown: Tensor, known: Tensor, member: Tensor) -> None:
        super().update(shown > 0.5, known > 0, member)


@dataclass(frozen=True)
class ManyMultiClass(Many):
    r"""One of several classes, the same for each of many members: c logits each, cross-entropy as of `MultiClass`.

    Labels are class numbers. Metrics: accuracy, averaged over the members, and "accuracy_worst_tenth". See `Many`.

    >>> from polytask.tasks import of_members
    >>> genre = ManyMultiClass("genre", 2, "user", classes=("drama", "comedy", "crime"))
    >>> genre.loss(torch.zeros(2, 3), of_members(torch.tensor([2, 0]), torch.tensor([0, 1])))  # log 3
    tensor(1.0986)
    """

    classes: int | tuple[str, ...] = field(default=2, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.each < 2:
            raise PolytaskError(f"task '{self.name}' needs at least 2 classes, got {self.classes!r}")

    @property
    def names_of_classes(self) -> tuple[str, ...]:
        """The classes' names; their numbers when they have no names."""
        return self.classes if isinstance(self.classes, tuple) else tuple(map(str, range(self.classes)))

    @property
    def each(self) -> int:
        return len(self.names_of_classes)

    def _losses(self, shown: Tensor, label: Tensor, member: Tensor) -> Tensor:
        flat = F.cross_entropy(shown.flatten(0, -2), label.flatten().long(), reduction="none")
        return flat.view(label.shape)

    def _credits(self, shown: Tensor, label: Tensor, member: Tensor) -> Tensor:
        return (shown.argmax(-1) == label).to(shown.dtype)

    def _compared(self, shown: Tensor, label: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
        return shown.argmax(-1), label.long()

    def _read(self, shown: Tensor) -> Tensor:
        """The probability of each class."""
        return shown.softmax(-1)

    def metrics(self) -> dict[str, Metric]:
        count = len(self.member_names)
        return {
            "accuracy": MemberAccuracy(count, mean_over),
            "accuracy_worst_tenth": MemberAccuracy(count, worst_tenth),
        }

    def by_member(self) -> tuple[str, Metric]:
        return "accuracy", MemberAccuracy(len(self.member_names), over=None)

    def _check_labels(self, label: Tensor) -> None:
        check_whole(self.name, label, self.each)

    def _learned(self, label: Tensor, member: Tensor) -> Mapping[str, Any]:
        check_varies(self.name, label)
        return {}

    def _constants(self, label: Tensor, member: Tensor) -> Tensor:
        shown = F.one_hot(label.long(), self.each)
        return _means(shown, member, len(self.member_names)).add(1e-6).log()

    def _columns_of(self, name: str, found: Tensor) -> dict[str, Any]:
        named = {name: [self.names_of_classes[each] for each in found.argmax(1).tolist()]}
        labels = enumerate(self.names_of_classes)
        return named | {f"{name}: probability of {label}": found[:, k].tolist() for k, label in labels}
