"""Archives that are fetched, checked and unpacked so that a folder is complete or absent."""

import os
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from ..optional import import_optional


class Archive(NamedTuple):
    """A published zip or tar file: its address, its MD5 sum, and the folder wanted from it."""

    url: str
    md5: str
    folder: str


def download(archive: Archive, root: str | os.PathLike[str]) -> bool:
    """Put ``archive.folder`` below ``root`` unless it exists; return whether it was fetched.

    The file is fetched under a temporary name, its checksum is compared, it is unpacked beside
    its destination, and the folder is moved there in one step: an interruption leaves nothing
    that looks like a data set. The archive is removed.

    Raises:
        ValueError: if the file is not the published one, or has a path outside of its folder.
        OSError: if it cannot be fetched or written.
        ImportError: without pooch.
    """
    target = Path(root, archive.folder)
    if target.exists():
        return False
    pooch = import_optional("pooch", "datasets")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as work:
        file = pooch.retrieve(
            archive.url, f"md5:{archive.md5}", fname="archive", path=work, progressbar=True
        )
        _extract(file, Path(work, "unpacked"))
        unpacked = Path(work, "unpacked", archive.folder)
        if not unpacked.is_dir():
            raise ValueError(f"{archive.url} must hold the folder {archive.folder}, and does not")
        os.replace(unpacked, target)
    return True


def _extract(file: str, folder: Path) -> None:
    """Extract the archive into ``folder``; raise a ValueError if a path would leave it."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as zip_file:
            for name in zip_file.namelist():
                if not (folder / name).resolve().is_relative_to(folder.resolve()):
                    raise ValueError(f"the archive has a path outside of its folder: {name}")
            zip_file.extractall(folder)
        return
    try:
        with tarfile.open(file) as tar_file:
            tar_file.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise ValueError(f"the archive cannot be unpacked: {error}") from error
