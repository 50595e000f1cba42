"""The Python blocks of a Markdown page, run as a reader would: top to bottom, nothing given."""

import re
from pathlib import Path

# a block whose fence has more words, as "python no-run", is shown and not run
BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def python_blocks(page: Path) -> list[str]:
    """The blocks of a page, each at its line, so that a traceback names the line of the page."""
    text = page.read_text(encoding="utf-8")
    return ["\n" * text[: m.start(1)].count("\n") + m.group(1) for m in BLOCK.finditer(text)]


def run_page(page: Path) -> dict[str, object]:
    """Run the blocks of a page in order in one fresh namespace, which is returned."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in python_blocks(page):
        exec(compile(block, str(page), "exec"), namespace)
    return namespace
