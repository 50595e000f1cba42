"""Formulas as MathML, which browsers show by themselves: no script and no network for readers."""

import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

TIGHT = re.compile('<mo(?: stretchy="false")?>(&#x0007C;|&#x0002F;|&#x02202;)</mo>')
"""Bars, slashes and ∂, around which browsers would leave the room of an operator."""

logger = logging.getLogger(__name__)


def mathml(node: nodes.Element, display: str) -> str:
    """A formula as MathML; a warning names a command that the converter does not know."""
    formula = node.astext()
    markup = convert(formula, display=display)
    if "\\" in markup:
        logger.warning("formula has an unknown command: %s", formula, location=node)
    return TIGHT.sub(r'<mi mathvariant="normal">\1</mi>', markup)


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    """A formula in a line of text."""
    translator.body.append(mathml(node, "inline"))
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """A formula in lines of its own, which scrolls where a screen is too narrow for it."""
    translator.body.append(f'<div class="formula">{mathml(node, "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
