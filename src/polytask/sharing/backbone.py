"""What every backbone is: stages one above the other, and a clean cut between any two of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from polytask.errors import PolytaskError


class State(NamedTuple):
    """What goes up from the lower part of a split backbone to the upper part.

    Args:
        cut: the tensors through which the gradient of the features that are read comes down: all of them, once.
        rest: whatever else the upper part needs; its form is known to the backbone alone.
    """

    cut: list[Tensor]
    rest: Any = None


class Backbone(nn.Module, ABC):
    """A network in S stages that gives the feature of every stage.

    A feature is a vector [b, c], tokens [b, n, c] or a map [b, c, h, w]. To bring your own, put its stages
    into a `SequentialBackbone`, or subclass this and write `forward` (and `split_inside`, to share a part).

    Args:
        widths: the number of channels c of each stage's feature, lowest stage first; S = len(widths).
    """

    widths: tuple[int, ...]

    full_resolution: bool = False
    """Whether the last stage's feature is a map of the inputs' own size (networks that encode and decode)."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        if not self.widths:
            raise PolytaskError(f"{type(self).__name__} has no stages; give at least one, as in widths=(64,)")
        if not all(isinstance(width, int) and width > 0 for width in self.widths):
            raise PolytaskError(f"widths must be positive whole numbers, got {self.widths}")
        self.kept = tuple(range(len(self.widths)))

    @abstractmethod
    def forward(self, inputs: Any) -> list[Tensor]:
        """The features of all S stages, lowest first."""

    def keep_only(self, stages: Iterable[int]) -> None:
        """Say which stages' features (0 to S - 1) will be read, before the first step and before `split`.

        Parameters that feed none of them become constants, so that everything trainable gets a gradient.
        Backbones whose stages all lead to the last one, as most do, only remember it.
        """
        self.kept = tuple(stages)

    def used_for(self, stages: Iterable[int]) -> list[nn.Module]:
        """The modules that these stages' features (0 to S - 1) are made with, every parameter of which takes part.

        All of the backbone, where every stage leads to the ones above and one of these is the last. For
        `MultiTaskModel.used_by`: a task that reads only the last stage uses no norms of other stages' features.

        >>> from polytask import sharing
        >>> backbone = sharing.MLP(3, widths=(4, 5))()
        >>> backbone.used_for([1]) == [backbone], backbone.used_for([0]) == [backbone.stages[0]]
        (True, True)
        """
        return [self]

    @property
    def walk_widths(self) -> tuple[int, ...]:
        """The number of channels of each tensor that `walk` yields; those of the features, unless a backbone norms or
        narrows what it gives."""
        return self.widths

    def walk(self, inputs: Any) -> Generator[Tensor, Tensor, list[Tensor]]:
        """Go up stage by stage: yields the output of every stage, goes on with what is sent, returns the features.

        What is sent has the shape of what was yielded. Every gradient from a stage's feature and from the stages above
        to the stages below passes through the tensor that was sent. Sending back what came gives `self(inputs)`.

        Raises:
            PolytaskError: this backbone can't stop between its stages.

        >>> import torch
        >>> from polytask import sharing
        >>> steps = sharing.MLP(3, widths=(4, 5))().walk(torch.zeros(2, 3))
        >>> first = next(steps)
        >>> second = steps.send(first * 2)
        >>> tuple(first.shape), tuple(second.shape)
        ((2, 4), (2, 5))
        """
        raise PolytaskError(
            f"{type(self).__name__} can't stop between its stages, as this architecture asks: build it as a "
            "SequentialBackbone, or write its walk"
        )

    def split(self, stage: int) -> tuple[nn.Module, nn.Module]:
        """Cut after the first `stage` stages into `(lower, upper)`.

        upper(lower(inputs)) equals self(inputs): `lower` gives a `State`, `upper` all S features. Between
        them they hold the very parameters of this backbone: all in `upper` for stage 0, in `lower` for S.

        Raises:
            PolytaskError: there is no such stage, or this backbone cannot be cut there.

        >>> import torch
        >>> from polytask import sharing
        >>> backbone = sharing.MLP(3, widths=(4, 5))()
        >>> lower, upper = backbone.split(1)
        >>> [tuple(each.shape) for each in upper(lower(torch.zeros(2, 3)))]
        [(2, 4), (2, 5)]
        """
        check_stage(stage, len(self.widths), "stage")
        if stage == 0:
            return _Inputs(), _FromInputs(self)
        if stage == len(self.widths):
            return _ToState(self), _Upper([])
        return self.split_inside(stage)

    def split_inside(self, stage: int) -> tuple[nn.Module, nn.Module]:
        """What `split` does for 0 < stage < S; without it, all or nothing is shared."""
        last = len(self.widths)
        raise PolytaskError(
            f"{type(self).__name__} cannot be cut after stage {stage}: share 0 or {last} stages, "
            "or build it as a SequentialBackbone"
        )


