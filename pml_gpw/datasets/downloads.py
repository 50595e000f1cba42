"""Archives fetched, checked and unpacked so that a folder is whole or not there."""

import os
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from ..optional import optional


class Archive(NamedTuple):
    """A published zip or tar file: its address, its MD5 sum, and the one folder wanted of it."""

    url: str
    md5: str
    folder: str


def download(archive: Archive, root: str | os.PathLike[str]) -> bool:
    """Put ``archive.folder`` below ``root``, unless it is there; whether it had to be fetched.

    The file comes under a temporary name, its sum is checked, it is unpacked beside its place,
    and the folder moves there in one step: what is interrupted leaves nothing that looks like a
    data set. The archive is removed.

    Raises:
        ValueError: if what comes is not the published file, or has a path outside of its folder.
        OSError: if it cannot be fetched or written.
        ImportError: without pooch.
    """
    target = Path(root, archive.folder)
    if target.exists():
        return False
    pooch = optional("pooch", "datasets")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as work:
        file = pooch.retrieve(
            archive.url, f"md5:{archive.md5}", fname="archive", path=work, progressbar=True
        )
        _unpack(file, Path(work, "unpacked"))
        unpacked = Path(work, "unpacked", archive.folder)
        if not unpacked.is_dir():
            raise ValueError(f"{archive.url} must hold the folder {archive.folder}, and does not")
        os.replace(unpacked, target)
    return True


def _unpack(file: str, folder: Path) -> None:
    """Unpack, or raise a ValueError if a path would leave ``folder``."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if not (folder / name).resolve().is_relative_to(folder.resolve()):
                    raise ValueError(f"the archive has a path outside of its folder: {name}")
            archive.extractall(folder)
        return
    try:
        with tarfile.open(file) as archive_:
            archive_.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise ValueError(f"the archive cannot be unpacked: {error}") from error
