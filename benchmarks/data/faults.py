"""Faults of files and disks: one line that names the file and says what to do, exit code 1.

Errors of the program itself keep their traceback.
"""

import functools
import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec

import torch
import typer

from pml_gpw.training.file_errors import CLOSED, FULL, FileError, as_file_error, naming_file

Options = ParamSpec("Options")

FRESH = "--fresh trains the run again"
AGAIN = f"{FRESH}, or remove the folder of the run"
LONGEST_WORD, LONGEST = 300, 1000  # characters of a message
_SQLITE_ADVICE = {  # by what SQLite says; of its other errors the program is to blame
    "full": "make room on its disk, or give another folder (--output)",
    "disk I/O": "make room on its disk, or give another folder (--output)",
    "readonly": "allow access to it, or give another folder",
    "unable to open": "allow access to it, or give another folder",
    "not a database": FRESH,
    "malformed": FRESH,
}


class DivergedError(ArithmeticError):
    """A training has left the finite numbers."""


def bad(option: str, message: str) -> typer.BadParameter:
    """An option that cannot be, named."""
    return typer.BadParameter(message, param_hint=option)


def integers(option: str, text: str, least: int, most: int) -> list[int]:
    """The comma-separated integers of an option, each within the bounds."""
    parts = [part.strip() for part in text.split(",")]
    if all(part.isascii() and part.isdigit() and len(part) <= len(str(most)) for part in parts):
        values = [int(part) for part in parts]
        if least <= min(values) and max(values) <= most:
            return values
    raise bad(option, f"must be integers in {least}..{most}, comma-separated, got {text!r}")


def usable_device(name: str) -> torch.device:
    """The device of ``--device``, on which a number has been computed."""
    try:
        number = torch.ones(1, device=name)
        number.item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        message = f"must be a device that torch has here, got {name!r} ({reason})"
        raise bad("--device", message) from None
    return number.device


def command(main: Callable[Options, None]) -> Callable[Options, None]:
    """Let a command tell faults of files, and that memory is short, in one line: exit code 1."""

    @functools.wraps(main)
    def telling(*args: Options.args, **kwargs: Options.kwargs) -> None:
        try:
            main(*args, **kwargs)
        except typer.BadParameter as error:
            error.message = short(error.message)
            raise
        except (FileError, OSError) as error:
            fault = error if isinstance(error, FileError) else as_file_error(error, error.filename)
            if fault is None:
                raise
            typer.echo(f"Error: {short(str(fault))}", err=True)
            raise typer.Exit(1) from error
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            typer.echo("Error: the memory does not suffice; give smaller numbers", err=True)
            raise typer.Exit(1) from error

    return telling


def _is_out_of_memory(error: Exception) -> bool:
    known = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
    return known or "DefaultCPUAllocator" in str(error)


@contextmanager
def within(folder: Path) -> Iterator[None]:
    """Let errors of the system in this block that name no file be faults of ``folder``."""
    try:
        yield
    except (OSError, sqlite3.Error, RuntimeError) as error:
        if getattr(error, "filename", None) is None and (fault := _fault(error, folder)):
            raise fault from error
        raise


def output_folder(path: Path) -> None:
    """Make the folder of ``--output`` and write to it, before any work is done for it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in FULL | CLOSED and (fault := as_file_error(error, path)):
            raise fault from error
        raise bad("--output", f"must be a folder to write to, got {str(path)!r}") from error
    with naming_file(path):
        handle, name = tempfile.mkstemp(dir=path, prefix=".writable-")
        try:
            os.write(handle, bytes(4096))
        finally:
            os.close(handle)
            os.unlink(name)


def short(text: str) -> str:
    """A message in one line, without the middle of what is very long in it."""
    line = " ".join(text.split())
    line = re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: _cut(word[0], LONGEST_WORD), line)
    return _cut(line, LONGEST)


def _cut(text: str, most: int) -> str:
    if len(text) < most:
        return text
    return f"{text[: most // 3]}… ({len(text):,} characters) …{text[-most // 3 :]}"


def _fault(error: OSError | sqlite3.Error | RuntimeError, folder: Path) -> FileError | None:
    """What an error says of the files of a run; None where it is not about files."""
    if not isinstance(error, sqlite3.Error):
        return as_file_error(error, folder)
    advice = next((a for part, a in _SQLITE_ADVICE.items() if part in str(error)), None)
    return None if advice is None else FileError(f"{folder}: its database: {error}; {advice}")
