"""Names as people write them, and the objects they stand for.

`PCGrad(seed=3)` on the command line, `{class_path: PCGrad, init_args: {seed: 3}}` in YAML: both are a `Call`, and a
`Catalogue` makes the object, its settings checked against the signature.
"""

import ast
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser

from polytask._text import did_you_mean
from polytask.cli.errors import Refused, condensed
from polytask.errors import PolytaskError


@dataclass(frozen=True)
class Call:
    """A name with settings.

    >>> str(Call.parse("Uncertainty(learning_rate=0.02)"))
    'Uncertainty(learning_rate=0.02)'
    >>> Call.parse("Every(10, PCGrad(3))").positional
    (10, Call(name='PCGrad', args={}, positional=(3,)))
    >>> Call.parse({"class_path": "PCGrad", "init_args": {"seed": 3}})
    Call(name='PCGrad', args={'seed': 3}, positional=())
    """

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    positional: tuple[Any, ...] = ()

    @classmethod
    def parse(cls, value: Any) -> "Call":
        """From text, or from a mapping with class_path and perhaps init_args."""
        if isinstance(value, Call):
            return value
        if isinstance(value, Mapping) and value.keys() <= {"class_path", "init_args"} and "class_path" in value:
            path, settings = str(value["class_path"]), dict(value.get("init_args") or {})
            return cls(path.rpartition(".")[2], settings) if "(" not in path else cls.parse(path)
        if not isinstance(value, str):
            raise Refused(f"expected a name such as PCGrad, or 'PCGrad(seed=3)', got {value!r}")
        if "(" not in value:
            return cls(value)
        try:
            node = ast.parse(value.strip(), mode="eval").body
        except SyntaxError:
            node = None
        if not isinstance(node, ast.Call):
            raise Refused(f"can't read '{value}'; write a name with its settings: 'PCGrad(seed=3)'")
        return cls._of(node, value)

    @classmethod
    def _of(cls, node: ast.Call, text: str) -> "Call":
        if not isinstance(node.func, ast.Name) or any(each.arg is None for each in node.keywords):
            raise Refused(f"can't read '{text}'; write a name with its settings: 'PCGrad(seed=3)'")

        def value(of: ast.expr) -> Any:
            if isinstance(of, ast.Call):
                inner = cls._of(of, text)
                return inner if inner.positional else {"class_path": inner.name, "init_args": dict(inner.args)}
            try:
                return ast.literal_eval(of)
            except ValueError:
                raise Refused(
                    f"can't read {ast.unparse(of)} in '{text}'; settings are numbers, 'words', lists, {{dicts}} "
                    "or calls, as in Every(10, PCGrad())"
                ) from None

        settings = {str(each.arg): value(each.value) for each in node.keywords}
        return cls(node.func.id, settings, tuple(value(each) for each in node.args))

    def __str__(self) -> str:
        inside = [*map(_shown, self.positional), *(f"{key}={_shown(each)}" for key, each in self.args.items())]
        return f"{self.name}({', '.join(inside)})" if inside else self.name


def _shown(value: Any) -> str:
    if isinstance(value, Call) or (isinstance(value, Mapping) and value.keys() == {"class_path", "init_args"}):
        inner = Call.parse(value)
        return str(inner) if inner.args or inner.positional else f"{inner.name}()"
    return repr(str(value)) if isinstance(value, PurePath) else repr(value)


