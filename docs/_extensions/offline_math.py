"""Formulas as MathML, which browsers draw themselves: the manual loads nothing from the network."""

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger(__name__)


def _write(writer: Any, node: nodes.Element, as_block: bool) -> None:
    tex = node.astext()
    try:
        writer.body.append(tex2mathml(tex, as_block=as_block))
    except MathError as error:
        log.warning("a formula that cannot be drawn: %s (%s)", tex, error, location=node)
        writer.body.append(f"<code>{writer.encode(tex)}</code>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(lambda writer, node: _write(writer, node, as_block=False), None),
        block_renderers=(lambda writer, node: _write(writer, node, as_block=True), None),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
