"""What a model asks to be learned besides the losses of its predictions: deep supervision, and penalties."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from polytask.balancing import NonFinite
from polytask.balancing.processes import mean_all_over_processes
from polytask.data import Batch
from polytask.errors import PolytaskError
from polytask.sharing import MultiTaskModel
from polytask.tasks import Task


def supervised(
    model: nn.Module, tasks: Sequence[Task], batch: Batch, counts: Mapping[str, float], found: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The losses of a forward pass, each with those of the task's intermediate predictions added (weights of 1).

    Args:
        model: after the forward pass; only a `MultiTaskModel` has intermediate predictions.
        tasks, batch: what the predictions are of.
        counts: labels of every task in the whole batch.
        found: the losses of the predictions themselves.
    """
    further = model.intermediate() if isinstance(model, MultiTaskModel) else {}
    total = dict(found)
    for task in tasks:
        name = task.name
        for prediction in further.get(name, ()) if name in found else ():
            total[name] = total[name] + task.loss(
                prediction.float(), batch.targets[name], counts[name], name in batch.complete
            )
    return total


def penalty_of(model: nn.Module, found: Mapping[str, Tensor]) -> Tensor | None:
    """What the model adds to its losses unbalanced, with its graph; None where there is nothing.

    Raises:
        PolytaskError: it is not a scalar.
    """
    value = model.penalty(found) if isinstance(model, MultiTaskModel) else None
    if value is not None and (not isinstance(value, Tensor) or value.numel() != 1):
        came = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise PolytaskError(
            f"the penalty of {type(model).__name__} must be a scalar tensor (or None), got {came}; sum up its terms"
        )
    return None if value is None else value.float().reshape(())


class Penalty:
    r"""The gradient of a model's penalty in one step: made before the losses are balanced, written after it.

    So no balancer sees it, whichever it is and wherever it works: `.grad` becomes the balanced gradient plus that of
    the mean of the penalty over pieces and processes. A parameter that only the penalty reaches (a discriminator's)
    gets its gradient here.

    Args:
        model: whose penalty it is.
        pieces: that the batch is cut in.
        scale: of the gradients, in mixed precision.

    Cost: one backward pass per piece through what the penalty is made of, and one more gradient of the parameters
    that it reaches, held while the losses are balanced.
    """

    def __init__(self, model: nn.Module, pieces: int, scale: float = 1.0) -> None:
        self._model, self._pieces, self._scale = model, pieces, scale
        self._sum: Tensor | None = None
        self._gradients: dict[Tensor, Tensor] = {}
        self.value: float | None = None
        """The mean over pieces and processes, once settled; None where the model has no penalty."""
        self.bytes = 0
        """What its gradient held."""

    def add(self, value: Tensor | None) -> None:
        """The penalty of one piece, whose graph is kept."""
        if value is None:
            return
        share = value / self._pieces
        self._sum = share.detach() if self._sum is None else self._sum + share.detach()
        if not share.requires_grad:
            return
        scaled = share if self._scale == 1.0 else share * self._scale
        learned = [each for each in self._model.parameters() if each.requires_grad]
        grads = torch.autograd.grad(scaled, learned, retain_graph=True, allow_unused=True)
        for parameter, grad in zip(learned, grads, strict=True):
            if grad is not None:
                before = self._gradients.get(parameter)
                self._gradients[parameter] = grad if before is None else before + grad

    def settle(self) -> None:
        """Take the mean over processes.

        Raises:
            NonFinite: the penalty or its gradient is NaN or infinite; nothing was written.
        """
        if self._sum is None:
            return
        total, *grads = mean_all_over_processes([self._sum, *self._gradients.values()])
        self._gradients = dict(zip(self._gradients, grads, strict=True))
        if not math.isfinite(value := total.item()):
            raise NonFinite("value", {"penalty": value})
        self.value = value
        if self._scale == 1.0 and not all(map(_finite, grads)):
            raise NonFinite("gradient", {"penalty": math.nan})

    def write(self) -> None:
        """Add its gradient to `.grad`."""
        for parameter, grad in self._gradients.items():
            self.bytes += grad.numel() * grad.element_size()
            parameter.grad = grad.clone() if parameter.grad is None else parameter.grad.add_(grad)
        self._gradients = {}


def _finite(grad: Tensor) -> bool:
    return math.isfinite(grad.sum().item()) or bool(torch.isfinite(grad).all())
