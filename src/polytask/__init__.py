"""Train one network for many tasks, and see whether that was worth it.

This module is a map: `polytask.balancing`, `polytask.tasks` and the other rooms are imported when first used,
so that `import polytask` costs next to nothing and does not import torch.

>>> import polytask
>>> polytask.balancing.__name__
'polytask.balancing'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polytask import balancing as balancing
    from polytask import data as data
    from polytask import deployment as deployment
    from polytask import errors as errors
    from polytask import evaluation as evaluation
    from polytask import penalties as penalties
    from polytask import problems as problems
    from polytask import sharing as sharing
    from polytask import study as study
    from polytask import tasks as tasks
    from polytask import training as training

__version__ = "0.1.0"

__all__ = [
    "tasks",
    "data",
    "sharing",
    "balancing",
    "penalties",
    "evaluation",
    "problems",
    "training",
    "deployment",
    "study",
    "errors",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    from polytask._text import did_you_mean

    raise AttributeError(f"module 'polytask' has no attribute {name!r}; {did_you_mean(name, __all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
