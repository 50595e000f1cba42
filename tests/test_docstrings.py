"""Public names carry an example that runs, and docstrings say what things are.

The examples are run by the test command, as doctests.
"""

import ast
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

import pml_gpw

PACKAGE = Path(pml_gpw.__file__).parent
SUBPACKAGES = sorted(
    ".".join(["pml_gpw", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(
        ".__init__"
    )
    for path in PACKAGE.rglob("*.py")
    if "\n__all__ = " in path.read_text(encoding="utf-8")
    and (path.parent.name != "integrations" or find_spec(path.stem))  # each needs its library
)
PLAIN_NAMES = {"Positive", "VARIANTS", "host"}  # values that say what they are


def public_objects():
    for subpackage in SUBPACKAGES:
        module = importlib.import_module(subpackage)
        for name in module.__all__:
            if name not in PLAIN_NAMES:
                yield f"{subpackage}.{name}", getattr(module, name)


@pytest.mark.parametrize(
    ("name", "thing"), public_objects(), ids=lambda v: v if type(v) is str else ""
)
def test_every_public_name_has_an_example(name, thing):
    assert ">>> " in (thing.__doc__ or ""), f"{name} has no example"


def test_docstrings_say_what_things_are():
    questions = ("What ", "Whether ", "How ", "Where ")
    assert [where for where, text in docstrings() if text.startswith(questions)] == []


def docstrings():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield f"{path.relative_to(PACKAGE)}:{getattr(node, 'name', 'module')}", text


def test_no_docstring_only_points_elsewhere():
    found = dict(docstrings())
    assert "modules/gpw_loss.py:GPWLoss" in found
    assert [where for where, text in found.items() if text.startswith(("See ", "As in "))] == []
