"""A module of one's own, by its dotted name."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.sharing.backbones.inputs import PartInput


@dataclass(frozen=True, init=False)
class Imported:
    """Whatever a dotted name stands for, as a part of `Fusion` or as a whole trunk: your class or function is imported
    and called when the network is built.

    Args:
        name: "my_parts.Photo": a module that Python can import (the current folder is looked in as well), and a class
            or function in it.
        options: its arguments, as keywords or as one dict.
        reads: the form of the input that it is built for. A class or function with an argument `shape` or `vocabulary`
            is given these of it (`PartInput`), unless the options say them.

    Runs write down the name, not the code; opening such a run imports it again, which `polytask` does only for modules
    that are named with `--trust`.

    Raises:
        PolytaskError: when called: there is no such module or name in it, or it can't be called so.

    >>> Imported("torch.nn.Linear", in_features=2, out_features=3)()
    Linear(in_features=2, out_features=3, bias=True)
    """

    name: str
    options: Mapping[str, Any] = field(hash=False)
    reads: PartInput | None

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any] | None = None,
        reads: PartInput | None = None,
        **more: Any,
    ) -> None:
        if "." not in name:
            raise PolytaskError(f"'{name}' names no module; write it with a dot, as in my_parts.{name}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", {**(options or {}), **more})
        object.__setattr__(self, "reads", reads)

    @property
    def package(self) -> str:
        """The outermost module of its name."""
        return self.name.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.options.items())})"

    def suited(self, to: PartInput) -> "Imported":
        """The same, for an input of this form."""
        return replace(self, reads=self.reads or to)

    def __call__(self) -> Any:
        made = self._found()
        given = dict(self.options)
        if self.reads is not None:
            asked = _parameters(made)
            facts = {"shape": self.reads.shape, "vocabulary": self.reads.vocabulary}
            given = {name: fact for name, fact in facts.items() if name in asked} | given
        try:
            return made(**given)
        except PolytaskError:
            raise
        except Exception as error:
            told = ", ".join(f"{name}={value!r}" for name, value in given.items())
            raise PolytaskError(f"{self.name}({told}) failed: {type(error).__name__}: {error}") from error

    def _found(self) -> Callable[..., Any]:
        path, _, last = self.name.rpartition(".")
        module = _imported(path, self.name)
        if not hasattr(module, last):
            there = [name for name, each in vars(module).items() if callable(each) and not name.startswith("_")]
            raise PolytaskError(f"{path} has no '{last}'; {did_you_mean(last, there)}")
        found: Callable[..., Any] = getattr(module, last)
        if not callable(found):
            raise PolytaskError(f"{self.name} is a {type(found).__name__}, expected a class or a function")
        return found


def _parameters(made: Callable[..., Any]) -> set[str]:
    """What it can be given by name."""
    try:
        return set(inspect.signature(made).parameters)
    except (TypeError, ValueError):
        return set()


def _imported(path: str, name: str) -> Any:
    """The module at a dotted path; the current folder is looked in as well, as by `python -m`."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not path.startswith(error.name):
            raise PolytaskError(f"importing {path} for {name} failed: {error}") from error
        raise PolytaskError(
            f"there is no module '{error.name}' for {name}; it must be installed, or be a file in the current folder "
            f"({here})"
        ) from error
    except Exception as error:
        raise PolytaskError(f"importing {path} for {name} failed: {type(error).__name__}: {error}") from error
