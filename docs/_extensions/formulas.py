"""Formulas of docstrings: plain text between single backticks, which the site typesets.

`w_ij = |∂L/∂S_ij|` reads well in a terminal, and is mathematics on a page. A formula that is a
paragraph by itself is displayed.
"""

import re

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx.application import Sphinx

SIGNS = {
    "−": "-",
    "·": r" \cdot ",
    "∈": r" \in ",
    "∪": r" \cup ",
    "≤": r" \leq ",
    "≥": r" \geq ",
    "→": r" \to ",
    "∝": r" \propto ",
    "∞": r" \infty ",
    "∂": r" \partial ",
    "Σ": r" \sum\limits ",
    "½": r" \tfrac{1}{2} ",
    "⁺": "^{+}",
    "⁻": "^{-}",
    "²": "^{2}",
    "ᵀ": r"^{\top}",
    "#": r" \# ",
}
FUNCTIONS = re.compile(r"(?<![A-Za-z_\\])(log|max|min|cos)(?![a-z])")
WORDS = re.compile(r"(?<![A-Za-z_^\\])([A-Za-z]{3,})(?![a-z])")
THIN_SPACE = re.compile(r" (?=\\text|\\log|\\cos)|(?<=\\log|\\cos) ")
INDEX = re.compile(r"_([A-Za-z0-9]+\*?|\+)")
NEXT_EQUATION = re.compile(r", (?=\S+ [=∝] )")


def tex(formula: str) -> str:
    """A formula in plain text as TeX."""
    formula = _with_braces(" ".join(formula.split()))
    formula = re.sub(r"√\(([^()]*)\)", r" \\sqrt{\1}", formula)
    formula = WORDS.sub(r"\\text{\1}", FUNCTIONS.sub(r"\\\1", formula))
    formula = THIN_SPACE.sub(r"\\, ", formula)
    formula = INDEX.sub(r"_{\1}", NEXT_EQUATION.sub(r",\\quad ", formula))
    return "".join(SIGNS.get(sign, sign) for sign in formula)


def _with_braces(formula: str) -> str:
    """Braces that are not those of an index or exponent are shown."""
    found, shown = "", []
    for sign in formula:
        if sign == "{":
            shown.append(not found.endswith(("_", "^")))
        is_shown = shown[-1] if sign == "{" else sign == "}" and shown.pop()
        found += "\\" + sign if is_shown else sign
    return found


def formula_role(
    name: str, raw: str, text: str, line: int, inliner: Inliner
) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """Called by docutils for text between single backticks."""
    return [nodes.math(raw, tex(text))], []


def display(app: Sphinx, document: nodes.document) -> None:
    """Show formulas that are paragraphs by themselves in lines of their own."""
    for paragraph in [*document.findall(nodes.paragraph)]:
        if len(paragraph) == 1 and isinstance(paragraph[0], nodes.math):
            text = paragraph[0].astext()
            paragraph.replace_self(nodes.math_block(text, text, number=None, nowrap=False))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_role("formula", formula_role)
    app.connect("doctree-read", display)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
