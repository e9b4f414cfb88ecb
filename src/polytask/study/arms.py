"""What is compared: a way of sharing with a way of balancing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn

from polytask._plain import plain, words
from polytask.balancing import Balancer, Equal, LastLayers
from polytask.data import Batches, Sampler
from polytask.errors import PolytaskError
from polytask.problems import Problem
from polytask.sharing import Backbone, HardSharing, MultiTaskModel
from polytask.tasks import Task
from polytask.training import Budget, FineTuning
from polytask.training.drawing import drawing
from polytask.training.steps import Steps

Sharing = Callable[[Callable[[], Backbone], Sequence[Task]], MultiTaskModel]

SINGLE_TASK = "single-task"


def _way_out(came: Any) -> str:
    """How what came would become a balancer."""
    if isinstance(came, type):
        return f"make one, as in {came.__name__}()"
    if isinstance(came, Balancer):
        made = type(came).__name__
        return f"write @dataclass(frozen=True) above class {made}, or @dataclass(eq=False) if it remembers"
    if callable(came):
        return "a function from a Gramian to weights becomes one by balancing.Weighing(function)"
    return "take one of polytask.balancing, as in balancing.PCGrad()"


@dataclass(frozen=True)
class Arm:
    """One way of training on several tasks.

    Args:
        sharing: an architecture of `polytask.sharing`, with settings by `functools.partial`.
        balancer: a balancer of `polytask.balancing`; every run works on a copy of it.
        at_features: balance gradients at the shared features instead of at the parameters.
        way: how the gradients of all tasks are made; see `balancing.backward`.
        estimate: weigh by the last of the shared layers only.
        from_single_task: start every task's own network from the single-task network that was trained with the same
            seed (`sharing.start_from`), as the papers of cross-stitch and NDDR-CNN do. Such an arm has spent the
            baselines' training besides its own.
        fine_tuning: how it is trained on from trained weights, which its `Job` names.
        sampler: draws the training samples from tasks or data sets (`data.Uniform()`, ...); None: all are shuffled
            together. Every arm takes as many samples in an epoch, and so do the single-task networks, without sampler.

    >>> from functools import cached_property, partial
    >>> from polytask.balancing import PCGrad
    >>> Arm(balancer=PCGrad()).name
    'HardSharing + PCGrad'
    >>> Arm(partial(HardSharing, shared_stages=1), PCGrad(seed=3)).name
    'HardSharing(shared_stages=1) + PCGrad(seed=3)'
    >>> Arm(balancer=PCGrad(), estimate=LastLayers(0.25)).balancer_name
    'PCGrad by the last 0.25 of the layers'
    >>> Arm(from_single_task=True).name
    'HardSharing + Equal, from single-task'
    >>> Arm(fine_tuning=FineTuning(thaw=1)).name
    'HardSharing + Equal, FineTuning(thaw=1)'
    >>> from polytask.data import Temperature
    >>> Arm(sampler=Temperature(5, per="batch")).name
    "HardSharing + Equal, Temperature(per='batch', t=5)"
    """

    sharing: Sharing = HardSharing
    balancer: Balancer = field(default_factory=Equal)
    at_features: bool = False
    way: str = "auto"
    estimate: LastLayers | None = None
    from_single_task: bool = False
    fine_tuning: FineTuning | None = None
    sampler: Sampler | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.balancer, Balancer) or not is_dataclass(self.balancer):
            raise PolytaskError(
                f"a balancer is a dataclass object, whose fields are its settings; got {self.balancer!r}: "
                + _way_out(self.balancer)
            )
        if self.sampler is not None and not isinstance(self.sampler, Sampler):
            made = f"; make one: {self.sampler.__name__}()" if isinstance(self.sampler, type) else ""
            raise PolytaskError(f"expected a sampler such as data.Uniform(), got {self.sampler!r}{made}")

    @cached_property
    def name(self) -> str:
        """What the arm is called in tables."""
        start = f", from {SINGLE_TASK}" if self.from_single_task else ""
        tuned = f", {words(self.fine_tuning)}" if self.fine_tuning else ""
        return f"{self.sharing_name} + {self.balancer_name}{start}{tuned}"

    @property
    def begins_trained(self) -> bool:
        """Whether it starts from trained weights."""
        return self.from_single_task or self.fine_tuning is not None

    @cached_property
    def sharing_name(self) -> str:
        """The architecture, with the settings that are not its defaults."""
        if isinstance(self.sharing, partial):
            return _call(self.sharing.func.__name__, self.sharing.keywords)
        return getattr(self.sharing, "__name__", type(self.sharing).__name__)

    @cached_property
    def family(self) -> str:
        """The arm's name but for the number of stages that are shared: arms that differ in nothing else have it."""
        if not isinstance(self.sharing, partial) or "shared_stages" not in self.sharing.keywords:
            return self.name
        rest = {name: value for name, value in self.sharing.keywords.items() if name != "shared_stages"}
        return replace(self, sharing=partial(self.sharing.func, **rest)).name

    @cached_property
    def balancer_name(self) -> str:
        """The balancer, how it works, and what samples it gets, with the settings that are not their defaults."""
        where = " at features" if self.at_features else ""
        part = f" by the last {self.estimate.fraction:g} of the layers" if self.estimate else ""
        way = f" ({self.way})" if "way" in self.changed else ""
        drawn = f", {words(self.sampler).removesuffix('()')}" if self.sampler else ""
        return words(self.balancer).removesuffix("()") + where + part + way + drawn

    @cached_property
    def changed(self) -> dict[str, Any]:
        """What came later, where it is not the default: what was trained before it existed names none of it."""
        return {
            name: getattr(self, name)
            for name in ("way", "estimate", "from_single_task", "fine_tuning", "sampler")
            if getattr(self, name) != getattr(type(self), name)
        }

    def steps(
        self, model: nn.Module, problem: Problem, balancer: Balancer, budget: Budget, device: torch.device | None = None
    ) -> Steps:
        """The steps of a network of this arm, on one process and in full precision."""
        batches = self.batches(problem, budget)
        return Steps(
            model,
            problem.tasks,
            batches.drawn,
            balancer,
            budget.accumulate,
            at_features=self.at_features,
            way=self.way,
            estimate=self.estimate,
            device=device,
            groups=batches.groups,
        )

    def batches(self, problem: Problem, budget: Budget) -> Batches:
        """The training batches of this arm, in their first epoch."""
        return drawing(problem.splits["train"], self.sampler, self.balancer, budget)

    @cached_property
    def described(self) -> dict[str, Any]:
        """The arm as plain data."""
        sharing = plain(self.sharing if isinstance(self.sharing, partial) else partial(self.sharing))
        asked = {"at_features": self.at_features, **plain(self.changed)}
        return {"sharing": sharing, "balancer": plain(self.balancer), **asked}


@dataclass(frozen=True)
class Labelled(Arm):
    """An arm with a name of its own, in a study whose networks differ in more than their way of training.

    Args:
        label: what it is called in tables.
    """

    label: str = ""

    @cached_property
    def name(self) -> str:
        return self.label

    @cached_property
    def family(self) -> str:
        return self.label


def _call(name: str, args: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={words(value)}' for key, value in args.items())})" if args else name
