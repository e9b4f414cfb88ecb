"""Fine-tuning as a recipe: what is taken from a trained model, what learns when, and how fast."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from polytask._plain import plain
from polytask.errors import PolytaskError
from polytask.penalties import l2_sp
from polytask.sharing import MultiTaskModel
from polytask.sharing.stages import stages_of
from polytask.sharing.starting import chosen_stages, fitting
from polytask.training.layer_groups import LayerGroups
from polytask.training.starting import Start, trained

Stages = tuple[int, ...] | Literal["all"]


@dataclass(frozen=True)
class L2SP:
    """How strongly weights are drawn to where they started: see `penalties.l2_sp`.

    Args:
        alpha: of the weights that were loaded, towards what they were loaded with. The default, as that of beta, is of
            the authors' script for Stanford Dogs.
        beta: of new weights, towards 0.

    Raises:
        PolytaskError: one is negative, or no number.

    >>> L2SP().alpha, L2SP().beta
    (0.1, 0.01)
    """

    alpha: float = 0.1
    beta: float = 0.01

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("beta", self.beta)):
            if not _is_number(value) or not 0 <= value < float("inf"):
                raise PolytaskError(f"{name} of L2SP is a strength, a number of 0 or more; got {value!r}")


@dataclass(frozen=True)
class FineTuning:
    r"""How a model is trained on from trained weights.

    The model's weights are groups, one above the other: the lowest stage of the trunk, ..., the last stage, and at the
    top whatever is new: heads, units, and stages that are not loaded. All settings can be combined.

    Args:
        load: the stages that begin with the trained weights, 0 (the lowest) to S - 1, as in (0, 1).
        heads: also take what lies above or beside the trunk and has the same name there, heads of tasks that both
            models have; never where the last stage is not loaded.
        freeze: stages that never learn. "all" trains the heads only.
        thaw: gradual thaw. In the first `thaw` epochs the top group learns alone, then one more group from the top
            every `thaw` epochs; a group that sleeps is constant, and so is its share of weight decay. The paper has 1.
            None: all learn from the beginning.
        factor: discriminative rates: the learning rate of a group is that of the one above divided by this. The paper
            has 2.6; 1 makes no difference.
        l2_sp: draw weights towards where they started; the budget's weight decay is then off (see below).
        adapt_norms: BatchNorm in stages that sleep or are frozen normalises by the batch and goes on averaging, as
            where it learns. By default it normalises by the statistics it was loaded with, and these stay: what is
            frozen is then the same function in every batch, in training and evaluation.

    Weight decay: with L2-SP no group has any. Decay, also AdamW's decoupled one, draws weights to 0, away from w^0, and
    beta takes its place for new weights. The penalty is part of the loss, as in the authors' code; under Adam its
    gradient is divided by the root of the second moment, as that of the loss is, so that alpha is comparable with the
    paper's under SGD only. No balancer sees it.

    Raises:
        PolytaskError: a number out of range, or a setting of another type.

    Source: Howard, Ruder 2018, Universal Language Model Fine-tuning for Text Classification (gradual unfreezing, one
    more layer per epoch from the last; discriminative fine-tuning, eta^(l-1) = eta^l / 2.6), as far as public excerpts
    and a later script of the authors' library show it; the paper's sections were not read in full. Its slanted
    triangular schedule is not part of this: the budget's schedule multiplies every rate. Li, Grandvalet, Davoine 2018
    for L2-SP (`penalties.l2_sp`); in the authors' code it is on kernels and matrices, not on biases and norms, and so
    it is here.

    >>> FineTuning(freeze=(0,), thaw=1, factor=2.6).l2_sp is None
    True
    """

    load: Stages = "all"
    heads: bool = True
    freeze: Stages = ()
    thaw: int | None = None
    factor: float = 1.0
    l2_sp: L2SP | None = None
    adapt_norms: bool = False

    def __post_init__(self) -> None:
        for name in ("load", "freeze"):
            given = getattr(self, name)
            if given != "all":
                object.__setattr__(self, name, _stages(name, given))
        if isinstance(self.l2_sp, Mapping):  # as read from JSON
            object.__setattr__(self, "l2_sp", L2SP(**self.l2_sp))
        if self.l2_sp is not None and not isinstance(self.l2_sp, L2SP):
            raise PolytaskError(f"l2_sp is an L2SP, such as L2SP(), or None (no weight is drawn); got {self.l2_sp!r}")
        if self.thaw is not None and (not _is_whole(self.thaw) or self.thaw < 1):
            raise PolytaskError(
                f"thaw is a number of epochs, 1 or more, or None (all learn at once); got {self.thaw!r}"
            )
        if not _is_number(self.factor) or not 1 <= self.factor < float("inf"):
            raise PolytaskError(
                "factor divides the learning rate of every next group below, a number of 1 or more; got "
                f"{self.factor!r}"
            )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _stages(name: str, given: Any) -> tuple[int, ...]:
    if isinstance(given, str) or not isinstance(given, Collection) or not all(_is_whole(each) for each in given):
        raise PolytaskError(f'{name} is "all" or numbers of stages, as in (0, 1); got {given!r}')
    return tuple(given)


class FineTuned(MultiTaskModel):
    """A model that is trained on from trained weights by a recipe.

    It takes the place of the model in any loop, and in `fit`: it makes the groups for the optimizer, thaws when an
    epoch begins, keeps the statistics of frozen norms, and adds the penalty. It predicts as the model does, and its
    `state_dict()` is that of the model, which can be used, saved and exported as if it had never been wrapped.

    Args:
        model: is changed in place.
        start: the folder of a run, or a `state_dict()`; or several, as `start_from` and `start_from_runs` take them.
        recipe: everything is loaded and learns by default.

    Raises:
        PolytaskError: the weights do not fit (see `sharing.start_from`), or the recipe does not fit the model.

    Cost: that of the model; less where the lowest stages are frozen. L2-SP keeps one more copy of the weights.

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> trained = sharing.HardSharing(sharing.MLP(4), [tasks.Binary("a")])
    >>> model = sharing.HardSharing(sharing.MLP(4), [tasks.Binary("b")])
    >>> tuned = FineTuned(model, trained.state_dict(), FineTuning(thaw=1, factor=2.6))
    >>> optimizer = torch.optim.AdamW(tuned.parameter_groups(learning_rate=2.6e-3))
    >>> [round(group["lr"], 6) for group in optimizer.param_groups]
    [0.0026, 0.001, 0.000385]
    >>> tuned.begin_epoch(0, epochs=5)
    >>> sorted({name.split(".")[0] for name, each in model.named_parameters() if each.requires_grad})
    ['heads']
    """

    def __init__(self, model: MultiTaskModel, start: Start, recipe: FineTuning | None = None) -> None:
        super().__init__(model.tasks)
        self.recipe = recipe or FineTuning()
        stages = stages_of(model)
        loaded = chosen_stages(self.recipe.load, stages, "load")
        frozen = chosen_stages(self.recipe.freeze, stages, "freeze")
        if odd := sorted(set(frozen).difference(loaded)):
            raise PolytaskError(
                f"stages {odd} would stay as they were drawn: they are frozen and not loaded; add them to load, or let "
                "them learn"
            )
        taken = fitting(model, trained(start), self.recipe.load, self.recipe.heads)
        model.load_state_dict(model.state_dict() | taken)
        self.model = model
        self.groups = LayerGroups(model, stages, loaded, frozen)
        self.groups.wake(None)
        self._drawn: list[tuple[Tensor, str | None]] = []
        for number, (name, weight) in enumerate(self._kernels()):
            begun = f"start_{number}" if name in taken else None
            if begun is not None:
                self.register_buffer(begun, weight.detach().clone(), persistent=False)
            self._drawn.append((weight, begun))
        self._begun = _checksum(taken)

    def _kernels(self) -> Iterable[tuple[str, Tensor]]:
        """What L2-SP draws: matrices and kernels that learn."""
        every = self.model.named_parameters() if self.recipe.l2_sp else ()
        return ((name, each) for name, each in every if each.requires_grad and each.ndim > 1)

    @property
    def settings(self) -> dict[str, Any]:
        return self.model.settings | {"fine_tuning": plain(self.recipe), "start": self._begun}

    @property
    def keep_maps(self) -> bool:
        """Whether the model keeps its attention maps."""
        return self.model.keep_maps

    @keep_maps.setter
    def keep_maps(self, keep: bool) -> None:
        self.model.keep_maps = keep

    def maps_inside(self) -> dict[str, Tensor]:
        return self.model.maps_inside()

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Let learn what learns in this epoch.

        Raises:
            PolytaskError: the training is too short for the lowest group to learn at all.
        """
        self.model.begin_epoch(epoch, epochs)
        thaw, below = self.recipe.thaw, self.groups.below
        if thaw is not None and below * thaw >= epochs:
            raise PolytaskError(
                f"one of {below} stages thaws every {thaw} epochs, and {epochs} epochs are over before the lowest "
                f"learns: give at least {below * thaw + 1} epochs, or freeze stages"
            )
        self.groups.wake(None if thaw is None else epoch // thaw)
        self.train(self.training)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        with self.groups.all_awake():
            groups = self.model.parameter_groups(learning_rate)
        told = {"weight_decay": 0.0} if self.recipe.l2_sp else {}
        return [each | told for group in groups for each in self.groups.split(group, learning_rate, self.recipe.factor)]

    def penalty(self, losses: Mapping[str, Tensor]) -> Tensor | None:
        """What the model adds, and L2-SP."""
        found = self.model.penalty(losses)
        if self.recipe.l2_sp is None:
            return found
        pairs = [(weight, self.get_buffer(begun)) for weight, begun in self._drawn if begun is not None]
        fresh = [weight for weight, begun in self._drawn if begun is None]
        own = l2_sp(pairs, fresh, self.recipe.l2_sp.alpha, self.recipe.l2_sp.beta)
        return own if found is None else found + own

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if mode and not self.recipe.adapt_norms:
            for norm in self.groups.constant_norms():
                norm.eval()
        return self

    def forward(self, inputs: Any, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        return self.model(inputs, tasks)

    def forward_with_features(
        self, inputs: Any, tasks: Iterable[str] | None = None
    ) -> tuple[dict[str, Tensor], Tensor | list[Tensor] | None]:
        predictions, features = self.model.forward_with_features(inputs, tasks)
        tensors = [features] if isinstance(features, Tensor) else features or []
        if tensors and self.training and torch.is_grad_enabled() and not any(each.requires_grad for each in tensors):
            raise PolytaskError(
                "there is nothing to balance at the shared features while the whole trunk is constant: balance at the "
                "parameters, or let a stage learn from the beginning (no thaw, and not all of them frozen)"
            )
        return predictions, features

    def used_by(self, task: str) -> list[nn.Module]:
        return self.model.used_by(task)

    def intermediate(self) -> dict[str, list[Tensor]]:
        return self.model.intermediate()

    def inside(self) -> dict[str, dict[str, float]]:
        return self.model.inside()

    def separate_parameters(self) -> int:
        return self.model.separate_parameters()

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        return self.model.load_state_dict(state_dict, strict, assign)


def _checksum(state: Mapping[str, Tensor]) -> str:
    """Of weights and their names: equal ones have equal checksums."""
    digest = hashlib.blake2b(digest_size=8)
    for name, each in sorted(state.items()):
        digest.update(f"{name} {each.dtype} {list(each.shape)}".encode())
        digest.update(each.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
