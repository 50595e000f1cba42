"""Arrays that are computed once and kept in a file, which is complete and current or replaced.

The file is a SHA-256 digest followed by the NumPy ``.npz`` archive of which it is the digest.
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

KEY_ENTRY = "cache_key"  # the entry of the file that says from what its arrays were made
_FOREIGN = "was made by another version of this package, its fonts or its libraries"
_DIGEST_SIZE = hashlib.sha256().digest_size


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
    except _UnusableFileError as reason:
        warnings.warn(f"{path} {reason}; building it again", stacklevel=3)
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


class _UnusableFileError(Exception):
    """A cache file cannot be used; the message is the end of a sentence about it."""


def _read(path: Path, cache_key: str) -> Arrays:
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise _UnusableFileError(f"cannot be read ({error.strerror})") from error
    digest, payload = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
    # The checksums inside a zip file leave out the names of its entries, so all is digested.
    if digest != hashlib.sha256(payload).digest():
        raise _UnusableFileError("is damaged")
    try:
        with np.load(io.BytesIO(payload), allow_pickle=False) as file:
            arrays = dict(file)
        found = str(arrays.pop(KEY_ENTRY))
    except Exception as error:  # whole, and not of this version: NumPy raises whatever it likes
        raise _UnusableFileError(_FOREIGN) from error
    if found != cache_key:
        raise _UnusableFileError(_FOREIGN)
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    payload = io.BytesIO()
    np.savez(payload, **arrays)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file can be moved in one step only within a file system, hence the same folder.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(payload.getbuffer()).digest())
            file.write(payload.getbuffer())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
