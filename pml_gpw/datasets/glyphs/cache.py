"""Arrays computed once and kept in a file that is either whole and current or replaced.

The file is a SHA-256 digest followed by what it is the digest of, a NumPy ``.npz`` archive.
"""

import hashlib
import io
import os
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

RECIPE = "recipe"  # the file's own entry that says how its arrays were made
_DIGEST_SIZE = hashlib.sha256().digest_size


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


class _Unusable(Exception):
    """Why a cache file cannot be used, as the end of a sentence about it."""


def _read(path: Path, recipe: str) -> Arrays:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _Unusable(f"cannot be read ({error})") from error
    digest, payload = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
    # Of the whole payload: the checksums inside a zip file leave out the names of its entries.
    if digest != hashlib.sha256(payload).digest():
        raise _Unusable("is damaged")
    with np.load(io.BytesIO(payload), allow_pickle=False) as file:
        arrays = dict(file)
    if str(arrays.pop(RECIPE)) != recipe:
        raise _Unusable("was made by another version of this package, its fonts or its libraries")
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    payload = io.BytesIO()
    np.savez(payload, **arrays)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same folder, because a file can be moved in one step only within a file system.
    mine = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with mine.open("wb") as file:
            file.write(hashlib.sha256(payload.getbuffer()).digest())
            file.write(payload.getbuffer())
        os.replace(mine, path)
    finally:
        mine.unlink(missing_ok=True)
