"""The folders of benchmarks/: imports run downward, and reading a result imports no trainer."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks

HERE = Path(benchmarks.__file__).parent
BELOW = {"data": set(), "measure": {"data"}, "report": {"data", "measure"}}
FILES = sorted(path for path in HERE.rglob("*.py") if path.name != "__init__.py")
TRAINERS = ("pml_gpw.training.trainer", "pml_gpw.training.run", "benchmarks.measure.runs")


def imported(path):
    """What a file imports of benchmarks, as parts of names."""
    package = path.relative_to(HERE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = node.module.split(".") if node.module else []
            yield from ([*base, *names] if names else [*base, a.name] for a in node.names)


def test_imports_run_downward_in_at_most_fourteen_rooms_and_commands():
    commands = {*BELOW, *(p.stem for p in HERE.glob("[!_]*.py"))}
    assert {path.parent.name for path in HERE.glob("*/__init__.py")} == {*BELOW}
    assert len(commands) <= 14
    for path in FILES:
        folder = path.parent.name if path.parent != HERE else None
        for names in imported(path):
            assert names[0] in {folder} | BELOW.get(folder, commands), f"{path}: {names}"


@pytest.mark.exhaustive
def test_reading_a_result_imports_no_trainer():
    code = "import sys, benchmarks.tables, benchmarks.tuning_report, benchmarks.report.collected; "
    code += f"print([m for m in {TRAINERS!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
