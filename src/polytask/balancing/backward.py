"""`backward(losses, balancer)`: the one line in place of `sum(losses).backward()`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from polytask.balancing import gradients
from polytask.balancing.balancer import Balancer, GramianBalancer, JacobianBalancer, LossBalancer, Step
from polytask.errors import PolytaskError

Losses = Mapping[str, Tensor] | Sequence[Tensor]


class NonFinite(PolytaskError):
    """A loss or a task's gradient is NaN or infinite. Nothing was changed: no gradient, no memory of the balancer.

    Args:
        what: "loss" or "gradient".
        values: the losses, or the sums of the gradients, of the step by task, as they came.
    """

    def __init__(self, what: str, values: Mapping[str, float]) -> None:
        self.what, self.values = what, dict(values)
        self.tasks = [name for name, value in values.items() if not math.isfinite(value)]
        super().__init__(
            f"the {what} of {' and '.join(map(repr, self.tasks))} is "
            f"{', '.join(str(self.values[name]) for name in self.tasks)} (all: {self.values}); no gradient was "
            "written; look at the inputs and labels of this batch, lower the learning rate or clip the gradient"
        )


@dataclass(frozen=True)
class Balanced:
    """What `backward` did in one step.

    Args:
        tasks: names of the tasks that had a loss.
        losses: [t], detached, the mean over all processes.
        weights: [t] effective weights of the tasks' gradients; None where a balancer does not weigh whole tasks.
        gramian: [t, t] of the task gradients, where the balancer needed it.
    """

    tasks: tuple[str, ...]
    losses: Tensor
    weights: Tensor | None = None
    gramian: Tensor | None = None


def backward(
    losses: Losses,
    balancer: Balancer,
    shared: nn.Module | Iterable[Tensor] | None = None,
    features: Tensor | Sequence[Tensor] | None = None,
    *,
    weighted_heads: bool = False,
    scale: float = 1.0,
) -> Balanced:
    r"""Add the balanced gradient of several losses to the `.grad` of every parameter they reach.

    A loss balancer does one ordinary backward pass of its total. With a gradient balancer the *shared* parameters get
    the balanced gradient, and every parameter that only one task reaches (its head) gets the plain gradient of
    that task's loss. Several processes (`torch.distributed` initialised, model *not* wrapped in
    DistributedDataParallel): losses and gradients are averaged over them here, before anything nonlinear.

    Args:
        losses: a scalar for every task that has labels in the batch, by name (or a list: then the names are "0",
            "1", ...). A task without labels is left out.
        balancer: any of `polytask.balancing`.
        shared: the shared parameters, or a module of them. By default those that at least two losses reach in the
            autograd graph. For gradient balancers: a loss balancer trains shared and own parameters alike, and looks at
            neither `shared` nor `features`.
        features: the shared representation(s), in the graph of the losses: balance the gradients there instead of at
            the parameters, and do one backward pass of the trunk in all. Several ones are looked at as one.
        weighted_heads: a task's own parameters get its gradient times its weight (of a Gramian balancer).
        scale: the losses are multiplied by it during the passes and `.grad` is left multiplied by it, as a
            gradient scaler of mixed precision expects; the balancer sees unscaled gradients.

    Returns:
        The losses, the weights and, where it was formed, the Gramian.

    Raises:
        NonFinite: a loss, or the gradient of a task, is NaN or infinite; nothing was changed.
        PolytaskError: no losses, a loss that is not a scalar or has no graph, `shared` or `features` that no
            loss reaches.

    >>> import torch
    >>> from polytask import balancing
    >>> trunk = torch.nn.Linear(3, 4)
    >>> heads = torch.nn.ModuleDict({"size": torch.nn.Linear(4, 1), "weight": torch.nn.Linear(4, 1)})
    >>> z = trunk(torch.randn(8, 3))
    >>> losses = {name: head(z).square().mean() for name, head in heads.items()}
    >>> balancing.backward(losses, balancing.PCGrad()).tasks
    ('size', 'weight')
    >>> trunk.weight.grad.shape
    torch.Size([4, 3])
    """
    if isinstance(balancer, LossBalancer) and gradients.processes() == 1:
        return _ordinary(_named(losses), balancer, scale)
    pending = Accumulation(balancer, 1, shared, features, weighted_heads=weighted_heads, scale=scale)
    pending.add(losses)
    return pending.finish()


def _ordinary(losses: dict[str, Tensor], balancer: LossBalancer, scale: float) -> Balanced:
    """The ordinary backward pass of the total; the weights are its derivative, which passes by."""
    stacked = _stacked(losses)
    values = stacked.detach()
    _check_finite(losses, values)
    stacked.retain_grad()
    tasks = tuple(losses)
    total = balancer.total(stacked, tasks)
    (total if scale == 1.0 else total * scale).backward()
    weights = stacked.grad
    assert weights is not None
    balancer.observe(Step(tasks, values))
    return Balanced(tasks, values, weights if scale == 1.0 else weights / scale)


def _stacked(losses: Mapping[str, Tensor]) -> Tensor:
    """[t], in float32 at least."""
    return torch.stack([loss if loss.dtype in _WIDE else loss.float() for loss in losses.values()])


def _check_finite(tasks: Iterable[str], values: Tensor) -> None:
    if not math.isfinite(values.sum(dtype=torch.float64).item()):
        raise NonFinite("loss", dict(zip(tasks, values.tolist(), strict=True)))


class Accumulation:
    """Balance the gradients of several micro-batches as if they were one batch.

    What is balanced is the sum of the pieces, not each piece: the losses of a piece are already divided by the
    size (the number of labels) of the *whole* batch, so that they add up to its mean.

    Args:
        balancer: any of `polytask.balancing`.
        pieces: how many times `add` will be called.
        shared, features, weighted_heads, scale: as in `backward`; features only with one piece.

    Cost: a loss balancer whose weights do not depend on the losses of the step (`linear`) needs one backward pass per
    piece; every other one, one per piece and task, and [t, p] memory.

    >>> import torch
    >>> from polytask import balancing
    >>> w = torch.ones(2, requires_grad=True)
    >>> pending = balancing.Accumulation(balancing.Equal(), pieces=2)
    >>> for x in torch.eye(2):
    ...     pending.add({"a": (w * x).sum() / 2, "b": (w * x).sum() / 2})
    >>> _ = pending.finish(); w.grad
    tensor([1., 1.])
    """

    def __init__(
        self,
        balancer: Balancer,
        pieces: int,
        shared: nn.Module | Iterable[Tensor] | None = None,
        features: Tensor | Sequence[Tensor] | None = None,
        *,
        weighted_heads: bool = False,
        scale: float = 1.0,
    ) -> None:
        if not isinstance(balancer, LossBalancer | GramianBalancer | JacobianBalancer):
            hint = f"; make one first: {balancer.__name__}()" if isinstance(balancer, type) else ""
            raise PolytaskError(
                f"expected a balancer (balancing.Equal(), balancing.PCGrad(), ...), got {balancer!r}{hint}"
            )
        if features is not None and pieces > 1:
            raise PolytaskError(
                "balancing at the features works on whole batches; use one piece, or balance at parameters"
            )
        self.balancer = balancer
        self.pieces = pieces
        self._processes = gradients.processes()
        self.shared = (
            None if shared is None else tuple(shared.parameters() if isinstance(shared, nn.Module) else shared)
        )
        self.features = () if features is None else (features,) if isinstance(features, Tensor) else tuple(features)
        self.weighted_heads = weighted_heads
        self.scale = scale
        self.tasks: tuple[str, ...] = ()
        self._added, self._finished = 0, False
        self._values: Tensor | None = None  # [t], of all pieces so far
        self._weights: Tensor | None = None  # [t], of a loss balancer
        self._rows = _NO_ROWS  # [t, p] gradients of the leaves in _columns (or of the features)
        self._columns: tuple[Tensor, ...] = ()
        self._found: dict[Tensor, Tensor] = {}  # leaf -> gradient of this process, not yet in .grad
        self._shared_gradient: dict[Tensor, Tensor] = {}  # leaf -> balanced gradient, the same on all processes
        self._owner: dict[Tensor, int] = {}  # a task's own leaf -> the row of the task

    def add(self, losses: Losses) -> None:
        """One micro-batch: a scalar for every task that has labels in the whole batch."""
        named = _named(losses)
        if self.tasks and tuple(named) != self.tasks:
            raise PolytaskError(
                f"all pieces of a batch need losses of the tasks {list(self.tasks)}, got {list(named)}; where a piece "
                "has no label of a task, give 0 times the sum of its prediction"
            )
        if self._added == self.pieces:
            raise PolytaskError(f"all {self.pieces} pieces were added already; make a new Accumulation for every step")
        values = _stacked(named).detach()
        if self._processes > 1:
            gradients.check_same_tasks(tuple(named), values.device)
            values = gradients.mean_over_processes(values)
        _check_finite(named, values)
        self.tasks = tuple(named)
        self._added += 1
        self._values = values if self._values is None else self._values + values
        if isinstance(self.balancer, LossBalancer) and (self.pieces == 1 or self.balancer.linear):
            if self._weights is None:
                self._weights, _ = self._derivative(self.balancer)
            self._pass(
                list(named.values()),
                [weight.to(loss) for weight, loss in zip(self._weights, named.values(), strict=True)],
            )
        else:
            self._add_rows(list(named.values()))

    def finish(self) -> Balanced:
        """Balance what was added, and write the gradients."""
        if self._added < self.pieces or self._values is None:
            raise PolytaskError(f"{self._added} of {self.pieces} pieces were added: call add(losses) for each of them")
        if self._finished:
            raise PolytaskError("this step is finished; make a new Accumulation for every step")
        self._finished = True
        step = Step(self.tasks, self._values, self._activations())
        gramian, weights = None, None
        learned: dict[Tensor, Tensor] = {}
        if isinstance(self.balancer, LossBalancer):
            weights, learned = self._derivative(self.balancer)
            if len(self._rows):
                self._spread(weights.to(self._rows) @ self._mean_rows())
                self._weigh_own(weights)
        elif not self._finite():
            self._spread(self._rows.sum(0))
            self._write(learned)
            return Balanced(self.tasks, self._values)
        elif isinstance(self.balancer, GramianBalancer):
            gramian = self._gramian()
            weights = self.balancer.weights(gramian, step)
            self._spread(weights.to(self._rows) @ self._rows)
            if self.weighted_heads:
                self._weigh_own(weights)
        elif isinstance(self.balancer, JacobianBalancer):
            self._spread(self._direction(self.balancer, step))
        self._write(learned)
        self.balancer.observe(step)
        return Balanced(self.tasks, self._values, weights, gramian)

    def _derivative(self, balancer: LossBalancer) -> tuple[Tensor, dict[Tensor, Tensor]]:
        """d total / d losses, [t], and the gradients of what the balancer learns."""
        assert self._values is not None
        losses = self._values.clone().requires_grad_()
        with torch.enable_grad():
            total = balancer.total(losses, self.tasks)
        learned = [each for each in balancer.parameters() if each.requires_grad]
        weights, *rest = torch.autograd.grad(total, [losses, *learned], allow_unused=True)
        return weights, {p: g * self.scale for p, g in zip(learned, rest, strict=True) if g is not None}

    def _pass(self, outputs: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
        """One backward pass of sum_i <weights_i, outputs_i>."""
        scaled = [weight * self.scale for weight in weights] if self.scale != 1.0 else list(weights)
        if self.pieces == 1 and self._processes == 1:
            torch.autograd.backward(list(outputs), scaled)
            return
        reached = gradients.reach(outputs)
        leaves = [*reached.shared, *(leaf for own in reached.own for leaf in own)]
        self._collect(leaves, torch.autograd.grad(list(outputs), leaves, scaled))

    def _add_rows(self, losses: Sequence[Tensor]) -> None:
        columns, own = self._sorted(losses)
        if len(self._rows) and [id(each) for each in columns] != [id(each) for each in self._columns]:
            raise PolytaskError(
                "the pieces of this batch reach different shared parameters; balance whole batches instead"
            )
        rows, owned = gradients.task_gradients(losses, columns, own, self.scale)
        self._columns, self._rows = columns, self._rows + rows if len(self._rows) else rows
        for number, (leaves, found) in enumerate(zip(own, owned, strict=True)):
            self._owner |= dict.fromkeys(leaves, number)
            self._collect(leaves, found)

    def _sorted(self, losses: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], list[list[Tensor]]]:
        """The tensors whose gradients are balanced, and what each task has for itself."""
        found = gradients.reach(losses, self.features)
        if self.shared is None and not self.features:
            return found.shared, [list(own) for own in found.own]
        if not all(found.met):
            raise PolytaskError(
                "no loss reaches the `features` (or one of them): give the very tensor that the trunk computed in this "
                "step and the losses were computed from, neither detached nor computed again"
            )
        chosen = self.features or self.shared or ()
        stray = set(found.shared) - set(chosen)
        if stray:
            what = "behind the features given" if self.features else "among `shared`"
            raise PolytaskError(
                f"{len(stray)} parameter tensors (one of shape {list(stray.pop().shape)}) are reached by several "
                f"losses but are not {what}; add what is missing, or leave the argument out: shared parameters are "
                "found by themselves"
            )
        reached = {leaf for own in found.own for leaf in own} | set(found.shared)
        columns = self.features or tuple(each for each in chosen if each in reached)
        if not columns:
            raise PolytaskError(
                "no loss reaches any of the `shared` parameters; give the parameters the losses were computed with"
            )
        return columns, [[leaf for leaf in own if leaf not in set(columns)] for own in found.own]

    def _activations(self) -> Tensor | None:
        """The features side by side, [b, f]."""
        return torch.cat([each.detach().flatten(1) for each in self.features], 1) if self.features else None

    def _mean_rows(self) -> Tensor:
        self._rows = gradients.mean_over_processes(self._rows)
        return self._rows

    def _finite(self) -> bool:
        """Whether all task gradients are finite; they must be, unless they were scaled.

        Scaled gradients may overflow: then they are passed on as they are, unbalanced and unremembered, for the
        gradient scaler to leave out the step.
        """
        sums = gradients.mean_over_processes(self._rows.sum(1, dtype=torch.float64))
        finite = math.isfinite(sums.sum().item())
        if not finite and self.scale == 1.0:
            raise NonFinite("gradient", dict(zip(self.tasks, sums.tolist(), strict=True)))
        return finite

    def _gramian(self) -> Tensor:
        if self.features:  # every process has samples of its own there: the inner products add up
            return gradients.mean_over_processes(gradients.gramian(self._rows)) / self._processes
        return gradients.gramian(self._mean_rows())

    def _direction(self, balancer: JacobianBalancer, step: Step) -> Tensor:
        if not self.features:
            return balancer.direction(self._mean_rows(), step)
        if self._processes > 1:
            raise PolytaskError(
                f"{type(balancer).__name__} at the features needs the whole batch on one process; balance at the "
                "parameters (features=None) or train on one process"
            )
        parts = self._rows.split([each.numel() for each in self.features], 1)
        batch = len(self.features[0])
        side_by_side = torch.cat([part.reshape(len(part), batch, -1) for part in parts], 2)
        combined = balancer.direction(side_by_side, step)
        split = combined.split([each[0].numel() for each in self.features], 1)
        return torch.cat([part.reshape(-1) for part in split])

    def _spread(self, combined: Tensor) -> None:
        """Give a flat balanced gradient [p] to the leaves, or send it from the features through the trunk."""
        parts = combined.split([each.numel() for each in self._columns])
        shaped = [part.view_as(each).to(each.dtype) for part, each in zip(parts, self._columns, strict=True)]
        if self.features:
            self._pass(self.features, shaped)
        else:
            self._shared_gradient = {leaf: part * self.scale for leaf, part in zip(self._columns, shaped, strict=True)}

    def _weigh_own(self, weights: Tensor) -> None:
        for leaf, row in self._owner.items():
            self._found[leaf] = self._found[leaf] * weights[row].to(self._found[leaf])

    def _collect(self, leaves: Sequence[Tensor], found: Sequence[Tensor]) -> None:
        for leaf, gradient in zip(leaves, found, strict=True):
            self._found[leaf] = self._found[leaf] + gradient if leaf in self._found else gradient

    def _write(self, learned: Mapping[Tensor, Tensor]) -> None:
        """Add everything to `.grad`; what differs between processes is averaged first."""
        mean = gradients.mean_all_over_processes(list(self._found.values()))
        whole = [*zip(self._found, mean, strict=True), *self._shared_gradient.items(), *learned.items()]
        for leaf, gradient in whole:
            if leaf.grad is None:  # a copy: autograd may give one tensor to two leaves
                leaf.grad = torch.empty_like(leaf).copy_(gradient)
            else:
                leaf.grad.add_(gradient)


_NO_ROWS = torch.zeros(0)
_WIDE = (torch.float32, torch.float64)


def _named(losses: Losses) -> dict[str, Tensor]:
    """The losses by name, checked."""
    if isinstance(losses, Tensor) or not isinstance(losses, Mapping | Sequence):
        raise PolytaskError(
            f"expected losses by task name, {{'task': scalar, ...}}, or a list of scalars, got {type(losses).__name__}"
        )
    named = dict(losses) if isinstance(losses, Mapping) else {str(k): loss for k, loss in enumerate(losses)}
    if not named:
        raise PolytaskError(
            "there are no losses: no task has a label in this batch; skip the batch, or look at the labels"
        )
    for name, loss in named.items():
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            came = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise PolytaskError(
                f"the loss of {name!r} must be a scalar tensor, got {came}; take the mean over its labels"
            )
        if not loss.requires_grad:
            raise PolytaskError(
                f"the loss of {name!r} has no autograd graph (was it computed under no_grad, or detached?): "
                "there is nothing to learn from"
            )
    return {name: loss if loss.ndim == 0 else loss.reshape(()) for name, loss in named.items()}
