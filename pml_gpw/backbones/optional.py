"""Packages that only some backbones need."""

import importlib
from typing import Any


def optional(module: str) -> Any:
    """Import a module of timm, pytorchcv or torchvision, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"this backbone needs {module.partition('.')[0]}, which has its architecture: "
            'pip install "pml-gpw[backbones]"'
        ) from error
