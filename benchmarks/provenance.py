"""What makes the results of a tuning: versions and code."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

import pml_gpw

from . import (
    balanced,
    contenders,
    folds,
    networks,
    quick_training,
    search_spaces,
    studies,
    tuning_workers,
)

PACKAGES = ("pml-gpw", "torch", "pytorch-metric-learning", "optuna", "numpy", "pillow")
MODULES = (balanced, contenders, folds, networks, quick_training, search_spaces, studies)


def made_with() -> str:
    """Versions, machine and a digest of the code that decides results, in one line."""
    digest = hashlib.sha256()
    here = [Path(str(module.__file__)) for module in (*MODULES, tuning_workers)]
    for source in [*sorted(Path(pml_gpw.__file__).parent.rglob("*.py")), *here]:
        digest.update(source.read_bytes())
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{versions}; Python {platform.python_version()} on {platform.machine()}; "
        f"code {digest.hexdigest()[:12]}"
    )
