"""The batches of a training, and what is left to learn in each of the pools that a sampler draws them from."""

import math
import sys
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from polytask.balancing import Balancer, GramianBalancer, LossBalancer
from polytask.data import Batches, Sampler, TensorData
from polytask.errors import PolytaskError
from polytask.tasks import Task
from polytask.training.budget import Budget
from polytask.training.evaluate import Scores, evaluate


def drawing(
    train: TensorData,
    sampler: Sampler | None,
    balancer: Balancer,
    budget: Budget,
    *,
    seed: int = 0,
    samples: int | None = None,
    rank: int = 0,
    world: int = 1,
) -> Batches:
    """The batches that a network is trained on.

    Where a sampler fills a batch from one pool and gradients are balanced, which takes several tasks, the batch of a
    step is made of one draw from as many pools as there are (or as pieces are accumulated), in equal parts: the task
    gradients of these are balanced together. The number of rows in a step stays that of the budget.

    Args:
        train: the data.
        sampler: draws the rows; None: each as often as any other.
        balancer, budget: of the training.
        seed, samples, rank, world: as in `Batches`.

    Raises:
        PolytaskError: the sampler is none.
    """
    if sampler is not None and not isinstance(sampler, Sampler):
        raise PolytaskError(
            f"sampler: expected an object such as data.Uniform(), or None, got {sampler!r}; make one of those of "
            "polytask.data, without quotes and with brackets"
        )
    batches = Batches(
        train,
        budget.batch_size,
        shuffle=True,
        seed=seed,
        drop_last=True,
        samples=samples,
        rank=rank,
        world=world,
        sampler=sampler,
        epochs=budget.epochs,
    )
    if sampler is None or sampler.per == "row":
        return batches
    several = 1 if isinstance(balancer, LossBalancer) else len(batches.drawn.pools())
    wanted = budget.accumulate if budget.accumulate > 1 else several
    halves = balancer.samples if isinstance(balancer, GramianBalancer) else 1
    most = min(budget.batch_size, samples or len(train)) // (world * halves)
    return batches.in_groups(max(1, min(wanted, most)))


class Remaining:
    """What is left to learn: the validation loss of a pool's tasks divided by that of a reference, their mean.

    Args:
        pools: the names of the pools: of sources, else of tasks.
        tasks, validation: what is looked at.
        reference: validation scores, with a loss for every task.

    Raises:
        PolytaskError: a source has no labelled row in the validation data, or the reference lacks a loss.
    """

    def __init__(
        self,
        pools: Sequence[str],
        tasks: Sequence[Task],
        validation: TensorData,
        reference: Mapping[str, Mapping[str, float]],
    ) -> None:
        self.pools, self.tasks = tuple(pools), tuple(tasks)
        names = [task.name for task in tasks]
        lacking = [name for name in names if "loss" not in reference.get(name, {})]
        if lacking:
            raise PolytaskError(
                f"a sampler that goes by the error compares losses: the reference has none for {', '.join(lacking)}; "
                "give validation scores as `training.evaluate` returns them, or none (the best constant prediction)"
            )
        self.reference = {name: reference[name]["loss"] for name in names}
        self._parts: dict[str, TensorData] = {}
        if not set(pools) <= set(names):
            rows = {} if validation.sources is None else validation.sources.rows()
            self._parts = {name: validation.select(rows[name]) for name in pools if name in rows}
        without = [name for name in pools if self._parts and not self._tasks_of(name)]
        if without or not (self._parts or set(pools) <= set(names)):
            raise PolytaskError(
                f"a sampler that goes by the error needs validation rows with labels from every source; there are none "
                f"from {', '.join(without or pools)}: make the validation data a mixture with the same names"
            )

    def _tasks_of(self, pool: str) -> list[Task]:
        labels = self._parts[pool].counts() if pool in self._parts else {}
        return [task for task in self.tasks if labels.get(task.name)]

    def errors(self, model: nn.Module, scores: Scores, device: torch.device, batch_size: int) -> dict[str, float]:
        """Of every pool.

        Args:
            model: as it is after an epoch.
            scores: its validation scores, which tell the errors where pools are tasks.
            device, batch_size: for `evaluate`, of each source.
        """
        if not self._parts:
            return {name: self._mean({name: scores[name]}) for name in self.pools}
        found = {}
        for name in self.pools:
            part, tasks = self._parts[name], self._tasks_of(name)
            alone = part.only(*(task.name for task in tasks))
            found[name] = self._mean(evaluate(model, tasks, alone, device, batch_size))
        return found

    def _mean(self, scores: Scores) -> float:
        shares = [each["loss"] / max(self.reference[name], sys.float_info.min) for name, each in scores.items()]
        return math.fsum(shares) / len(shares) if all(map(math.isfinite, shares)) else math.inf
