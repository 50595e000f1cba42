"""The files to which the records of a data set lead, and whether they may be read."""

import os
import stat
from collections.abc import Hashable, Iterable, Iterator
from functools import cache
from typing import NamedTuple

from .records import ImageRecord

FileIdentity = Hashable  # equal for two paths exactly if they lead to the same file


class InspectedFile(NamedTuple):
    """The file to which a record leads.

    Attributes:
        record: the record.
        identity: what tells whether two paths lead to the same file.
        escape: how the path leaves the root, or None.
        unusable: why the file cannot be an image, such as "is missing", or None.
    """

    record: ImageRecord
    identity: FileIdentity
    escape: str | None = None
    unusable: str | None = None


class Root:
    """The root of a data set, and which paths are in it.

    ``allow_links`` allows links that lead out of it; paths that lead out of it by themselves, by
    ``..`` or by an absolute path, are never in it.
    """

    def __init__(self, path: str | os.PathLike[str], allow_links: bool) -> None:
        self.path = os.path.abspath(path)
        self.real_path = os.path.realpath(path)
        self.allow_links = allow_links
        self._escape = cache(self._folder_escape)  # of few folders with many files

    def path_escape(self, path: str) -> str | None:
        """Return how the path of a file leaves the root by itself or by its folders' links."""
        folder, name = os.path.split(path)
        return self._escape(path if name in ("", os.curdir, os.pardir) else folder)

    def _folder_escape(self, folder: str) -> str | None:
        if not _is_in(os.path.abspath(folder), self.path):
            return f"leaves root, {self.path}"
        return self.link_escape(folder)

    def link_escape(self, path: str) -> str | None:
        """Return how the links of a path leave the root."""
        target = os.path.realpath(path)
        if self.allow_links or _is_in(target, self.real_path):
            return None
        return f"leads to {target} by a link, out of root; allow_links=True allows it"


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def inspect_files(root: Root, records: Iterable[ImageRecord]) -> list[InspectedFile]:
    """Look up the file of each record."""
    return [_inspect_file(root, record) for record in records]


def _inspect_file(root: Root, record: ImageRecord) -> InspectedFile:
    path = record.path
    try:
        escape = root.path_escape(path)
        if escape is None:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                escape = root.link_escape(path)
                status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL character
        return InspectedFile(record, os.path.normpath(path), unusable="is missing")
    if escape is not None:
        return InspectedFile(record, os.path.normpath(path), escape=escape)
    unusable = None
    if not stat.S_ISREG(status.st_mode):
        unusable = "is not a file"
    elif not status.st_size:
        unusable = "is empty"
    return InspectedFile(record, _identity(path, status), unusable=unusable)


def _identity(path: str, status: os.stat_result) -> FileIdentity:
    if status.st_ino:
        return status.st_dev, status.st_ino
    return os.path.normcase(os.path.realpath(path))  # a file system without file numbers


def paths_escaping_root(files: list[InspectedFile]) -> Iterator[str]:
    """Find paths that leave the root."""
    for record, _, escape, _ in files:
        if escape is not None:
            yield f"{record.location}: {record.path} {escape}"


def unusable_files(files: list[InspectedFile]) -> Iterator[str]:
    """Find files that are missing, empty or no files."""
    for record, _, _, unusable in files:
        if unusable is not None:
            yield f"{record.location}: {record.path} {unusable}"


def duplicate_files(files: list[InspectedFile]) -> Iterator[str]:
    """Find files that are listed twice: such an image is its own nearest neighbour."""
    first: dict[FileIdentity, ImageRecord] = {}
    for record, identity, *_ in files:
        earlier = first.setdefault(identity, record)
        if earlier is record:
            continue
        if earlier.path == record.path:
            yield f"{record.location}: {record.path} is also in {earlier.location}"
        else:
            yield (
                f"{record.location}: {record.path} is the same file as {earlier.path} "
                f"({earlier.location})"
            )


CHECKS_OF_FILES = (paths_escaping_root, duplicate_files, unusable_files)


def first_problem(root: Root, records: list[ImageRecord]) -> str | None:
    """Return the first problem of the files, or None."""
    files = inspect_files(root, records)
    return next((problem for check in CHECKS_OF_FILES for problem in check(files)), None)
