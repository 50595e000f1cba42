"""Archives that are fetched, checked and unpacked so that a folder is complete or absent."""

import os
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from ..optional import import_optional
from .annotations import refuse_special_file


class Archive(NamedTuple):
    """A published zip or tar file.

    Its address, its MD5 sum, the folder wanted from it, and the name of the file itself.
    """

    url: str
    md5: str
    folder: str
    filename: str


def download(archive: Archive, root: str | os.PathLike[str]) -> bool:
    """Put ``archive.folder`` below ``root`` unless it exists; return whether it was put there.

    The archive is fetched by pooch, which compares its checksum; it is unpacked beside its
    destination, and the folder is moved there in one step: an interruption leaves
    nothing that looks like a data set. The archive is removed once it is unpacked. If unpacking
    fails, it stays as ``root/<filename>``; an archive of that name is used and not fetched again,
    also one that was put there by hand, which is not removed.

    No path of an archive leads out of the folder: that of a zip file is cut to one inside.

    Raises:
        ValueError: if the file is not the published one, or a tar file has a path outside of its
            folder.
        OSError: if it cannot be fetched or written.
        ImportError: without pooch, or without backports.tarfile where Python is too old to unpack
            a tar file safely.
    """
    target = Path(root, archive.folder)
    if target.exists():
        return False
    pooch = import_optional("pooch", "datasets")
    if not archive.filename.endswith(".zip"):
        _tarfile_with_filters()  # an ImportError comes before the download, not after it
    target.parent.mkdir(parents=True, exist_ok=True)
    file = target.parent / archive.filename
    refuse_special_file(file)
    was_there = file.exists()
    if was_there and (md5 := pooch.file_hash(str(file), alg="md5")) != archive.md5:
        raise ValueError(
            f"{file} must be the published file, of MD5 sum {archive.md5}, got {md5}; "
            "remove it or rename it"
        )
    checksum = f"md5:{archive.md5}"
    pooch.retrieve(archive.url, checksum, archive.filename, target.parent, progressbar=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as temporary:
        unpacked = Path(temporary, "unpacked")
        _extract(file, unpacked)
        if not (unpacked / archive.folder).is_dir():
            raise ValueError(f"{file} must hold the folder {archive.folder}, and does not")
        os.replace(unpacked / archive.folder, target)
    if not was_there:
        file.unlink()
    return True


def _extract(file: Path, folder: Path) -> None:
    """Extract the archive into ``folder``; the errors name the archive, which is kept."""
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as zip_file:
                zip_file.extractall(folder)  # which leaves out ".." and what makes a path absolute
        else:  # not by pooch, which unpacks without a filter before Python 3.12
            with _tarfile_with_filters().open(file) as tar_file:
                tar_file.extractall(folder, filter="data")
    except OSError as error:
        raise OSError(
            f"{file} could not be unpacked: {error}. It is kept, and the next download uses it"
        ) from error
    except Exception as error:  # damaged files raise exceptions of every kind
        raise ValueError(f"{file} cannot be unpacked: {error}. It is kept") from error


def _tarfile_with_filters() -> Any:
    """Return tarfile, or its backport: before Python 3.10.12 and 3.11.4 it has no filters."""
    if hasattr(tarfile, "data_filter"):
        return tarfile
    return import_optional("backports.tarfile", "datasets")
