"""What all balancers that wrap another one have in common."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from polytask._plain import words
from polytask.balancing.balancer import Balancer, GramianBalancer, JacobianBalancer, Remembering, Step
from polytask.errors import PolytaskError
from polytask.tasks import Task


class Wrapping(Remembering, Balancer):
    """A balancer that holds another one of its kind in its field `balancer`; put it before the kind among the bases.

    What a wrapper does not change itself it passes on: tasks, steps, epochs, progress, what is learned. The memory
    of the one within is saved inside the wrapper's, and wrappers can be wrapped.
    """

    balancer: Balancer

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        """A module from the start: the fields, among them perhaps a module, are assigned before `__post_init__`."""
        made = super().__new__(cls)
        nn.Module.__init__(made)
        return made

    def __post_init__(self) -> None:
        self._memory = {}
        for kind in (GramianBalancer, JacobianBalancer):
            if isinstance(self, kind) and not isinstance(self.balancer, kind):
                raise PolytaskError(
                    f"{type(self).__name__} wraps a {kind.__name__}, got {_told(self.balancer)} (a function from a "
                    "Gramian to weights becomes one by balancing.Weighing(function))"
                )

    def __repr__(self) -> str:
        return words(self)

    def within(self, step: Step) -> Step:
        """A step as the balancer within sees it."""
        return step

    @property
    def looks_again(self) -> bool:  # type: ignore[override]  # as the one within
        return self.balancer.looks_again

    @property
    def reads_progress(self) -> bool:  # type: ignore[override]
        return self.balancer.reads_progress

    @property
    def learning_rate(self) -> float:
        """Of what the balancer within learns."""
        return float(self.balancer.learning_rate)  # type: ignore[attr-defined]

    def bind(self, tasks: Sequence[Task]) -> None:
        self.balancer.bind(tasks)

    def observe(self, step: Step) -> None:
        self.balancer.observe(self.within(step))

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        self.balancer.after_step(losses)

    def measure(self, progress: Mapping[str, float]) -> None:
        self.balancer.measure(progress)

    def end_epoch(self) -> None:
        self.balancer.end_epoch()

    def judged(self, train: Mapping[str, float], validation: Mapping[str, float]) -> None:
        self.balancer.judged(train, validation)

    @property
    def lacks(self) -> str:
        """What the balancer within lacks."""
        return self.balancer.lacks

    def passes(self, tasks: int) -> int:
        return self.balancer.passes(tasks)

    def get_extra_state(self) -> dict[str, Any]:
        return super().get_extra_state() | {"within": type(self.balancer).__name__}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        if state["within"] != type(self.balancer).__name__:
            raise PolytaskError(
                f"the saved {type(self).__name__} is around {state['within']}, this one around "
                f"{type(self.balancer).__name__}"
            )


class WrappingGramian(Wrapping, GramianBalancer):
    """A wrapper of a balancer that weighs by the Gramian."""

    balancer: GramianBalancer

    @property
    def samples(self) -> int:  # type: ignore[override]  # as the one within
        return self.balancer.samples


def _told(came: Any) -> str:
    """What came in place of a balancer of the right kind."""
    if isinstance(came, type):
        return f"the class {came.__name__}; make one, as in {came.__name__}()"
    kinds = [each.__name__ for each in type(came).__mro__ if Balancer in each.__bases__]
    return f"{type(came).__name__}, which is a {kinds[0]}" if kinds else repr(came)
