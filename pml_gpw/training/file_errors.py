"""Errors of files and disks as one line that names the file and says what to do."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
MISPLACED = {errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY}
BROKEN = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE}
ADVICE = (
    (FULL, "make room on its disk, or give another folder"),
    (CLOSED, "allow access to it, or give another folder"),
    (MISPLACED, "remove what is in its place, or give another folder"),
    ({errno.ENAMETOOLONG}, "give a shorter path"),
    ({errno.ENOENT}, "put it back, or give another path"),
)
ELSE = "look at its disk, or give another folder"


class FileError(Exception):
    """A file cannot be used. The message names it and says what to do.

    Example:
        >>> from pathlib import Path
        >>> from pml_gpw.training import FileError
        >>> from pml_gpw.training.file_errors import reading_file
        >>> try:
        ...     with reading_file(Path("weights.pt"), advice="download it again"):
        ...         raise EOFError
        ... except FileError as error:
        ...     print(error)
        weights.pt is damaged, or not what it should be; download it again
    """


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Let errors of the system in this block be a :class:`FileError` of ``path``."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if named := as_file_error(error, path, surely=True):
            raise named from error
        raise


@contextmanager
def reading_file(path: Path, advice: str) -> Iterator[None]:
    """Let whatever goes wrong in this block, which makes sense of ``path``, be its FileError.

    ``advice`` says what to do. That memory is short stays what it is.
    """
    try:
        yield
    except (FileError, MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror or error}); {advice}") from error
    except Exception as error:  # damaged files raise exceptions of every kind
        raise FileError(f"{path} is damaged, or not what it should be; {advice}") from error


def as_file_error(error: Exception, path: object, surely: bool = False) -> FileError | None:
    """The fault of a file that an error tells of; None where it is not about files.

    An error of the system that names neither file nor reason is only ``surely`` about one.
    """
    if isinstance(error, shutil.Error):  # of a folder that was copied: source, target, reason
        source, target, reason = error.args[0][0]
        return FileError(f"{target} cannot be copied from {source} ({reason}); {_advice(None)}")
    if isinstance(error, OSError):
        known = surely or error.filename is not None or error.errno in FULL | CLOSED | BROKEN
        if error.errno == errno.EPIPE or not known:  # EPIPE: a reader of the output has gone
            return None
        reason = error.strerror or str(error)
        return FileError(f"{path} cannot be used ({reason}); {_advice(error.errno)}")
    # All that torch tells of a file that it cannot write.
    if "inline_container" in str(error) or "PytorchStreamWriter" in str(error):
        return FileError(f"{path} cannot be written to its end; {_advice(errno.ENOSPC)}")
    return None


def _advice(number: int | None) -> str:
    return next((text for numbers, text in ADVICE if number in numbers), ELSE)
