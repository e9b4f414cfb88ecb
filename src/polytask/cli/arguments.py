"""From words and YAML to the arguments of a function, by its signature (jsonargparse)."""

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from polytask.cli import catalogues
from polytask.cli.errors import Refused, condensed
from polytask.cli.helping import formatter
from polytask.data.tables.overrides import not_yaml
from polytask.errors import PolytaskError
from polytask.training import Budget

catalogues.register()

Settings = Annotated[Mapping[str, Any], Budget]
"""Those settings of a budget that the user gave, by name; what is not given is left to the problem."""

CONFIG, PRINT_CONFIG = "config", "print_config"


def run_command(commands: ModuleType, name: str, words: Sequence[str]) -> None:
    """Call the command with what the words and the YAML file say.

    Raises:
        PolytaskError: they say what the signature does not know, or does not allow.
    """
    command = getattr(commands, name, None) or getattr(commands, f"{name}_")
    try:
        arguments = Arguments(name, command)
        if {"-h", "--help"} & set(words):
            arguments.parser.print_help()
        elif (found := arguments.parse(words)) is not None:
            command(**found)
    except Refused as error:
        raise PolytaskError(str(error)) from error


class Arguments:
    """What a command can be told: its parameters, and the settings of those annotated as `Settings`.

    Args:
        name: of the command.
        command: the function.
    """

    def __init__(self, name: str, command: Callable[..., None]) -> None:
        self.name, self.command = name, command
        parameters = inspect.signature(command).parameters
        hints = get_type_hints(command, include_extras=True)
        self.groups = {key: get_args(hint)[1] for key, hint in hints.items() if get_origin(hint) is Annotated}
        self.types = {key: hints[key] for key in parameters if key not in self.groups}
        for group, made in self.groups.items():
            of = get_type_hints(made)
            self.types |= {f"{group}.{each}": of[each] for each in inspect.signature(made).parameters}
        self.required = [key for key, each in parameters.items() if each.default is each.empty]
        self.parser = self._parser()

    def _parser(self) -> ArgumentParser:
        usage = " ".join(["polytask", self.name, *map(str.upper, self.required), "[options]"])
        told = re.split(r"\n\s*(?:Args|Raises):", inspect.getdoc(self.command) or "")[0]
        shown = formatter(self.required, [key for key, hint in self.types.items() if _many(hint)])
        parser = ArgumentParser(usage=usage, description=told, exit_on_error=False, formatter_class=shown)
        parser.add_argument(f"--{CONFIG}", action=CONFIG, help="a YAML file that says the same things")
        parser.add_function_arguments(self.command, as_group=False, as_positional=False, skip=set(self.groups))
        for group, made in self.groups.items():
            parser.add_class_arguments(made, group, instantiate=False)
        return parser

    def parse(self, words: Sequence[str]) -> dict[str, Any] | None:
        """The arguments given, by name; None when there is nothing left to do (--print_config)."""
        said = self._said(words)
        given: dict[str, Any] = {}
        for path in said.pop(CONFIG, []):
            given |= self._in_file(Path(path))
        printing = said.pop(PRINT_CONFIG, None) is not None
        given |= {key: self._joined(key, values) for key, values in said.items()}
        if not printing:
            self._check_required(given)
        line = [f"--{key}={_text(self._ready(key, value))}" for key, value in given.items()]
        try:
            found = self.parser.parse_args(
                [*line, *([f"--{PRINT_CONFIG}=skip_default"] if printing else [])], defaults=False
            )
        except SystemExit:
            return None
        except Refused:
            raise
        except Exception as error:
            raise Refused(condensed(error, self._called, self.types, given)) from error
        arguments = {key: found[key] for key in given if "." not in key}
        for group in self.groups:
            names = [key.partition(".")[2] for key in given if key.startswith(f"{group}.")]
            arguments[group] = {each: _imported(found[f"{group}.{each}"]) for each in names}
        return arguments

    def _said(self, words: Sequence[str]) -> dict[str, list[Any]]:
        """The words that follow each option, by parameter."""
        said: dict[str, list[Any]] = {}
        loose: list[str] = []
        left = list(words)
        while left:
            word = left.pop(0)
            if not word.startswith("--"):
                loose.append(word)
                continue
            option, equals, value = word[2:].partition("=")
            key, below = self._key(option)
            values: list[Any] = [value] if equals else []
            while not equals and left and not left[0].startswith("--"):
                if values and not _many(self.types.get(key)):
                    break
                values.append(left.pop(0))
            if not values and key != PRINT_CONFIG:
                if self.types.get(key) is not bool:
                    raise Refused(f"--{option} needs a value: {self._told(key)}")
                values = ["true"]
            for name in reversed(below):
                values = [{name: yaml.safe_load(each) if isinstance(each, str) else each} for each in values]
            said.setdefault(key, []).extend(values)
        free = [key for key in self.required if key not in said]
        if len(loose) > len(free):
            raise Refused(
                f"'{loose[len(free)]}' is one word too many: usage: {self.parser.usage}; "
                f"see polytask {self.name} --help"
            )
        return {key: [word] for key, word in zip(free, loose, strict=False)} | said

    def _key(self, option: str) -> tuple[str, list[str]]:
        """The parameter that an option names, and what is named within it (--budget.optimizer_options.momentum)."""
        name = option.replace("-", "_")
        if name in {CONFIG, PRINT_CONFIG} or name in self.types:
            return name, []
        whole, below = name, list[str]()
        while "." in whole:
            whole, _, last = whole.rpartition(".")
            below.insert(0, last)
            if whole in self.types and _mapping(self.types[whole]):
                return whole, below
        near = self._nearest(name).replace("did you mean ", "did you mean --")
        raise Refused(f"polytask {self.name} has no option --{option}; {near}")

    def _nearest(self, name: str) -> str:
        known = [*self.types, *self.groups]
        near = get_close_matches(name, known, n=1) or [key for key in known if key.endswith(f".{name}")]
        hint = f"did you mean {self._option(near[0])}? " if near else ""
        return f"{hint}all of them: polytask {self.name} --help"

    def _in_file(self, path: Path) -> dict[str, Any]:
        """What a YAML file says, by parameter."""
        try:
            root = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        except FileNotFoundError:
            raise Refused(f"there is no file {path} for --{CONFIG}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise Refused(not_yaml(path, error)) from None
        if not isinstance(root, dict):
            raise Refused(f"{path} must hold entries such as 'seeds: 3'")
        given: dict[str, Any] = {}
        for key, value in self._flat(root):
            if key not in self.types:
                raise Refused(f"{path}: polytask {self.name} has no setting '{key}'; {self._nearest(key)}")
            given[key] = value
        return given

    def _flat(self, entries: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
        for name, value in entries.items():
            key = f"{above}{str(name).replace('-', '_')}"
            if key in self.groups and isinstance(value, dict):
                yield from self._flat(value, f"{key}.")
            else:
                yield key, value

    def _joined(self, key: str, values: list[Any]) -> Any:
        """One value from the words after an option."""
        if _mapping(self.types[key]) and all(isinstance(each, dict) for each in values):
            return {name: value for each in values for name, value in each.items()}
        if not _many(self.types[key]):
            return values[-1]
        if len(values) == 1 and (values[0].startswith("[") or not _only_many(self.types[key])):
            return values[0]
        return values

    def _ready(self, key: str, value: Any) -> Any:
        hint = self.types[key]
        if get_origin(hint) is type:
            return catalogues.optimizer_path(value)
        return [value] if _only_many(hint) and isinstance(value, str) and not value.startswith("[") else value

    def _check_required(self, given: Mapping[str, Any]) -> None:
        for key in self.required:
            if key not in given:
                raise Refused(
                    f"polytask {self.name} needs {key.upper()}: {self._told(key)}; usage: {self.parser.usage}"
                )

    def _told(self, key: str) -> str:
        """What the docstring says about a parameter."""
        for action in self.parser._actions:
            if action.dest == key:
                return str(action.help).partition("\n")[0].partition(" (")[0]
        return "see --help"

    def _option(self, key: str) -> str:
        return key if "." in key else key.replace("_", "-")

    def _called(self, key: str) -> str:
        return key.upper() if key in self.required else f"--{self._option(key)}"


class _Loader(yaml.SafeLoader):
    """YAML in which `no` is a word and 1e-3 a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":bool", ":float"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?$"),
    list("-+0123456789."),
)


def _parts(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is(hint: Any, kind: type) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, kind)


def _many(hint: Any) -> bool:
    """Several values may follow."""
    return any(_is(each, Sequence) for each in _parts(hint))


def _only_many(hint: Any) -> bool:
    """One value is a list of one."""
    return all(_is(each, Sequence) or each is type(None) for each in _parts(hint))


def _mapping(hint: Any) -> bool:
    return any(_is(each, Mapping) for each in _parts(hint))


def _text(value: Any) -> str:
    """A value as the parser reads it: YAML, in which Static({'a': 1}) would be an entry, with a key and a value."""
    if isinstance(value, str):
        return json.dumps({"class_path": value}) if _CALL_WITH_DICT.fullmatch(value.strip()) else value
    return json.dumps(value)


_CALL_WITH_DICT = re.compile(r"\w+\(.*: .*\)", re.DOTALL)


def _imported(value: Any) -> Any:
    """A class, where the parser left its import path."""
    if isinstance(value, str) and value.startswith("torch.optim."):
        return catalogues.OPTIMIZERS.find(value.rpartition(".")[2])
    return value.as_dict() if hasattr(value, "as_dict") else value
