"""Objects as plain data and back: what records, run folders and checksums of settings are made of."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from pathlib import PurePath
from typing import Any

from polytask._text import did_you_mean
from polytask.errors import PolytaskError


def plain(value: Any) -> Any:
    """A value as JSON can hold it: an object with settings becomes {"class": name, "args": {...}}.

    >>> from polytask.balancing import PCGrad
    >>> plain([PCGrad(seed=1), float("nan"), (1, 2)])
    [{'class': 'PCGrad', 'args': {'seed': 1}}, None, [1, 2]]
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if is_dataclass(value):
        args = {each.name: plain(getattr(value, each.name)) for each in fields(value) if each.init}
        return {"class": type(value).__name__, "args": args}
    if callable(getattr(value, "tolist", None)):  # a tensor, an array
        return plain(value.tolist())
    if isinstance(value, partial):
        return {"class": value.func.__name__, "args": plain(value.keywords)}
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    raise TypeError(f"{value!r} can't be written down as plain data")


def words(value: Any) -> str:
    """A value as the text that makes it: an object with those settings that are not its defaults.

    >>> from polytask.balancing import PCGrad, Static
    >>> words(PCGrad(seed=1)), words(Static()), words({"depth": 0.5})
    ('PCGrad(seed=1)', 'Static()', "{'depth': 0.5}")
    """
    if is_dataclass(value) and not isinstance(value, type):
        settings = [(each, getattr(value, each.name)) for each in fields(value) if each.init]
        changed = [f"{each.name}={words(setting)}" for each, setting in settings if setting != _default(each)]
        return f"{type(value).__name__}({', '.join(changed)})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {words(each)}' for key, each in value.items())}}}"
    return getattr(value, "__qualname__", type(value).__name__) if callable(value) else repr(value)


def _default(field: Any) -> Any:
    return field.default if isinstance(field.default_factory, type(MISSING)) else field.default_factory()


def rebuild(spec: Mapping[str, Any], known: Iterable[Any]) -> Any:
    """The object that `plain` wrote down, with the objects within it; all of them of the classes known.

    >>> from polytask.balancing import MGDA, PCGrad
    >>> rebuild({"class": "PCGrad", "args": {"seed": 3}}, [MGDA, PCGrad]).seed
    3
    """
    by_name = {each.__name__: each for each in known}
    if spec["class"] not in by_name:
        raise PolytaskError(f"'{spec['class']}' is not known here; {did_you_mean(spec['class'], by_name)}")
    return by_name[spec["class"]](**rebuilt(spec["args"], by_name.values()))


def rebuilt(args: Mapping[str, Any], known: Iterable[Any]) -> dict[str, Any]:
    """The arguments that `plain` wrote down, with the objects among them; as `rebuild`."""
    return {name: _rebuilt(each, known) for name, each in args.items()}


def _rebuilt(value: Any, known: Iterable[Any]) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, dict):
        return value
    if value.keys() == {"class", "args"}:
        return rebuild(value, known)
    return {name: _rebuilt(each, known) if isinstance(each, dict) else each for name, each in value.items()}


def checksum(value: Any) -> str:
    """A short checksum of plain data; equal data have equal checksums, whatever the order of their keys."""
    text = json.dumps(plain(value), sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
