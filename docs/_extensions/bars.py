"""Bars in docstrings are mathematics, |∂L/∂S|, and not the substitutions of reStructuredText."""

import re

from sphinx.application import Sphinx

CODE_OR_BAR = re.compile(r"(``.*?``|`[^`]+`)|\|")


def escape_bars(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Escape the bars of a docstring, in place, but for those in code and formulas."""
    in_example = False
    for number, line in enumerate(lines):
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        if not in_example:
            lines[number] = CODE_OR_BAR.sub(lambda found: found.group(1) or r"\|", line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", escape_bars)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
