"""On what a result was computed: versions, machine and code."""

import ast
import hashlib
import inspect
import platform
import textwrap
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FunctionType

import torch

from .. import __version__

PACKAGE = Path(__file__).parents[1]
NOT_TRAINED_WITH = ("analysis", "integrations", "pair_weight_table.py")
"""Rooms and files of the package that nothing that trains imports."""
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def environment(*others: str) -> str:
    """Versions and machine in one line; ``others``: further packages that matter, if installed."""
    return f"{versions(*others)} on {platform.machine()}, {torch.get_num_threads()} threads"


def versions(*others: str) -> str:
    """The version of this package, as its code says, of the others and of Python."""
    packages = ("torch", "pytorch-metric-learning", *others)
    known = ", ".join(filter(None, map(_name_and_version, packages)))
    return f"pml-gpw {__version__}, {known}; Python {platform.python_version()}"


def _name_and_version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def device_name(device: torch.device) -> str:
    """The name of a GPU, or the kind of any other device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def code_digest(others: Iterable[Path] = ()) -> str:
    """Names the code of this package that trains, and of the files ``others``, by what it does."""
    own = (path for path in sorted(PACKAGE.rglob("*.py")) if _trains(path))
    return source_digest([*own, *others])


def _trains(path: Path) -> bool:
    """False for files on which no result of a training depends, such as those of plots."""
    return path.relative_to(PACKAGE).parts[0] not in NOT_TRAINED_WITH


def source_digest(paths: Iterable[Path]) -> str:
    """Names the code of files by what it does: comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(_what_it_does(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()[:12]


def function_digest(functions: Iterable[FunctionType]) -> str:
    """Names functions by what they do, as :func:`code_digest`; those without source do not count.

    >>> function_digest([])
    'e3b0c44298fc'
    """
    digest = hashlib.sha256()
    for function in functions:
        try:
            text = textwrap.dedent(inspect.getsource(function))
        except (OSError, TypeError):  # typed into an interpreter
            continue
        try:
            digest.update(_what_it_does(text).encode())
        except SyntaxError:  # a lambda in the middle of a statement
            digest.update(text.encode())
    return digest.hexdigest()[:12]


def _what_it_does(source: str) -> str:
    """Source without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, Documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