@dataclass(frozen=True)
class Catalogue:
    """What can be named in one place.

    Args:
        what: one of its members, in words.
        members: the classes or functions.
        filled: arguments that polytask itself fills in.
        parts: what can be named as a setting of its members, by the kind of object that the setting is.
    """

    what: str
    members: tuple[Callable[..., Any], ...]
    filled: tuple[str, ...] = ()
    parts: Mapping[type, "Catalogue"] = field(default_factory=dict)

    def find(self, name: str) -> Callable[..., Any]:
        """The member of this name."""
        for each in self.members:
            if each.__name__ == name:
                return each
        raise Refused(
            f"there is no {self.what} '{name}'; {did_you_mean(name, [each.__name__ for each in self.members])}"
        )

    def settings(self, member: Callable[..., Any]) -> list[str]:
        """What can be set about a member; a function can't be written down, and is left to Python."""
        named = [
            name for name, each in inspect.signature(member).parameters.items() if each.kind is not each.VAR_KEYWORD
        ]
        return [name for name in named if name not in self.filled and not _is_code(member, name)]

    def checked(self, call: Call) -> tuple[Callable[..., Any], dict[str, Any]]:
        """The member called, and its settings, which fit the signature."""
        member = self.find(call.name)
        allowed = self.settings(member)
        if len(call.positional) > len(allowed):
            raise Refused(f"{call}: {call.name} has {len(allowed)} settings, got {len(call.positional)}")
        given = dict(zip(allowed, call.positional, strict=False)) | dict(call.args)
        parameters = inspect.signature(member).parameters
        free = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        more = {name: value for name, value in given.items() if free and name not in parameters}
        given = {name: value for name, value in given.items() if name not in more}
        for name in given:
            if name in parameters and _is_code(member, name):
                raise Refused(f"{name} of {call.name} is a function: it can be given from Python only")
            if name not in allowed:
                raise Refused(f"{call.name} has no setting '{name}'; {did_you_mean(name, allowed)}")
        given = {name: self._part(member, name, value) for name, value in given.items()}
        parser = ArgumentParser(exit_on_error=False)
        rest: set[str | int] = {name for name in parameters if name not in given}
        if inspect.isclass(member):
            parser.add_class_arguments(member, skip=rest)
        else:
            parser.add_function_arguments(member, as_positional=False, skip=rest)
        try:
            found = parser.parse_object(given, defaults=False)
        except Exception as error:
            if isinstance(error, Refused):
                raise
            raise Refused(condensed(error, lambda name: f"{name} of {call.name}", member, given)) from error
        return member, {name: found[name] for name in given} | more

    def _part(self, member: Callable[..., Any], name: str, value: Any) -> Any:
        """The object that is named as a setting, where it is one of the parts; else the value as it is."""
        named = isinstance(value, str | Call) or (isinstance(value, Mapping) and "class_path" in value)
        kinds = [kind for kind in _kinds(member, name) if kind in self.parts] if named else []
        return self.parts[kinds[0]].make(value) if kinds else value

    def make(self, value: Any) -> Any:
        """The object named."""
        call = Call.parse(value)
        member, settings = self.checked(call)
        for name in needed(member):
            if name not in settings:
                raise Refused(f"{call} lacks '{name}': {call.name}({', '.join(self.settings(member))})")
        try:
            return member(**settings)
        except PolytaskError as error:
            raise Refused(str(error)) from error

    def later(self, value: Any) -> Callable[..., Any]:
        """The member named, with its settings fixed: called later, with what polytask fills in."""
        member, settings = self.checked(Call.parse(value))
        return partial(member, **settings) if settings else member


def listed(module: Any, base: type) -> tuple[type, ...]:
    """The classes of a package's catalogue that are of a kind and can be made.

    >>> from polytask import sharing
    >>> [each.__name__ for each in listed(sharing, sharing.Decoder)]
    ['FPN', 'DeepLab', 'LastMap']
    """
    found: Sequence[Any] = [getattr(module, name) for name in module.__all__]
    return tuple(
        each
        for each in found
        if inspect.isclass(each) and issubclass(each, base) and each is not base and not inspect.isabstract(each)
    )


def needed(member: Callable[..., Any]) -> list[str]:
    """The settings of a member that have no default."""
    parameters = inspect.signature(member).parameters.items()
    return [name for name, each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]


def sayable(member: Callable[..., Any]) -> bool:
    """Whether everything that must be set about a member can be written down, which a function can't.

    >>> from polytask.sharing import OutputsOf, SmallCNN
    >>> sayable(SmallCNN), sayable(OutputsOf)
    (True, False)
    """
    return not any(_is_code(member, name) for name in needed(member))


def _is_code(member: Callable[..., Any], name: str) -> bool:
    return any(get_origin(each) is Callable for each in _kinds(member, name))


def _kinds(member: Callable[..., Any], name: str) -> tuple[Any, ...]:
    """The types that a setting may have."""
    hint = get_type_hints(member.__init__ if inspect.isclass(member) else member).get(name)
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
