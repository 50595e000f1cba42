"""Text files of annotations: lines with their places, so that an error can name them."""

from collections.abc import Iterator
from pathlib import Path


def lines(path: Path, skip: int = 0) -> Iterator[tuple[str, str]]:
    """(place, line) of each line that is not blank, after the first ``skip``.

    A byte order mark and Windows line ends are no part of a line.
    """
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        if number > skip and line.strip():
            yield f"{path}, line {number}", line.strip()


def text_of(path: Path) -> str:
    """The content of a file, or a ValueError naming it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as text: {error}") from error


def integer(place: str, what: str, text: str) -> int:
    """``text`` as an integer >= 0, or a ValueError naming the place."""
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{place}: {what} must be an integer >= 0, got {text!r}")
    return int(text)


def fields(place: str, line: str, form: str, from_right: bool = False) -> list[str]:
    """The words of a line of the form "id path"; the path may hold blanks.

    It is the last field, or with ``from_right`` the first.
    """
    count = len(form.split())
    split = line.rsplit if from_right else line.split
    words = split(maxsplit=count - 1)
    if len(words) != count:
        raise ValueError(f"{place}: must have the form {form!r}, got {line!r}")
    return words
