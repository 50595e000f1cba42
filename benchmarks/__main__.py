"""The commands of this folder, each with the first line of its docstring."""

import ast
from pathlib import Path

if __name__ == "__main__":
    print("python -m benchmarks.COMMAND --help\n")
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        print(f"{path.stem:<20}{text.partition(chr(10))[0]}")
