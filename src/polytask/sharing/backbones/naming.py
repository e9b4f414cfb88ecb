"""Parts of a network as people write them: "Words(width=128)", "my_parts.Photo(width=64)"."""

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.sharing.backbones.imported import Imported

Known = Mapping[str, Callable[..., Any]]


def recipe_named(text: str, known: Known) -> Any:
    """The recipe that a text names: one that is known, with its settings; or by a dotted name one of your own.

    Args:
        text: a name, or a call with settings: numbers, 'words', lists, {dicts} and further recipes.
        known: recipes by name.

    Raises:
        PolytaskError: it can't be read, there is no such recipe or setting, or the settings are refused.

    >>> from polytask.sharing import SmallCNN, Words
    >>> recipe_named("Words(width=8)", {"Words": Words}).width
    8
    >>> recipe_named("my_parts.Photo(width=8)", {})
    Imported(name='my_parts.Photo', options={'width': 8}, reads=None)
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise _unreadable(text) from None
    return _made(node, text, known) if isinstance(node, ast.Call) else _called(node, {}, text, known)


def _made(node: ast.Call, text: str, known: Known) -> Any:
    if any(each.arg is None for each in node.keywords):
        raise _unreadable(text)
    given = {str(each.arg): _value(each.value, text, known) for each in node.keywords}
    return _called(node.func, given, text, known, [_value(each, text, known) for each in node.args])


def _called(node: ast.expr, given: dict[str, Any], text: str, known: Known, first: list[Any] | None = None) -> Any:
    name = ast.unparse(node)
    first = first or []
    if not all(each.isidentifier() for each in name.split(".")):
        raise _unreadable(text)
    if "." in name:
        if first:
            raise PolytaskError(f"'{text}': settings of {name} are given by name, as in {name}(width={first[0]!r})")
        return Imported(name, given)
    if name not in known:
        raise PolytaskError(
            f"there is no part '{name}'; {did_you_mean(name, known)}; or one of your own by a dotted name, as in "
            f"my_parts.{name}"
        )
    parameters = inspect.signature(known[name]).parameters
    free = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    for setting in given:
        if setting not in parameters and not free:
            raise PolytaskError(f"{name} has no setting '{setting}'; {did_you_mean(setting, parameters)}")
    try:
        return known[name](*first, **given)
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, PolytaskError):
            raise
        raise PolytaskError(f"'{text}' can't be made: {error}") from error


def _value(node: ast.expr, text: str, known: Known) -> Any:
    if isinstance(node, ast.Call):
        return _made(node, text, known)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise PolytaskError(
            f"can't read {ast.unparse(node)} in '{text}'; settings are numbers, 'words', lists, {{dicts}} or calls"
        ) from None


def _unreadable(text: str) -> PolytaskError:
    return PolytaskError(f"can't read '{text}'; write a name with its settings, as in \"Words(width=128)\"")
