"""What is compared: a way of sharing with a way of balancing."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cached_property, partial
from typing import Any

from polytask._plain import plain
from polytask.balancing import Balancer, Equal
from polytask.errors import PolytaskError
from polytask.sharing import Backbone, HardSharing, MultiTaskModel
from polytask.tasks import Task

Sharing = Callable[[Callable[[], Backbone], Sequence[Task]], MultiTaskModel]

SINGLE_TASK = "single-task"


@dataclass(frozen=True)
class Arm:
    """One way of training on several tasks.

    Args:
        sharing: an architecture of `polytask.sharing`, with settings by `functools.partial`.
        balancer: a balancer of `polytask.balancing`; every run works on a copy of it.
        at_features: balance gradients at the shared features instead of at the parameters.

    >>> from functools import cached_property, partial
    >>> from polytask.balancing import PCGrad
    >>> Arm(balancer=PCGrad()).name
    'HardSharing + PCGrad'
    >>> Arm(partial(HardSharing, shared_stages=1), PCGrad(seed=3)).name
    'HardSharing(shared_stages=1) + PCGrad(seed=3)'
    """

    sharing: Sharing = HardSharing
    balancer: Balancer = field(default_factory=Equal)
    at_features: bool = False

    def __post_init__(self) -> None:
        if not is_dataclass(self.balancer) or isinstance(self.balancer, type):
            made = type(self.balancer).__name__
            raise PolytaskError(
                f"a balancer is a dataclass object, whose fields are its settings; got {self.balancer!r}: "
                + (
                    f"make one, as in {self.balancer.__name__}()"
                    if isinstance(self.balancer, type)
                    else f"write @dataclass(frozen=True) above class {made}, or @dataclass(eq=False) if it remembers"
                )
            )

    @cached_property
    def name(self) -> str:
        """What the arm is called in tables."""
        return f"{self.sharing_name} + {self.balancer_name}"

    @cached_property
    def sharing_name(self) -> str:
        """The architecture, with the settings that are not its defaults."""
        if isinstance(self.sharing, partial):
            return _call(self.sharing.func.__name__, self.sharing.keywords)
        return getattr(self.sharing, "__name__", type(self.sharing).__name__)

    @cached_property
    def balancer_name(self) -> str:
        """The balancer, with the settings that are not its defaults."""
        changed = {
            each.name: getattr(self.balancer, each.name)
            for each in fields(self.balancer)  # type: ignore[arg-type]
            if getattr(self.balancer, each.name) != _default(each)
        }
        return _call(type(self.balancer).__name__, changed) + (" at features" if self.at_features else "")

    @cached_property
    def described(self) -> dict[str, Any]:
        """The arm as plain data."""
        sharing = plain(self.sharing if isinstance(self.sharing, partial) else partial(self.sharing))
        return {"sharing": sharing, "balancer": plain(self.balancer), "at_features": self.at_features}


def _default(each: Any) -> Any:
    return each.default if isinstance(each.default_factory, type(MISSING)) else each.default_factory()


def _call(name: str, args: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value}' for key, value in args.items())})" if args else name