class SequentialBackbone(Backbone):
    """Stages that each read nothing but the output of the one below.

    Args:
        stages: modules, lowest first; the first one reads the inputs. No stage changes its input in place.
        widths: the number of channels of each stage's output.

    >>> import torch
    >>> from torch import nn
    >>> stages = [nn.Linear(3, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 2))]
    >>> backbone = SequentialBackbone(stages, widths=(8, 2))
    >>> [tuple(each.shape) for each in backbone(torch.zeros(5, 3))]
    [(5, 8), (5, 2)]
    """

    def __init__(self, stages: Iterable[nn.Module], widths: Sequence[int]) -> None:
        super().__init__(widths)
        self.stages = nn.ModuleList(stages)
        if len(self.stages) != len(self.widths):
            raise PolytaskError(f"expected one width per stage, got {len(self.stages)} stages and widths {self.widths}")

    def forward(self, inputs: Any) -> list[Tensor]:
        return _run(self.stages, inputs)

    def used_for(self, stages: Iterable[int]) -> list[nn.Module]:
        above = max(stages) + 1
        return [self] if above == len(self.stages) else list(self.stages[:above])

    def walk(self, inputs: Any) -> Generator[Tensor, Tensor, list[Tensor]]:
        features, feature = [], inputs
        for stage in self.stages:
            feature = yield stage(feature)
            features.append(feature)
        return features

    def split_inside(self, stage: int) -> tuple[nn.Module, nn.Module]:
        return _Lower(self.stages[:stage], self.kept), _Upper(self.stages[stage:])


def build(backbone: Callable[[], Backbone], reads: Callable[[Backbone], Iterable[int]] | None = None) -> Backbone:
    """A fresh backbone.

    Args:
        backbone: makes it.
        reads: which stages' features (0 to S - 1) will be read; that of the last stage by default.
    """
    if isinstance(backbone, nn.Module) or not callable(backbone):
        raise PolytaskError(
            "a backbone is given as something that makes a fresh one at each call (a task may need its own): "
            f"for example sharing.MLP(64) or lambda: MyBackbone(...); got {type(backbone).__name__}"
        )
    fresh = backbone()
    if not isinstance(fresh, Backbone):
        raise PolytaskError(
            f"expected a Backbone from the call, got {type(fresh).__name__}; put its stages into "
            "sharing.SequentialBackbone(stages, widths)"
        )
    stages = len(fresh.widths)
    fresh.keep_only([stages - 1] if reads is None else sorted(set(reads(fresh))))
    return fresh


def check_stage(stage: int, stages: int, name: str) -> None:
    """Raise unless 0 <= stage <= stages."""
    if not isinstance(stage, int) or not 0 <= stage <= stages:
        raise PolytaskError(
            f"{name} must be a whole number from 0 (nothing shared) to {stages} "
            f"(all stages of this backbone), got {stage!r}"
        )


def _run(stages: Iterable[nn.Module], feature: Any) -> list[Tensor]:
    features = []
    for stage in stages:
        feature = stage(feature)
        features.append(feature)
    return features


def parts_without(module: nn.Module, left_out: Collection[int]) -> Iterator[nn.Module]:
    """The largest parts of a module that hold none of the parameters left out, which are given by their ids."""
    if not any(id(each) in left_out for each in module.parameters()):
        yield module
        return
    own = [each for each in module.parameters(recurse=False) if id(each) not in left_out]
    if own:
        yield nn.ParameterList(own)
    for child in module.children():
        yield from parts_without(child, left_out)


def run_to_the_end(walk: Generator[Tensor, Tensor, list[Tensor]]) -> list[Tensor]:
    """The features of a walk on which nothing is changed."""
    try:
        output = next(walk)
        while True:
            output = walk.send(output)
    except StopIteration as end:
        return end.value


def state_of(features: list[Tensor], kept: Iterable[int]) -> State:
    """What goes up from the stages below a cut: the features that are read there or above it, and the others."""
    read = [k for k in range(len(features)) if k in kept or k == len(features) - 1]
    return State([features[k] for k in read], [None if k in read else each for k, each in enumerate(features)])


def whole_features(state: State) -> list[Tensor]:
    """The features of all stages below a cut, from the `state_of` them."""
    read = iter(state.cut)
    return [next(read) if each is None else each for each in state.rest]


class _Lower(nn.Module):
    def __init__(self, stages: Iterable[nn.Module], kept: Iterable[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.kept = tuple(kept)

    def forward(self, inputs: Any) -> State:
        return state_of(_run(self.stages, inputs), self.kept)


class _Upper(nn.Module):
    def __init__(self, stages: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, state: State) -> list[Tensor]:
        below = whole_features(state)
        return [*below, *_run(self.stages, below[-1])]


class _Inputs(nn.Module):
    def forward(self, inputs: Any) -> State:
        return State([], inputs)


class _FromInputs(nn.Module):
    def __init__(self, whole: Backbone) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, state: State) -> list[Tensor]:
        return self.whole(state.rest)


class _ToState(nn.Module):
    def __init__(self, whole: Backbone) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, inputs: Any) -> State:
        return state_of(self.whole(inputs), self.whole.kept)
