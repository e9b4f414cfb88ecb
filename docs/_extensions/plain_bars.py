"""`|g|` in a docstring is the length of g: bars are text, not the substitutions of reStructuredText."""

import re
from typing import Any

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx.application import Sphinx


def _text(_: Inliner, match: re.Match[str], line: int) -> tuple[str, list[nodes.Node], str, list[nodes.Node]]:
    end = match.end("start")
    return match.string[:end], [], match.string[end:], []


def setup(app: Sphinx) -> dict[str, Any]:
    Inliner.dispatch = {**Inliner.dispatch, "|": _text}
    return {"parallel_read_safe": True, "parallel_write_safe": True}
