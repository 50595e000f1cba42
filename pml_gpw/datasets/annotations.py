"""Annotation files in text form: lines with their locations, which error messages name."""

import os
import reprlib
from collections.abc import Iterator
from pathlib import Path

MAX_DIGITS = 18  # labels are 64-bit integers


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (location, line) for each line that is not blank.

    A byte order mark and Windows line ends are no part of a line.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def read_text(path: Path) -> str:
    """Return the content of a file, or raise a ValueError that names it."""
    refuse_special_file(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as text: {error}") from error


def refuse_special_file(path: Path) -> None:
    """Raise a ValueError for a pipe, socket or device, of which reading may never end."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise ValueError(f"{path} must be a regular file, got a pipe, socket or device")


def image_path(location: str, folder: Path, text: str) -> str:
    """Return the path of the image ``text`` in ``folder``; a ValueError for that of a folder."""
    if text.endswith(("/", "/.")):  # pathlib would drop it
        raise ValueError(f"{location}: must name a file, got {reprlib.repr(text)}")
    return str(folder / text)


def parse_class_id(location: str, text: str, last: int) -> int:
    """Return ``text`` as an integer in 1..``last``, or raise a ValueError."""
    class_id = parse_integer(location, "the class id", text)
    if not 1 <= class_id <= last:
        raise ValueError(f"{location}: the class id must be in 1..{last}, got {class_id}")
    return class_id


def parse_integer(location: str, name: str, text: str) -> int:
    """Return ``text`` as an integer >= 0, or raise a ValueError that names the location."""
    if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS:
        raise ValueError(
            f"{location}: {name} must be an integer >= 0 of at most {MAX_DIGITS} digits, "
            f"got {reprlib.repr(text)}"
        )
    return int(text)


def split_fields(location: str, line: str, form: str, path_first: bool = False) -> list[str]:
    """Return the fields of a line of the form "id path", whose path may contain blanks.

    The path is the last field, or the first with ``path_first``.
    """
    count = len(form.split())
    split = line.rsplit if path_first else line.split
    fields = split(maxsplit=count - 1)
    if len(fields) != count:
        raise ValueError(f"{location}: must have the form {form!r}, got {reprlib.repr(line)}")
    return fields
