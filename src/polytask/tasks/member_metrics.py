"""Scores of every member of a task that stands for many, and what sums them up."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

Over = Callable[[Tensor, bool], Tensor]
"""Scores of all members [k], NaN where there is none, and whether higher is better -> one number."""


def mean_over(scores: Float[Tensor, " k"], higher_is_better: bool = True) -> Float[Tensor, ""]:
    """The mean over the members that have a score; NaN where none has.

    >>> mean_over(torch.tensor([1.0, 3.0, float("nan")]))
    tensor(2.)
    """
    return scores.nanmean()


def worst_tenth(scores: Float[Tensor, " k"], higher_is_better: bool) -> Float[Tensor, ""]:
    """The mean over the worst tenth of the members that have a score (rounded up: of 1 to 10 the worst one).

    >>> worst_tenth(torch.arange(20.0), higher_is_better=True), worst_tenth(torch.arange(20.0), higher_is_better=False)
    (tensor(0.5000), tensor(18.5000))
    """
    known = scores[~scores.isnan()]
    return known.topk(-(-len(known) // 10), largest=not higher_is_better).values.mean()


class MemberMetric(Metric):
    """A score of each of k members, pooled over a split, and one number of them.

    Args:
        members: k.
        over: what `compute` makes of the k scores, such as `mean_over` or `worst_tenth`; None: the scores, [k].
    """

    full_state_update = False

    def __init__(self, members: int, over: Over | None = mean_over) -> None:
        super().__init__()
        self.members, self.over = members, over

    @abstractmethod
    def by_member(self) -> Tensor:
        """[k], NaN where there is no score."""

    def compute(self) -> Tensor:
        """One number, or [k]."""
        scores = self.by_member()
        return scores if self.over is None else self.over(scores, bool(self.higher_is_better))


class _Mean(MemberMetric):
    """The mean, by member, of something that every label has."""

    total: Tensor
    count: Tensor

    def __init__(self, members: int, over: Over | None = mean_over) -> None:
        super().__init__(members, over)
        for name in ("total", "count"):
            self.add_state(name, torch.zeros(members, dtype=torch.float64), dist_reduce_fx="sum")

    def _add(self, each: Tensor, member: Tensor) -> None:
        self.total.index_add_(0, member, each.double())
        self.count.index_add_(0, member, torch.ones_like(each, dtype=torch.float64))

    def by_member(self) -> Tensor:
        return self.total / self.count  # 0 / 0 is NaN


class MemberError(_Mean):
    """Mean absolute error of every member (power 1), or root mean squared error (power 2).

    >>> error = MemberError(2, power=2, over=None)
    >>> error.update(torch.tensor([1.0, 5.0]), torch.tensor([0.0, 2.0]), torch.tensor([0, 0]))
    >>> error.compute()  # sqrt((1 + 9) / 2); the other one has no label
    tensor([2.2361,    nan], dtype=torch.float64)
    """

    higher_is_better = False

    def __init__(self, members: int, power: int = 1, over: Over | None = mean_over) -> None:
        super().__init__(members, over)
        self.power = power

    def update(self, shown: Float[Tensor, " n"], known: Float[Tensor, " n"], member: Int[Tensor, " n"]) -> None:
        """Add labels, and the predictions for them."""
        self._add((shown - known).abs().double() ** self.power, member)

    def by_member(self) -> Tensor:
        return super().by_member() ** (1 / self.power)


class MemberAccuracy(_Mean):
    """The share of the labels of every member that are predicted right."""

    higher_is_better = True

    def update(self, shown: Tensor, known: Tensor, member: Int[Tensor, " n"]) -> None:
        """Add labels, and the classes (or sides of 1/2) predicted for them."""
        self._add(shown == known, member)


class MemberAUROC(MemberMetric):
    """The area under the ROC curve of every member; NaN where all its labels are alike.

    area = (sum of the ranks of the positive labels - p (p + 1) / 2) / (p q) with p positive and q negative labels of
    the member, ranks among its own scores from 1, equal scores having the mean of their ranks (Mann, Whitney 1947).

    Cost: one sort of all scores for all members together; they are kept until then, in float32 like all that is kept:
    that is the type in which torchmetrics joins nothing, from a process that saw no label, to what others have.

    >>> area = MemberAUROC(2, over=None)
    >>> area.update(torch.tensor([0.9, 0.2, 0.2, 0.5]), torch.tensor([1, 0, 1, 1]), torch.tensor([0, 0, 0, 1]))
    >>> area.compute()  # of two pairs one is right, one is equal: 3/4; the other has no negative label
    tensor([0.7500,    nan], dtype=torch.float64)
    """

    higher_is_better = True
    shown: Any
    known: Any
    member: Any

    def __init__(self, members: int, over: Over | None = mean_over) -> None:
        super().__init__(members, over)
        for name in ("shown", "known", "member"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, shown: Float[Tensor, " n"], known: Tensor, member: Int[Tensor, " n"]) -> None:
        """Add labels 0 and 1, and scores of them: higher is more surely 1."""
        self.shown.append(shown.float())
        self.known.append((known > 0).float())
        self.member.append(member.float())

    def by_member(self) -> Tensor:
        if not len(self.shown):
            return torch.full((self.members,), torch.nan, dtype=torch.float64, device=self.device)
        shown, known, member = (dim_zero_cat(each) for each in (self.shown, self.known, self.member))
        known, member = known > 0, member.long()
        order = shown.argsort(stable=True)
        order = order[member[order].argsort(stable=True)]
        shown, known, member = shown[order], known[order], member[order]
        begins = torch.ones_like(known)
        begins[1:] = (shown[1:] != shown[:-1]) | (member[1:] != member[:-1])
        tie = begins.long().cumsum(0) - 1
        sizes = torch.bincount(tie).double()
        rank = (sizes.cumsum(0) - (sizes - 1) / 2)[tie]  # among all; those of other members below are taken off
        counts = torch.bincount(member, minlength=self.members).double()
        rank = rank - (counts.cumsum(0) - counts)[member]
        positive = torch.bincount(member[known], minlength=self.members).double()
        sums = torch.zeros_like(counts).index_add_(0, member[known], rank[known])
        return (sums - positive * (positive + 1) / 2) / (positive * (counts - positive))
