"""The list of balancers that every contract is tested with. A new method joins with one line in CASES.

Importable without pytest, so that worker processes of the tests can use it too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from polytask import balancing
from polytask.balancing import Balancer, Step


@dataclass(frozen=True)
class Case:
    """A balancer under test.

    Args:
        name: of the case.
        make: a fresh balancer for the tasks named (equal at every call).
        draws_per_task: random numbers belong to positions of tasks, so that a permutation of the tasks changes them.
        equal_like: the same whether balanced at the features or at the parameters.
        whole_tasks: it gives one weight per task (and not per element).
        at_features: it can balance at the features (one that remembers gradients over the steps can't).
        favours_first: the first task is the main one, and the others may be turned down.
        halves: it needs the gradients of two halves of every batch, so that one whole piece is not enough.
    """

    name: str
    make: Callable[[Sequence[str]], Balancer]
    draws_per_task: bool = False
    equal_like: bool = False
    whole_tasks: bool = True
    at_features: bool = True
    favours_first: bool = False
    halves: bool = False

    @property
    def kind(self) -> type:
        return type(self.make(["a", "b"]))

    @property
    def only_at_features(self) -> bool:
        return getattr(self.kind, "only_at_features", False)


def _uncertainty(names: Sequence[str]) -> Balancer:
    balancer = balancing.Uncertainty(list(names), regression=list(names)[:1])
    with torch.no_grad():
        for name, s in zip(balancer.names, balancer.numbers, strict=True):
            s.fill_((ord(name[0]) % 5) * 0.7 - 1.0)
    return balancer


def _dwa(names: Sequence[str]) -> Balancer:
    """With two epochs behind it, so that its weights differ."""
    balancer = balancing.DWA()
    for epoch in (2.0, 1.0):
        values = torch.tensor([epoch + 0.3 * (ord(name[0]) % 5) for name in names])
        balancer.observe(Step(tuple(names), values))
        balancer.end_epoch()
    return balancer


def _imtl_l(names: Sequence[str]) -> Balancer:
    balancer = balancing.IMTLL(list(names))
    with torch.no_grad():
        for name, s in zip(balancer.names, balancer.numbers, strict=True):
            s.fill_((ord(name[0]) % 5) * 0.4 - 0.8)
    return balancer


def _seen(balancer: Balancer, names: Sequence[str]) -> Balancer:
    """With some steps behind it, in which every task's loss varied in its own way."""
    for step in range(5):
        values = [1.0 + (ord(name[0]) % 5) * 0.3 + 0.2 * ((step * (ord(name[0]) % 4 + 1)) % 3) for name in names]
        balancer.observe(Step(tuple(names), torch.tensor(values)))
    return balancer


def _gradvac() -> balancing.GradVac:
    return balancing.GradVac(beta=0.3, seed=3)


def _graddrop() -> balancing.GradDrop:
    return balancing.GradDrop(seed=3)


def inverse_lengths(gramian: Tensor) -> Tensor:
    """A user's own function."""
    return gramian.diagonal().clamp_min(1e-30).rsqrt()


def trimmed(jacobian: Tensor) -> Tensor:
    """A user's own function of the task gradients: t times the mean of the extremes of each element."""
    return len(jacobian) * (jacobian.min(0).values + jacobian.max(0).values) / 2


def _famo(names: Sequence[str]) -> Balancer:
    """With some steps behind it, after which every task has a logit of its own."""
    balancer = balancing.FAMO(adam=False, beta=0.5, lower={names[0]: -0.5})
    balancer._memory["xi"] = {name: 0.4 * (ord(name[0]) % 5) - 0.8 for name in names}
    return balancer


def _gradnorm(names: Sequence[str]) -> Balancer:
    """With some steps behind it, after which every task has a weight of its own."""
    balancer = balancing.GradNorm(rate=0.3)
    balancer._memory |= {
        "logs": {name: 0.4 * (ord(name[0]) % 5) - 0.8 for name in names},
        "first": {name: 1.0 + 0.5 * (ord(name[0]) % 3) for name in names},
    }
    return balancer


def _dtp(names: Sequence[str]) -> Balancer:
    balancer = balancing.DTP()
    balancer.measure({name: 0.2 + 0.15 * (ord(name[0]) % 5) for name in names})
    return balancer


def _taskwise(names: Sequence[str]) -> Balancer:
    """All but the first are auxiliary; the third has stopped."""
    balancer = balancing.TaskwiseStopping(1, 1.0, dict.fromkeys(names[1:2], 0.5), auxiliary=names[1:])
    for _ in range(2):
        balancer.judged(dict.fromkeys(names[2:3], 1.0), dict.fromkeys(names[2:3], 9.0))
    return balancer


CASES = [
    Case("Equal", lambda names: balancing.Equal(), equal_like=True),
    Case("Static", lambda names: balancing.Static({names[0]: 0.3}), equal_like=True),
    Case("Uncertainty", _uncertainty, equal_like=True),
    Case("DWA", lambda names: balancing.DWA(), equal_like=True),
    Case("DWA after two epochs", _dwa, equal_like=True),
    Case("RandomWeights", lambda names: balancing.RandomWeights(seed=3), draws_per_task=True, equal_like=True),
    Case("GeometricMean", lambda names: balancing.GeometricMean(), equal_like=True),
    Case("LogSum", lambda names: balancing.LogSum(), equal_like=True),
    Case("IMTLL", _imtl_l, equal_like=True),
    Case("STCH", lambda names: balancing.STCH(0.7, {names[0]: 0.5}, {names[0]: 0.1}), equal_like=True),
    Case("WorstCase", lambda names: balancing.WorstCase(), equal_like=True),
    Case("ExponentiatedGradient", lambda names: _seen(balancing.ExponentiatedGradient(0.3), names), equal_like=True),
    Case("CoV", lambda names: _seen(balancing.CoV(), names), equal_like=True),
    Case("CoV at the start", lambda names: balancing.CoV(), equal_like=True),
    Case("SLAW", lambda names: _seen(balancing.SLAW(0.9), names), equal_like=True),
    Case("FAMO", _famo, equal_like=True),
    Case("FAMO at the start", lambda names: balancing.FAMO(), equal_like=True),
    Case("GradNorm", _gradnorm, equal_like=True),
    Case("DTP", _dtp, equal_like=True),
    Case("TaskwiseStopping", _taskwise, equal_like=True, favours_first=True),
    Case("MGDA", lambda names: balancing.MGDA()),
    Case("PCGrad", lambda names: balancing.PCGrad(seed=3), draws_per_task=True),
    Case("GradVac", lambda names: balancing.GradVac(beta=0.3, seed=3), draws_per_task=True),
    Case("CAGrad", lambda names: balancing.CAGrad(c=0.4)),
    Case("CAGrad with c = 0", lambda names: balancing.CAGrad(c=0.0), equal_like=True),
    Case("IMTLG", lambda names: balancing.IMTLG()),
    Case("ConFIG", lambda names: balancing.ConFIG()),
    Case("NashMTL", lambda names: balancing.NashMTL()),
    Case("NashMTL as the authors' code", lambda names: balancing.NashMTL(max_norm=1.0)),
    Case("NashMTL, proportional", lambda names: balancing.NashMTL(max_norm=1.0, proportional=True)),
    Case("FairGrad", lambda names: balancing.FairGrad()),
    Case("AlignedMTL", lambda names: balancing.AlignedMTL()),
    Case("AlignedMTL by rmse", lambda names: balancing.AlignedMTL(scale="rmse")),
    Case("UPGrad", lambda names: balancing.UPGrad()),
    Case("DualProj", lambda names: balancing.DualProj()),
    Case("Krum", lambda names: balancing.Krum()),
    Case("Krum, two best", lambda names: balancing.Krum(astray=0, best=2)),
    Case("NTKMTL", lambda names: balancing.NTKMTL()),
    Case("CRMOGM", lambda names: balancing.CRMOGM()),
    Case("CRMOGM around one with a memory", lambda names: balancing.CRMOGM(_gradvac(), 0.5), draws_per_task=True),
    Case("GradientSimilarity", lambda names: balancing.GradientSimilarity(auxiliary=names[1:]), favours_first=True),
    Case(
        "GradientSimilarity by sign",
        lambda names: balancing.GradientSimilarity(False, "each", names[2:]),
        favours_first=True,
    ),
    Case("DBMTL", lambda names: balancing.DBMTL(), whole_tasks=False, at_features=False),
    Case("DBMTL, a constant rate", lambda names: balancing.DBMTL(0.5, 0.0), whole_tasks=False, at_features=False),
    Case("MoCo", lambda names: balancing.MoCo(), whole_tasks=False, at_features=False),
    Case("TrimmedMean", lambda names: balancing.TrimmedMean(), whole_tasks=False),
    Case("ExcessMTL", lambda names: balancing.ExcessMTL(eta=0.3), whole_tasks=False),
    Case("GradDrop", lambda names: balancing.GradDrop(seed=3), whole_tasks=False),
    Case("GradDrop with leak", lambda names: balancing.GradDrop(leak={names[0]: 0.4}, seed=3), whole_tasks=False),
    Case("Every", lambda names: balancing.Every(3, balancing.NashMTL())),
    Case("Every around one with a memory", lambda names: balancing.Every(2, _gradvac()), draws_per_task=True),
    Case("Normalized", lambda names: balancing.Normalized(balancing.MGDA())),
    Case("Normalized by loss+", lambda names: balancing.Normalized(balancing.MGDA(), "loss+", "normalized")),
    Case("Preference", lambda names: balancing.Preference({names[0]: 2.0}, balancing.CAGrad())),
    Case("Clipped", lambda names: balancing.Clipped(0.5, balancing.Normalized(balancing.UPGrad()))),
    Case("ClippedDirection", lambda names: balancing.ClippedDirection(0.5, _graddrop()), whole_tasks=False),
    Case("Weighing", lambda names: balancing.Weighing(inverse_lengths)),
    Case("Aggregating", lambda names: balancing.Aggregating(trimmed), whole_tasks=False),
]
"""What every contract is tested with: balancers of whole batches at the parameters."""
OF_HALVES = [
    Case("MoDo", lambda names: balancing.MoDo(rate=0.03), halves=True),
    Case("SDMGrad", lambda names: balancing.SDMGrad(), halves=True),
    Case("CRMOGM around MoDo", lambda names: balancing.CRMOGM(balancing.MoDo(rate=0.03)), halves=True),
]
"""Methods that no test with whole batches can use (`halves`): tested in test_stochastic_methods."""
AT_FEATURES = [Case("GREAT", lambda names: balancing.GREAT(0.01, 0.02, hidden=8, seed=3), whole_tasks=False)]
"""Methods that work at the features only: tested in test_jacobian_methods."""
BY_NAME = {case.name: case for case in [*CASES, *OF_HALVES, *AT_FEATURES]}


class Network(nn.Module):
    """A trunk and a head per task, with losses that conflict."""

    def __init__(self, names: Sequence[str], seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.Tanh()).to(dtype)
        self.heads = nn.ModuleDict()
        for name in names:
            torch.manual_seed(seed * 1000 + ord(name[0]))  # a head does not depend on which others there are
            self.heads[name] = nn.Linear(4, 1).to(dtype)

    def sums(self, x: Tensor, targets: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """The sum of squared errors of every task over its labels (NaN: none), and the shared features."""
        z = self.trunk(x)
        found = {}
        for name, target in targets.items():
            error = self.heads[name](z)[:, 0] - target.nan_to_num()
            found[name] = torch.where(target.isnan(), 0.0, error.square()).sum()
        return found, z

    def losses(self, x: Tensor, targets: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """The mean over the labels present."""
        found, z = self.sums(x, targets)
        return {name: total / (~targets[name].isnan()).sum() for name, total in found.items()}, z

    def gradients(self) -> dict[str, Tensor]:
        return {name: p.grad.clone() for name, p in self.named_parameters() if p.grad is not None}


def batch(
    names: Sequence[str], rows: int = 12, seed: int = 1, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, dict[str, Tensor]]:
    """Inputs and targets; task by task more labels are missing, and tasks want opposite things."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    targets = {}
    for k, name in enumerate(names):
        own = torch.Generator().manual_seed(seed * 100 + ord(name[0]))
        target = (-1) ** k * 2.0 * x[:, 0] + torch.randn(rows, generator=own, dtype=torch.float64)
        target[torch.rand(rows, generator=own, dtype=torch.float64) < 0.15 * k] = torch.nan
        target[k] = float(k)  # never all missing
        targets[name] = target.to(dtype)
    return x.to(dtype), targets
