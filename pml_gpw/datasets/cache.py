"""Arrays computed once and kept in a file that is either whole and current or replaced."""

import os
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

RECIPE = "recipe"  # the file's own entry that says how its arrays were made


def user_folder() -> Path:
    """``$XDG_CACHE_HOME/pml-gpw``, or ``~/.cache/pml-gpw`` where that is not an absolute path."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "pml-gpw"


def load_or_build(path: Path, recipe: str, build: Callable[[], Arrays]) -> Arrays:
    """The arrays in ``path`` if it is whole and made by ``recipe``; else build and keep them.

    Warns when a file is there and has to be replaced. Processes may do this at the same time:
    each writes a file of its own and moves it into place in one step, so a reader sees a whole
    file or none.
    """
    if path.exists():
        try:
            return _read(path, recipe)
        except _Unusable as reason:
            warnings.warn(f"{path} {reason}; building it again", stacklevel=3)
    arrays = build()
    _write(path, {RECIPE: np.array(recipe), **arrays})
    return arrays


# What reading a damaged file raises, depending on where the damage is. (A file that is one bare
# array has no entries: AttributeError.)
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    AttributeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


class _Unusable(Exception):
    """Why a cache file cannot be used, as the end of a sentence about it."""


def _read(path: Path, recipe: str) -> Arrays:
    try:
        # Every entry of the zip file carries a checksum, and reading it all checks it.
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            made_by = str(arrays.pop(RECIPE))
    except _DAMAGE as error:
        raise _Unusable(f"is damaged ({error})") from error
    if made_by != recipe:
        raise _Unusable("was made by another version of this package, its fonts or its libraries")
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same folder, because a file can be moved in one step only within a file system.
    mine = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with mine.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(mine, path)
    finally:
        mine.unlink(missing_ok=True)
