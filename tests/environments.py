"""Environments in which the tests run: beside pytorch-metric-learning 2.9, without it, beside 3.

``PML_GPW_ENVIRONMENT`` is "none" or "pml3" for the others than the first. The release 3 that is
imitated calls itself 3.0.4 and has nothing of what 2.9 had: its own modules cannot be had here.
"""

import importlib.abc
import importlib.machinery
import os
import re
import sys
import types
from pathlib import Path

NAME = "PML_GPW_ENVIRONMENT"
PACKAGE = "pytorch_metric_learning"
NEEDS_PML = re.compile(
    r"^\s*(from|import) pytorch_metric_learning"
    r"|^\s*from pml_gpw\.(hosts\.pml2|reducers) import"
    r"|\bRecallCalculator\b"
    r"|^from pml_gpw\.losses import .*PairSimilarityLoss"
    r"|^\s*from (tests|\.+)\.?(hosts|contract)\b"
    r"|^from \.\. import (mining_)?contract\b",
    re.MULTILINE,
)
"""What a test imports that needs PML 2.9."""


class _Absent(importlib.abc.MetaPathFinder):
    """Finds nothing of PML: as where it is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


class _Release3(_Absent):
    """Finds the package alone, without a ``__version__``."""

    def find_spec(self, name, path=None, target=None):
        if name == PACKAGE:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return super().find_spec(name, path, target)

    def create_module(self, spec):
        return types.ModuleType(spec.name, "A release 3 that has none of the modules of 2.9.")

    def exec_module(self, module):
        pass


def enter(environment):
    """Make the imports of this process those of an environment, before anything is imported."""
    if environment:
        assert PACKAGE not in sys.modules
        sys.meta_path.insert(0, {"none": _Absent, "pml3": _Release3}[environment]())


def current():
    """The name of the environment of this process; "" for PML 2.9."""
    return os.environ.get(NAME, "")


def needs_pml(path: Path) -> bool:
    """True for a file of tests that PML 2.9 is needed for."""
    return path.suffix == ".py" and NEEDS_PML.search(path.read_text(encoding="utf-8")) is not None
