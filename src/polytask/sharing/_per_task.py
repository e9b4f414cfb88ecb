"""Modules by task name, whatever the name is."""

from collections.abc import Mapping
from functools import cache
from urllib.parse import unquote

from torch import nn


@cache
def key(task: str) -> str:
    """The task's name as a module name: percent-encoded where torch does not allow it as it is.

    >>> key("income"), key("hours.per.week"), key("type")
    ('income', 'hours%2Eper%2Eweek', '%74ype')
    """
    safe = task.replace("%", "%25").replace(".", "%2E")
    taken = hasattr(PerTask, safe) or hasattr(nn.ModuleDict(), safe)
    return f"%{ord(safe[0]):X}{safe[1:]}" if taken else safe


def readable(name: str) -> str:
    """A parameter or module name with the task names as they are."""
    return unquote(name)


class PerTask(nn.ModuleDict):
    """One module per task; `of(task)` finds it. Task names may hold dots or be words that torch uses."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__({key(task): module for task, module in modules.items()})

    def of(self, task: str) -> nn.Module:
        return self[key(task)]
