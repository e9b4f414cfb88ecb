"""The help of a command: options as they are typed here, defaults as people write them."""

from argparse import SUPPRESS, Action, HelpFormatter
from collections.abc import Mapping
from functools import partial
from typing import Any

from jsonargparse import DefaultHelpFormatter

from polytask.balancing import Balancer
from polytask.cli.catalogues import balancer_words, plain_words
from polytask.training import Schedule

PRINT_CONFIG = "print all that is said here as a YAML file for --config, and exit"


class Formatter(DefaultHelpFormatter):
    """Shows `NAME` for what needs no option, and several values as they are typed: one after the other.

    Args:
        prog: see argparse.
        required: parameters that may be given without their option.
        many: parameters of which several values may follow.
    """

    def __init__(self, prog: str, required: tuple[str, ...], many: tuple[str, ...], **more: Any) -> None:
        super().__init__(prog, **more)
        self.required, self.many = required, many

    def _get_help_string(self, action: Action) -> str:
        if action.dest == "print_config":
            return PRINT_CONFIG
        told = (action.help or "").rstrip(".")
        default = in_words(action.default)
        if default and action.dest != SUPPRESS and action.option_strings:
            source = "the problem's own, else " if "." in action.dest else ""
            told += f" (default: {source}{default})"
        return told.replace("%", "%%") if "%(" in told else told

    def _format_action_invocation(self, action: Action) -> str:
        if action.dest in self.required:
            return action.dest.upper()
        if action.dest == "help" or not action.option_strings:
            return HelpFormatter._format_action_invocation(self, action)
        name = action.dest if "." in action.dest else action.dest.replace("_", "-")
        last = action.dest.rpartition(".")[2].upper()
        value = "" if action.dest == "print_config" else f" {last}"
        return f"--{name}{value}{' ...' if action.dest in self.many else ''}"


def formatter(required: list[str], many: list[str]) -> Any:
    """The formatter of one command, as argparse wants it."""
    return partial(Formatter, required=tuple(required), many=tuple(many))


def in_words(value: Any) -> str:
    """A default as it would be typed; nothing for none.

    >>> from polytask.balancing import PCGrad
    >>> in_words((PCGrad(seed=3), PCGrad())), in_words(None), in_words(0.5)
    ('PCGrad(seed=3) PCGrad', '', '0.5')
    """
    if value is None or value is SUPPRESS or (isinstance(value, tuple | list | Mapping) and not value):
        return ""
    if isinstance(value, tuple | list):
        return " ".join(map(in_words, value))
    if isinstance(value, Balancer):
        return balancer_words(value)
    if isinstance(value, Schedule):
        return plain_words(value)
    if isinstance(value, Mapping):
        return str(value.get("class_path", value)).rpartition(".")[2]
    return value.__name__ if isinstance(value, type) else str(value)
