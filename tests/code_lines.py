"""Code lines by room: `python -m tests.code_lines [FOLDER …]`.

A line counts that holds a token of code; blank lines, comments, imports and the docstrings of
modules, classes and functions do not.
"""

import ast
import io
import sys
from collections import Counter
from pathlib import Path
from tokenize import COMMENT, DEDENT, ENDMARKER, INDENT, NEWLINE, NL, generate_tokens

ROOT = Path(__file__).parents[1]
FOLDERS = ("pml_gpw", "benchmarks")
QUIET = {COMMENT, DEDENT, ENDMARKER, INDENT, NEWLINE, NL}


def code_lines(text: str) -> int:
    """The number of code lines of a Python file."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            left_out |= lines_of(node)
        elif isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                left_out |= lines_of(first)
    code: set[int] = set()
    for token in generate_tokens(io.StringIO(text).readline):
        if token.type not in QUIET:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - left_out)


def lines_of(node: ast.stmt) -> set[int]:
    """The numbers of the lines of a statement."""
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def by_room(folder: Path) -> Counter[str]:
    """The code lines of each subfolder of a folder, and of each file directly in it."""
    rooms: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.py")):
        rooms[path.relative_to(folder).parts[0]] += code_lines(path.read_text(encoding="utf-8"))
    return rooms


if __name__ == "__main__":
    for name in sys.argv[1:] or FOLDERS:
        rooms = by_room(ROOT / name)
        print(f"{sum(rooms.values()):6,}  {name}")
        for room, lines in rooms.most_common():
            print(f"{lines:6,}    {room}")
