"""Many small tasks of one kind as one task: one per user, per domain, per assay."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from polytask.errors import PolytaskError
from polytask.tasks.member_heads import MemberHeads
from polytask.tasks.task import Task, present


@dataclass(frozen=True)
class Many(Task):
    r"""k small tasks of one kind, its members, as one object: one prediction tensor, one loss, one row of a table.

    The data come in two layouts:

    * a column of targets per member, [n, k], most of them missing (assays of molecules): `column` is "".
      Network outputs [b, k c] with c numbers per member.
    * each row belongs to one member (users, schools): `column` names the input that holds its number, integers [n] from
      0 to k - 1. Targets are [n, 2] floating point: the label, and the number of the member once more (`of_members`
      makes them); a missing label is NaN twice. Network outputs [b, c]: only the row's own head is computed. As every
      label is two numbers, a data set counts two for each.

    Loss: sum over the labels of w_t loss(label) / number of labels, with w_t = N / (m n_t) where members are `alike`:
    n_t training labels of member t, N of all m members that have any. Over the training data this is the mean over the
    members of their mean losses; every batch gives it without bias, and pieces and processes add up, which the mean
    over the members that happen to be in a batch would not. Otherwise w_t = 1: the mean over the labels.

    Metrics are computed for every member over the whole split, then averaged over the members that have a score there;
    "..._worst_tenth" is the mean over the worst tenth of them. A member without a label in a split has no score in it.

    Args:
        members: their names, or how many.
        column: the input that holds the number of each row's member; "": a column of targets per member.
        alike: every member counts alike in the loss, else every label.
        own: every member has a head of its own, else there is one for all (`pooled`).
        common: heads have a common part, which rare members stay near (`MemberHeads`). By default where rows belong to
            members, since these predict one quantity.
        hidden: width of a hidden layer of every head; 0: heads are linear.
        training_labels: of each member; `fitted` counts them.

    Raises:
        PolytaskError: no member, two of one name, or settings that do not fit together.
    """

    members: tuple[str, ...] | int = 2
    column: str = ""
    alike: bool = field(default=True, kw_only=True)
    own: bool = field(default=True, kw_only=True)
    common: bool | None = field(default=None, kw_only=True)
    hidden: int = field(default=0, kw_only=True)
    training_labels: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        names = self.member_names
        if not names or len(set(names)) < len(names):
            raise PolytaskError(f"task '{self.name}' needs members with different names, got {self.members!r}")
        if len(self.training_labels) not in (0, len(names)):
            raise PolytaskError(
                f"task '{self.name}' has {len(names)} members and {len(self.training_labels)} numbers of labels"
            )
        if self.hidden < 0 or (self.hidden and not self.own):
            raise PolytaskError(
                f"task '{self.name}': a hidden layer of {self.hidden} needs members that have heads of their own; give "
                "0 or more, and own=True"
            )

    @cached_property
    def member_names(self) -> tuple[str, ...]:
        return self.members if isinstance(self.members, tuple) else tuple(map(str, range(self.members)))

    @property
    @abstractmethod
    def each(self) -> int:
        """c: how many numbers the network gives for one member."""

    @abstractmethod
    def _losses(self, shown: Tensor, label: Tensor, member: Tensor) -> Tensor:
        """The loss of every label, [...], from network outputs [..., c], labels [...] and numbers of members (of that
        shape, or one that is spread to it)."""

    @abstractmethod
    def _credits(self, shown: Tensor, label: Tensor, member: Tensor) -> Tensor:
        """How well every label is predicted, at most 1; args as of `_losses`."""

    @abstractmethod
    def _compared(self, shown: Tensor, label: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and labels as metrics compare them."""

    @abstractmethod
    def _read(self, shown: Tensor) -> Tensor:
        """Network outputs [..., c] of members [...] as people read them; [..., k, c] where columns are members."""

    @abstractmethod
    def _learned(self, label: Tensor, member: Tensor) -> Mapping[str, Any]:
        """Settings that this kind learns from training labels [n], of the members [n]."""

    @abstractmethod
    def _constants(self, label: Tensor, member: Tensor) -> Tensor:
        """The best constant network output of every member, [k, c], for labels [n] of members [n]."""

    @abstractmethod
    def _check_labels(self, label: Tensor) -> None:
        """Raise unless the labels [n] are of this kind."""

    @property
    def outputs(self) -> int:
        return self.each if self.column else self.each * len(self.member_names)

    def pooled(self) -> Self:
        """The same task with one head for all members."""
        return replace(self, own=False, common=True, hidden=0)

    def head(self, width: int) -> nn.Module:
        common = bool(self.column) if self.common is None else self.common
        return MemberHeads(width, len(self.member_names), self.each, self.column, self.own, common, self.hidden)

    def loss_sum(self, prediction: Tensor, target: Tensor, complete: bool = False) -> Tensor:
        shown, label, member, there = self._parts(prediction, target)
        each = self._losses(shown, label, member)
        if self._weights is not None:
            each = each * self._weights.to(each.device, each.dtype)[member]
        return self._numbers * (each if complete else torch.where(there, each, 0)).sum()

    def credit_sum(self, prediction: Tensor, target: Tensor) -> Tensor:
        """How well the labels are predicted, summed over them: every label counts alike."""
        shown, label, member, there = self._parts(prediction, target)
        return self._numbers * torch.where(there, self._credits(shown, label, member), 0).sum()

    def update(self, metrics: Mapping[str, Metric], prediction: Tensor, target: Tensor) -> None:
        shown, label, member, there = self._parts(prediction, target)
        compared, known = self._compared(shown, label, member)
        of = member.expand_as(there)[there]
        for metric in metrics.values():
            metric.update(compared[there], known[there], of)

    def check_form(self, target: Tensor) -> None:
        super().check_form(target)
        wanted = 2 if self.column else len(self.member_names)
        if target.ndim != 2 or target.shape[1] != wanted:
            says = "label and number of the member" if self.column else "one column per member"
            raise PolytaskError(
                f"task '{self.name}' expects targets of shape [rows, {wanted}] ({says}), got {list(target.shape)}"
            )

    def check(self, target: Tensor) -> None:
        self.check_form(target)
        if self.column:
            self._check_numbers(target)
        self._check_labels(self._flat(target)[0])

    def fitted(self, target: Tensor) -> Self:
        self.check(target)
        self._labels(target)
        label, member = self._flat(target)
        counts = tuple(torch.bincount(member, minlength=len(self.member_names)).tolist())
        return replace(self, training_labels=counts, **self._learned(label, member))

    def decode(self, prediction: Tensor) -> Tensor:
        """Predictions as people read them: [n] or [n, c] of each row's own member, [n, k] or [n, k, c] of all."""
        return self._read(self._by_member(prediction).float())

    def columns(self, prediction: Tensor) -> dict[str, Any]:
        shown = self._by_member(prediction)
        if self.column:
            return self._columns_of(self.name, self._read(shown.float()))
        found = self._read(shown.float())
        return {
            name: values
            for k, member in enumerate(self.member_names)
            for name, values in self._columns_of(f"{self.name}: {member}", found[:, k]).items()
        }

    @abstractmethod
    def _columns_of(self, name: str, found: Tensor) -> dict[str, Any]:
        """Table columns of the decoded predictions for one member."""

    def constant(self, target: Tensor) -> Tensor:
        """The best constant of every member, or of all labels for one that has none, [k c]."""
        self._labels(target)
        return self._constants(*self._flat(target)).float().flatten()

    def repeated(self, constant: Tensor, target: Tensor) -> Tensor:
        if not self.column:
            return constant.expand(len(target), -1)
        return constant.unflatten(0, (-1, self.each))[target[:, 1].nan_to_num().long()]

    def values(self, target: Tensor) -> Tensor:
        return target[:, 0] if self.column else target

    def member_counts(self, target: Tensor) -> Tensor:
        return torch.bincount(self._flat(target)[1], minlength=len(self.member_names))

    @property
    def _numbers(self) -> int:
        """How many numbers of a target make a label: what a data set counts."""
        return 2 if self.column else 1

    @cached_property
    def _weights(self) -> Tensor | None:
        """w_t [k], 1 for a member without training labels; None where all are 1."""
        if not self.alike or not self.training_labels:
            return None
        counts = torch.tensor(self.training_labels, dtype=torch.float64)
        return torch.where(counts > 0, counts.sum() / ((counts > 0).sum() * counts), 1.0)

    def _by_member(self, prediction: Tensor) -> Tensor:
        return prediction if self.column else prediction.unflatten(1, (len(self.member_names), self.each))

    def _parts(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Outputs [..., c], labels [...], numbers of members, and where there is a label; 0 in place of what is not."""
        there = present(target)
        label = torch.where(there, target, 0)
        if self.column:
            there, label, member = there.all(1), label[:, 0], label[:, 1].long()
        else:
            member = torch.arange(len(self.member_names), device=target.device)
        return torch.where(there[..., None], self._by_member(prediction), 0), label, member, there

    def _flat(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """The labels present [n], and the numbers of their members [n]."""
        there = present(target)
        if self.column:
            rows = target[there.all(1)]
            return rows[:, 0], rows[:, 1].long()
        return target[there], there.nonzero()[:, 1]

    def _check_numbers(self, target: Tensor) -> None:
        """Both numbers of a row are there or none is, and the second is that of a member."""
        if not target.is_floating_point():
            raise PolytaskError(
                f"task '{self.name}' expects floating-point targets (label, number of the member; missing: NaN twice), "
                f"got {target.dtype}; make them with tasks.of_members(labels, members)"
            )
        there = present(target)
        half = (there.any(1) & ~there.all(1)).nonzero()[:, 0]
        if len(half):
            raise PolytaskError(
                f"task '{self.name}': row {int(half[0])} has a label or a member, not both, as {len(half)} rows do; "
                "make targets with tasks.of_members(labels, members)"
            )
        known = target[there.all(1), 1]
        wrong = known[(known != known.round()) | (known < 0) | (known >= len(self.member_names))]
        if len(wrong):
            raise PolytaskError(
                f"task '{self.name}' has {len(self.member_names)} members, numbers 0 to "
                f"{len(self.member_names) - 1}; got {float(wrong[0]):g} in {len(wrong)} rows"
            )


def of_members(labels: Tensor, members: Tensor) -> Tensor:
    """Targets of rows that each belong to one member: [n, 2], label and number; NaN twice where a label is missing.

    Args:
        labels: [n], missing ones NaN in floating point, -100 in integers.
        members: [n] integers from 0.

    >>> of_members(torch.tensor([3, -100]), torch.tensor([0, 7]))
    tensor([[3., 0.],
            [nan, nan]])
    """
    if labels.shape != members.shape or labels.ndim != 1:
        raise PolytaskError(
            f"expected a label and a member for every row, got shapes {list(labels.shape)} and {list(members.shape)}"
        )
    dtype = labels.dtype if labels.is_floating_point() else torch.float32
    pairs = torch.stack([labels.to(dtype), members.to(dtype)], 1)
    return torch.where(present(labels)[:, None], pairs, torch.nan)
