"""A value per method that can be checked by hand: `test_golden_values` does it, the cards in docs/methods show it.

Importable without pytest. A new method joins with one line in GOLDEN.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import e, exp, log, sqrt
from typing import Any

import torch
from torch import Tensor

from polytask import balancing
from polytask.balancing import Balancer, GramianBalancer, JacobianBalancer, LossBalancer, Step

NAMES = ("a", "b", "c", "d")


def epochs(*losses: list[float]) -> Callable[[Balancer], None]:
    """Steps with these losses, each the end of an epoch."""

    def see(balancer: Balancer) -> None:
        for row in losses:
            balancer.observe(Step(NAMES[: len(row)], torch.tensor(row, dtype=torch.float64)))
            balancer.end_epoch()

    return see


@dataclass(frozen=True)
class Golden:
    """What a method gives.

    Args:
        method: the class.
        given: losses [t] of a loss balancer, the Gramian [t, t] or the Jacobian [t, p].
        answer: the weights [t], or the direction [p] of a Jacobian balancer.
        why: how one sees that by hand.
        settings: hyperparameters that are not the defaults.
        before: what it saw, done to the balancer first; `why` says it in words.
        step: what else the step tells (`Step`), by name.
    """

    method: type[Balancer]
    given: list[Any]
    answer: list[float]
    why: str
    settings: dict[str, Any] = field(default_factory=dict)
    before: Callable[[Balancer], None] = lambda balancer: None
    step: dict[str, Any] = field(default_factory=dict)

    def found(self) -> Tensor:
        """What the method gives here, float64."""
        balancer = self.method(**self.settings)
        self.before(balancer)
        given = torch.tensor(self.given, dtype=torch.float64)
        tasks = NAMES[: len(given)]
        more = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in self.step.items()}
        step = Step(**{"tasks": tasks, "losses": torch.ones(len(given), dtype=torch.float64)} | more)
        if isinstance(balancer, LossBalancer):
            losses = given.requires_grad_()
            return torch.autograd.grad(balancer.total(losses, tasks), losses)[0]
        if isinstance(balancer, GramianBalancer):
            return balancer.weights(given, step)
        assert isinstance(balancer, JacobianBalancer)
        return balancer.direction(given, step).flatten()


AB = {"tasks": ["a", "b"]}
APART = [[1.0, 0.0], [0.0, 4.0]]  # orthogonal, lengths 1 and 2
CONFLICT = [[1.0, -1.0], [-1.0, 4.0]]  # lengths 1 and 2 at cosine -1/2

GOLDEN = [
    Golden(balancing.Equal, [1.0, 5.0], [1.0, 1.0], "the sum"),
    Golden(balancing.Static, [1.0, 5.0], [1.0, 0.5], "as told", {"weights": {"b": 0.5}}),
    Golden(
        balancing.Uncertainty, [1.0, 5.0], [1.0, 0.5], "s = 0 at first; half for regression", AB | {"regression": ["b"]}
    ),
    Golden(
        balancing.DWA,
        [1.0, 1.0],
        [2 / (1 + exp(0.25)), 2 / (1 + exp(-0.25))],
        "after epochs of losses (4, 2) and (2, 2): r = (1/2, 1), T = 2",
        before=epochs([4.0, 2.0], [2.0, 2.0]),
    ),
    Golden(balancing.RandomWeights, [1.0], [1.0], "whatever is drawn: weights sum to t"),
    Golden(balancing.GeometricMean, [1.0, 4.0], [1.0, 0.25], "total 2, divided by 2 L"),
    Golden(balancing.LogSum, [1.0, 4.0], [1.0, 0.25], "1 / L"),
    Golden(balancing.IMTLL, [1.0, 4.0], [1.0, 1.0], "exp(s), s = 0 at first", AB),
    Golden(balancing.STCH, [0.0, 1.0], [1 / (1 + e), e / (1 + e)], "softmax of the losses"),
    Golden(balancing.WorstCase, [1.0, 3.0], [0.0, 1.0], "the largest alone"),
    Golden(
        balancing.ExponentiatedGradient,
        [1.0, 1.0],
        [2 / (1 + e), 2 * e / (1 + e)],
        "after losses (1, 2): 2 softmax of them",
        {"rate": 1.0},
        epochs([1.0, 2.0]),
    ),
    Golden(
        balancing.CoV,
        [1.0, 1.0],
        [2.0, 0.0],
        "after losses (1, 1), (3, 1), (1, 1): only the first one varies",
        before=epochs([1.0, 1.0], [3.0, 1.0], [1.0, 1.0]),
    ),
    Golden(
        balancing.SLAW,
        [1.0, 1.0],
        [1.5, 0.5],
        "after losses (1, 3) and (2, 6): the second one varies three times as much",
        {"beta": 0.5},
        epochs([1.0, 3.0], [2.0, 6.0]),
    ),
    Golden(
        balancing.GradNorm,
        [1.0, 1.0],
        [2 / (1 + e), 2 * e / (1 + e)],
        "after a first step with gradients of lengths 3 and 1: w n / mean = 3/2 and 1/2, log w moves by -3/4 and 1/4",
        {"rate": 0.5},
        lambda balancer: balancer.observe(Step(NAMES[:2], torch.ones(2), norms=torch.tensor([3.0, 1.0]))),
    ),
    Golden(balancing.FAMO, [1.0, 4.0], [0.8, 0.2], "w = 1/2 at first: 1 / L, brought to the sum 1"),
    Golden(
        balancing.DTP,
        [1.0, 1.0],
        [log(2) / 2, 0.0],
        "accuracies 1/2 and 1: -(1 - k) log k",
        before=lambda balancer: balancer.measure({"a": 0.5, "b": 1.0}),
    ),
    Golden(
        balancing.TaskwiseStopping,
        [1.0, 1.0, 1.0],
        [1.0, 2.0, 0.0],
        "b and c are auxiliary, lambda of b is 2; errors of c, 1 and 1 in training, 3 in validation: 1 (3 - 1) > 1",
        {"strip": 1, "threshold": 1.0, "importances": {"b": 2.0}, "auxiliary": ["b", "c"]},
        lambda balancer: [balancer.judged({"b": 1.0, "c": 1.0}, {"b": 3.0, "c": 3.0}) for _ in range(2)],
    ),
    Golden(balancing.MGDA, APART, [0.8, 0.2], "orthogonal: w ~ 1 / |g|^2"),
    Golden(balancing.MGDA, CONFLICT, [5 / 7, 2 / 7], "w_1 = (g_2 - g_1) . g_2 / |g_1 - g_2|^2 = 5 / 7"),
    Golden(balancing.PCGrad, CONFLICT, [2.0, 1.25], "1 + 1 of g_1 for g_2 (1 / |g_1|^2), 1 + 1/4 of g_2 for g_1"),
    Golden(balancing.GradVac, APART, [1.0, 1.0], "targets are 0 at first: without conflict the sum"),
    Golden(balancing.CAGrad, CONFLICT, [0.5, 0.5], "the mean", {"c": 0.0}),
    Golden(balancing.CAGrad, [[1.0, 0.0], [0.0, 1.0]], [0.75, 0.75], "of equals the mean, times 1 + c", {"c": 0.5}),
    Golden(balancing.IMTLG, APART, [2 / 3, 1 / 3], "equal projections: w_i |g_i| alike, sum 1"),
    Golden(
        balancing.ConFIG, [[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0], "d along u_1 + u_2, length the sum of its projections"
    ),
    Golden(balancing.NashMTL, APART, [1.0, 0.5], "G a = 1 / a: a = 1 / |g|"),
    Golden(balancing.NashMTL, CONFLICT, [sqrt(2), sqrt(2) / 2], "a_i |g_i| = (1 + r)^(-1/2), r = -1/2"),
    Golden(balancing.FairGrad, APART, [1.0, 0.25 ** (2 / 3)], "G w = w^(-1/2): w = |g|^(-4/3)", {"alpha": 2.0}),
    Golden(balancing.AlignedMTL, APART, [1.0, 0.5], "all stretched to the shortest, 1"),
    Golden(balancing.UPGrad, CONFLICT, [1.0, 0.625], "mean of g_1 + g_2 / 4 and g_2 + g_1"),
    Golden(balancing.DualProj, CONFLICT, [0.5, 0.5], "the mean conflicts with neither: (0, 3/2)"),
    Golden(balancing.ExcessMTL, [[1.0, 0.0], [0.0, 3.0]], [1.0, 3.0], "in the first step all tasks alike"),
    Golden(balancing.GradDrop, [[3.0, -1.0], [1.0, -2.0]], [4.0, -3.0], "signs agree: the sum"),
    Golden(
        balancing.Krum,
        [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 2.0, 9.0], [0.0, 2.0, 4.0, 18.0], [0.0, 9.0, 18.0, 81.0]],
        [1 / 3, 1 / 3, 1 / 3, 0.0],
        "gradients 0, 1, 2 and 9 on a line: three have a neighbour at distance 1 and tie",
    ),
    Golden(
        balancing.NTKMTL,
        [[1.0, 1.0], [1.0, 49.0]],
        [5.0, 5 / 7],
        "lengths 1 and 7: both get length 5, the root of the mean square",
    ),
    Golden(
        balancing.MoDo,
        APART,
        [0.575, 0.425],
        "from (1/2, 1/2): downhill (1/2, 2), a tenth of half the difference",
        {"rate": 0.1},
        step={"cross": APART},
    ),
    Golden(
        balancing.SDMGrad,
        [[1.0, 0.0], [0.0, 9.0]],
        [(0.565 + 0.15) / 1.3, (0.435 + 0.15) / 1.3],
        "cross (1, 3) / 2^2: downhill (1, 3) 0.65 / 4, w = 0.5 +- 0.2 0.325; then (w + 0.3 / 2) / 1.3",
        {"lam": 0.3, "rate": 0.4, "momentum": 0.0, "steps": 1},
        step={"cross": [[1.0, 0.0], [0.0, 3.0]]},
    ),
    Golden(
        balancing.GradientSimilarity,
        [[4.0, 1.0, -1.0], [1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]],
        [1.0, 0.5, 0.0],
        "cosines of b and c with the main task a: 1 / (2 1), and below 0",
        {"auxiliary": ["b", "c"]},
    ),
    Golden(balancing.CRMOGM, APART, [0.8, 0.2], "the first step is that of MGDA"),
    Golden(
        balancing.DBMTL,
        [[3.0, 0.0], [0.0, 4.0]],
        [1.5, 1.5],
        "losses 1 and 2: log gradients of lengths 3 and 2, both at 3; times 1 - 1/2, as averages start at 0",
        {"beta": 0.5},
        step={"losses": [1.0, 2.0]},
    ),
    Golden(
        balancing.MoCo,
        [[2.0, 0.0], [0.0, 1.0]],
        [0.85, 0.575],
        "y = g; shares 1/2 - (4, 1) / 20, projected on the simplex: 0.425 and 0.575",
        {"beta": 1.0},
    ),
    Golden(balancing.TrimmedMean, [[1.0, 5.0], [2.0, 6.0], [90.0, -9.0]], [2.0, 5.0], "the middle of three values"),
    Golden(
        balancing.GREAT,
        [[[2.0, 0.0, 4.0]], [[0.0, 1.0, 1.0]]],
        [1.0, 1.0, 3.0],
        "gamma is 1 at first: the sum of g / L(0), L(0) = (2, 1); one sample of three features",
        step={"losses": [2.0, 1.0], "activations": [[1.0, 1.0, 1.0]]},
    ),
]
