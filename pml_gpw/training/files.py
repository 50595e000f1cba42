"""Files that are either whole or not there."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from .file_errors import naming_file


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path`` and then put it in its place.

    Where the system cannot, the fault names ``path``, which is then as it was.
    """
    with naming_file(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
        os.close(handle)
        try:
            write(Path(name))
            _flush(name)
            os.chmod(name, 0o644)  # mkstemp makes private files
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)


def _flush(name: str) -> None:
    """Wait until the content is on the disk, which may say only now that it is full."""
    handle = os.open(name, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
