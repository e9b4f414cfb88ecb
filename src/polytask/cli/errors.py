"""Long messages of the parser, condensed to one line that says what was expected."""

import inspect
import re
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class Refused(Exception):
    """A word on the command line or in YAML that can't be used. (No ValueError: the parser would swallow it.)"""


def condensed(
    error: Exception,
    called: Callable[[str], str],
    signature: Callable[..., Any] | Mapping[str, Any],
    given: Mapping[str, Any],
) -> str:
    """What the parser complained of, as "X: expected ..., got ...".

    Args:
        error: of jsonargparse.
        called: what a setting is called where the user wrote it.
        signature: whose argument it is, or the types by name.
        given: what was given, by name.
    """
    text = str(error)
    found = re.search(r'[Kk]ey "([^"]+)"', text)
    hints = signature if isinstance(signature, Mapping) else _hints(signature)
    name = found[1] if found else ""
    while name and name not in hints:
        name = name.rpartition(".")[0]
    if not name:
        return " ".join(text.split())
    return f"{called(name)}: expected {in_words(hints[name])}, got {given.get(name)!r}"


def _hints(member: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(member.__init__ if inspect.isclass(member) else member)


_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "a word",
    bool: "true or false",
    Path: "a path",
    Any: "a value",
}


def in_words(hint: Any) -> str:
    """A type as a person would say it.

    >>> in_words(int | list[int] | None)
    'a whole number, a list (each: a whole number) or null'
    >>> in_words(Literal["raise", "skip"])
    'raise or skip'
    """
    origin, inside = get_origin(hint), get_args(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if hint is type(None):
        return "null"
    if origin in (Union, types.UnionType):
        return _either([in_words(each) for each in inside])
    if origin is Literal:
        return _either([str(each) for each in inside])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping, as in {name: value}"
    if origin is type:
        return f"a class ({inside[0].__name__})"
    if inside:
        return f"a list (each: {in_words(inside[0])})"
    return f"a {getattr(hint, '__name__', hint)}"


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
