"""From the samples of a batch to balanced gradients: what `fit` repeats."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from polytask.balancing import (
    Accumulation,
    Balanced,
    Balancer,
    Forecast,
    GramianBalancer,
    JacobianBalancer,
    LastLayers,
    LossBalancer,
    backward,
    forecast,
    look_again,
)
from polytask.data import TensorData
from polytask.errors import PolytaskError
from polytask.tasks import Task, losses
from polytask.training.objectives import Penalty, penalty_of, supervised
from polytask.training.watching import Pass, look, measure


class Steps:
    """Forward passes of a batch, cut in pieces, and `backward`.

    The losses of a task's intermediate predictions (`MultiTaskModel.intermediate`) are added to its own. A penalty of
    the model (`MultiTaskModel.penalty`) is added unbalanced; `penalty` tells it after a step.

    A balancer that compares halves of a batch (MoDo, SDMGrad) gets an even number of pieces, at least two; one that
    works at the features only (GREAT) gets them.

    Args:
        model: (inputs, task names) -> {task: prediction}.
        tasks, data, balancer: what it learns, from what, and how that is weighed.
        accumulate: pieces that a batch is cut in.
        at_features: a gradient balancer works at the shared features.
        way, estimate: as in `backward`.
        device: where the model is.
        precision: makes the context of every forward pass.
        rank, world: this process and how many there are.
        groups: draws that a batch is made of, of a sampler per batch (`Batches.groups`): then pieces are whole draws,
            and each half of a batch has its part of every draw. 0: samples are in random order, pieces of any.

    Raises:
        PolytaskError: settings that do not go together.
    """

    def __init__(
        self,
        model: nn.Module,
        tasks: Sequence[Task],
        data: TensorData,
        balancer: Balancer,
        accumulate: int = 1,
        *,
        at_features: bool = False,
        way: str = "auto",
        estimate: LastLayers | None = None,
        device: torch.device | None = None,
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
        rank: int = 0,
        world: int = 1,
        groups: int = 0,
    ) -> None:
        self.model, self.tasks, self.data, self.balancer = model, tuple(tasks), data, balancer
        self.device, self.precision = device or torch.device("cpu"), precision
        self.rank, self.world = rank, world
        self.way, self.estimate = way, estimate
        needed = isinstance(balancer, JacobianBalancer) and balancer.only_at_features
        self.at_features = needed or (at_features and not isinstance(balancer, LossBalancer))
        self.samples = balancer.samples if isinstance(balancer, GramianBalancer) else 1
        self.draws = groups if accumulate > 1 or not groups else 1
        self.pieces = (self.draws or -(-accumulate // self.samples)) * self.samples
        self.penalty = Penalty(model, self.pieces)
        self.draw: int | None = None
        anything = torch.empty(0) if self.at_features else None
        Accumulation(balancer, self.pieces, features=anything, way=way, estimate=estimate)  # says what can't be

    def gradients(
        self,
        whole: Tensor,
        scale: float = 1.0,
        first: Callable[[Pass, int], None] | None = None,
        draw: int | None = None,
    ) -> Balanced | None:
        """Add the balanced gradient of a batch to every `.grad`; None where it has not one label.

        Args:
            whole: the numbers of the samples, over all processes.
            scale: of the losses, in mixed precision.
            first: shown the first forward pass and the number of pieces, before its graph is used.
            draw: of the augmentation, where the data have one (`TensorData.piece`); None: not augmented.
        """
        pieces, self.draw = self._cut(whole), draw
        if len(pieces) > 1 and self.balancer.reads_progress:  # on all of them, before the first is weighed
            with look_again(self.model):
                measure(self.balancer, self.tasks, self._passes(pieces, whole))
        self.penalty = Penalty(self.model, len(pieces), scale)
        pending: Accumulation | None = None
        for number, seen in enumerate(self._passes(pieces, whole, penalized=True)):
            if number == 0 and first is not None:
                first(seen, len(pieces))
            if len(pieces) == 1:
                measure(self.balancer, self.tasks, [seen])
            if len(pieces) == 1 and seen.penalty is None:
                return backward(seen.losses, self.balancer, **self._asked(seen), scale=scale)
            self.penalty.add(seen.penalty)
            pending = pending or Accumulation(self.balancer, len(pieces), **self._asked(seen), scale=scale)
            pending.add(seen.losses)
        if pending is None:
            return None
        self.penalty.settle()
        balanced = pending.finish()
        self.penalty.write()
        return balanced

    def look(self, whole: Tensor) -> None:
        """Show a balancer that looks again the losses after the optimizer's step, of the batch as it was then."""
        look(self.balancer, self.model, lambda: self._passes(self._cut(whole), whole))

    def forecast(self, seen: Pass, pieces: int) -> Forecast:
        """What the step of this forward pass will cost."""
        return forecast(seen.losses, self.balancer, **self._asked(seen), pieces=pieces)

    def rehearse(self, whole: Tensor) -> Forecast | None:
        """What the step of a batch will cost, from its first forward pass; None where it has not one label.

        Raises:
            PolytaskError: it can't be made so.
        """
        pieces = self._cut(whole)
        passes = self._passes(pieces, whole, penalized=True)
        return next((self.forecast(seen, len(pieces)) for seen in passes), None)

    def _asked(self, seen: Pass) -> dict[str, Any]:
        """How the gradients of a forward pass are to be made."""
        return {"features": seen.features, "way": self.way, "estimate": self.estimate}

    def _cut(self, whole: Tensor) -> Sequence[Tensor]:
        """The samples of this process, in pieces: as many on every process."""
        if self.world == 1 and self.pieces == 1:
            return (whole,)
        most = max(1, len(whole) // self.world)
        if most < self.samples:
            raise PolytaskError(
                f"{type(self.balancer).__name__} compares {self.samples} parts of every batch, and one of {len(whole)} "
                f"samples on {self.world} processes can't be cut so; give a larger batch_size"
            )
        if self.draws:
            halves = [draw[k :: self.samples] for draw in whole.tensor_split(self.draws) for k in range(self.samples)]
            return [half[self.rank :: self.world] for half in halves]
        number = min(self.pieces, most)
        return whole[self.rank :: self.world].tensor_split(number - number % self.samples)

    def _passes(self, pieces: Sequence[Tensor], whole: Tensor, penalized: bool = False) -> Iterator[Pass]:
        """The forward passes of a batch, one per piece; none where it has not one label."""
        for piece in pieces:
            batch = self.data.piece(piece, whole, self.draw, self.device)
            counts = batch.counts
            if self.world > 1:
                counts = {name: count / self.world for name, count in counts.items()}
            if not counts:
                return
            with self.precision():
                names = [task.name for task in self.tasks if task.name in counts]
                predictions, features = self._forward(batch.inputs, names)
                shown = {name: prediction.float() for name, prediction in predictions.items()}
                found = losses(self.tasks, shown, batch.targets, counts, batch.complete)
                found = supervised(self.model, self.tasks, batch, counts, found)
                penalty = penalty_of(self.model, found) if penalized else None
            yield Pass(shown, batch.targets, counts, found, features, penalty)

    def _forward(self, inputs: Any, names: list[str]) -> tuple[Mapping[str, Tensor], Any]:
        if not self.at_features:
            return self.model(inputs, names), None
        gives = getattr(self.model, "forward_with_features", None)
        predictions, features = gives(inputs, names) if gives else ({}, None)
        if features is None:
            what = type(self.model).__name__
            raise PolytaskError(
                f"{what} has no shared features to balance at, where {type(self.balancer).__name__} is to work; "
                "balance at the parameters by another method, or share by another architecture (as HardSharing)"
            )
        return predictions, features
