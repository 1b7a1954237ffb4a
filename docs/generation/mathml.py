"""Formulas as MathML, which browsers draw by themselves: no script, no font and no other host."""

from typing import Any

import latex2mathml.converter


def setup(app: Any) -> None:
    """Register the writer of formulas."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.config.html_math_renderer = "mathml"


def _inline(writer: Any, node: Any) -> None:
    writer.body.append(latex2mathml.converter.convert(node.astext()))
    _done()


def _block(writer: Any, node: Any) -> None:
    writer.body.append(f'<div class="formula">{latex2mathml.converter.convert(node.astext(), display="block")}</div>')
    _done()


def _done() -> None:
    from docutils import nodes

    raise nodes.SkipNode
