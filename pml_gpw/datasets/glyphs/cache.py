"""Arrays that are computed once and kept in a file, which is complete and current or replaced.

The file is a ``.npz`` archive of NumPy, whose checksums cover the arrays.
"""

import os
import reprlib
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

KEY_ENTRY = "cache_key"  # the entry of the file that says from what its arrays were made


def default_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/pml-gpw``; ``~/.cache/pml-gpw`` if that is not an absolute path."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "pml-gpw"


def load_or_build(path: Path, cache_key: str, build: Callable[[], Arrays]) -> Arrays:
    """Return the arrays in ``path`` if it is complete and has this key; else build and save them.

    A warning tells when a file exists and has to be replaced, and when it cannot be written: the
    arrays are then good, and built again the next time. Several processes may call this at the
    same time: each writes a file of its own and moves it into place in one step, so a reader sees
    a complete file or none.
    """
    try:
        return _read(path, cache_key)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except Exception as error:  # NumPy raises exceptions of every kind on damaged files
        warnings.warn(
            f"{path} cannot be used ({error}): it is damaged, or was made by another version of "
            "this package, its fonts or its libraries; building it again",
            stacklevel=3,
        )
    arrays = build()
    try:
        _write(path, {KEY_ENTRY: np.array(cache_key), **arrays})
    except OSError as error:
        warnings.warn(
            f"{path} cannot be written ({error.strerror or error}); going on without it, which "
            "takes some seconds each time: make room for it, allow access, remove what is in its "
            "place, or give another folder as root",
            stacklevel=3,
        )
    return arrays


def _read(path: Path, cache_key: str) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    if (found := str(arrays.pop(KEY_ENTRY, None))) != cache_key:
        raise ValueError(f"its key is {reprlib.repr(found)}")
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file can be moved in one step only within a file system, hence the same folder.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
