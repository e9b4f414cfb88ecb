"""Auxiliary losses weighed by the similarity of gradients (Du et al. 2018)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from polytask._text import did_you_mean
from polytask.balancing._auxiliary import ForAuxiliaries
from polytask.balancing.balancer import GramianBalancer, Step
from polytask.balancing.solvers import finite
from polytask.errors import PolytaskError

Against = Literal["sum", "each"]

COMPARED: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda count: count.new_ones(1, len(count)),
    "each": torch.diag,
}
"""Which sums of the main gradients an auxiliary one is compared with: rows of coefficients [m, m], or [1, m], from
ones [m]."""


@torch.no_grad()
def similarity_weights(gramian: Tensor, main: Tensor, weighted: bool = True, against: Against = "sum") -> Tensor:
    """1 for main tasks, max(0, cos) for auxiliary ones (or 1 where cos > 0, and else 0); see `GradientSimilarity`.

    Args:
        gramian: [t, t], float64.
        main: which tasks are main ones, booleans [t].
        weighted: weigh by the cosine, and not by its sign alone.
        against: "sum" or "each".

    >>> import torch
    >>> gramian = torch.tensor([[4.0, 1.0, -1.0], [1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])
    >>> similarity_weights(gramian, torch.tensor([True, False, False]))
    tensor([1.0000, 0.5000, 0.0000])
    """
    rows = COMPARED[against](gramian.new_ones(int(main.sum())))
    inner = rows @ gramian[main]  # of what is compared with, and every task's gradient
    lengths = (inner[:, main] * rows).sum(1).clamp_min(0).sqrt()
    inner, lengths = inner[lengths > 0], lengths[lengths > 0]
    if not len(inner):
        return main.to(gramian)
    cosines = (inner / lengths[:, None] / gramian.diagonal().sqrt()).nan_to_num(0.0, 0.0, 0.0).min(0).values
    weights = cosines.clamp(0.0, 1.0) if weighted else (cosines > 0).to(gramian)
    return torch.where(main, 1.0, weights)


@dataclass(eq=False, repr=False)
class GradientSimilarity(ForAuxiliaries, GramianBalancer):
    r"""An auxiliary task counts by the cosine of its gradient with the main task's, and not at all where that is < 0.

    d = g_main + sum_a w_a g_a with w_a = max(0, cos(g_main, g_a)), or, unweighted, w_a = 1 where the cosine is positive
    and 0 where it is not (Du, Czarnecki, Jayakumar, Farajtabar, Pascanu, Lakshminarayanan 2018, "Adapting Auxiliary
    Losses Using Gradient Similarity", arXiv 1812.02224, the weighted and the unweighted version). Every auxiliary task
    is compared with the main one for itself. d never points against g_main, so that the training goes to a critical
    point of the *main* loss, as the paper proves of the rule; where g_main is zero, all w_a are. A step that is no
    descent of the main loss can still come from the noise of a batch, and a positive cosine promises no better
    generalisation.

    The gradients are those of the shared parameters. What belongs to one task only (its head) gets the plain gradient
    of that task's loss, also while its weight is 0: it is ready when the gradients agree again.

    Several main tasks: the paper has one. With "sum", g_main is the gradient of the sum of the main losses, which is
    what the proof then speaks of; an auxiliary task may oppose one of them. With "each", w_a takes the *smallest* of
    its cosines with the gradients of the main tasks, so that no main task is opposed to first order. Main tasks among
    themselves are summed, with weight 1.

    Auxiliary tasks are those marked so (`Task.auxiliary`), or named here. A step without a label of any main task has
    nothing to compare with: the shared parameters stay, heads learn. Where batches hold the rows of one task only,
    let a step be made of several (accumulation). To give an auxiliary loss a factor besides, wrap:
    Preference({"name": 0.3}, GradientSimilarity()); no cosine changes.

    What was read: the abstract, the rule as others quote it, and the unweighted version in the code of AuxiLearn (Navon
    et al. 2021), which compares the shared parameters and leaves out an auxiliary gradient whose cosine is not above 0.
    The paper itself was not at hand: hence no numbers of equations. Cost: one backward pass per task.

    Args:
        weighted: by the cosine; False: by its sign.
        against: which main gradient: "sum" (of all main tasks), or "each" of them.
        auxiliary: names of the auxiliary tasks; without any, those that are marked. `training.fit` finds them.

    >>> import torch
    >>> from polytask.balancing import Step
    >>> gramian = torch.tensor([[4.0, 1.0, -1.0], [1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    >>> step = Step(("depth", "edges", "colour"), torch.ones(3))
    >>> GradientSimilarity(auxiliary=["edges", "colour"]).weights(gramian, step)
    tensor([1.0000, 0.5000, 0.0000], dtype=torch.float64)
    >>> GradientSimilarity(weighted=False, auxiliary=["edges", "colour"]).weights(gramian, step)
    tensor([1., 1., 0.], dtype=torch.float64)
    """

    weighted: bool = True
    against: Against = "sum"
    auxiliary: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.against not in COMPARED:
            raise PolytaskError(
                f"GradientSimilarity has no against={self.against!r}; {did_you_mean(str(self.against), COMPARED)}"
            )

    def weights(self, gramian: Tensor, step: Step | None = None) -> Tensor:
        main = self.are_main(len(gramian), () if step is None else step.tasks).to(gramian.device)
        return similarity_weights(finite(gramian), main, self.weighted, self.against).to(gramian)
