import hashlib
import io
import os
import sys
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from pml_gpw.datasets import CUB200
from pml_gpw.datasets.__main__ import main
from pml_gpw.datasets.downloads import Archive, download

from ..runs import room_for
from . import miniatures


@pytest.fixture
def served(tmp_path):
    """A folder and the address under which this machine serves it to itself."""
    folder = tmp_path / "served"
    folder.mkdir()

    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def tar_of(files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def zip_of(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def serve(served, content, folder="Set"):
    place, address = served
    (place / "archive").write_bytes(content)
    return Archive(f"{address}/archive", hashlib.md5(content).hexdigest(), folder, "Set.packed")


NOWHERE = Archive("http://127.0.0.1:1/nobody", "0" * 32, "Set", "Set.tgz")
FILES = {"Set/list.txt": b"1 a.jpg\n", "Set/images/a.jpg": b"pixels"}


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_the_folder_is_there_and_nothing_else(served, tmp_path, pack):
    root = tmp_path / "new" / "root"
    assert download(serve(served, pack(FILES)), root)
    assert sorted(p.name for p in root.iterdir()) == ["Set"]
    for name, data in FILES.items():
        assert (root / name).read_bytes() == data
    assert not download(NOWHERE, root)  # it is left alone


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize("outside", ["../evil.txt", "Set/../../evil.txt", "/evil-absolute.txt"])
def test_no_path_leaves_the_folder(served, tmp_path, pack, outside):
    root = tmp_path / "root"
    archive = serve(served, pack({**FILES, outside: b"evil"}))
    if pack is zip_of or outside.startswith("/"):
        download(archive, root)  # zipfile cuts such a path, tarfile an absolute one
    else:
        with pytest.raises(ValueError, match=r"root.Set\.packed cannot be unpacked"):
            download(archive, root)
        assert [path.name for path in root.iterdir()] == ["Set.packed"]
    assert not [p for p in tmp_path.rglob("evil*") if root / "Set" not in p.parents]


TAR = tar_of(FILES)


@pytest.mark.parametrize(
    ("sent", "published", "folder", "said", "kept"),
    [
        (TAR[: len(TAR) // 2], TAR, "Set", "hash", []),
        (b"no archive", b"no archive", "Set", r"Set\.packed cannot be unpacked", ["Set.packed"]),
        (TAR, TAR, "Other", r"Set\.packed must hold the folder Other", ["Set.packed"]),
    ],
)
def test_archives_that_cannot_be(served, tmp_path, sent, published, folder, said, kept):
    archive = serve(served, published, folder)
    (served[0] / "archive").write_bytes(sent)
    with pytest.raises(ValueError, match=said):
        download(archive, tmp_path / "root")
    assert [path.name for path in (tmp_path / "root").iterdir()] == kept


def test_an_old_python_unpacks_with_the_backport(served, tmp_path, monkeypatch):
    """Before 3.10.12 and 3.11.4 it has no filters; without the backport nothing is fetched."""
    new = hasattr(tarfile, "data_filter")
    backport = tarfile if new else pytest.importorskip("backports.tarfile")
    opened = []
    told = SimpleNamespace(open=lambda file: opened.append(file) or backport.open(file))
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    monkeypatch.setitem(sys.modules, "backports.tarfile", told)
    download(serve(served, tar_of(FILES)), tmp_path / "root")
    assert (tmp_path / "root/Set/list.txt").read_bytes() == FILES["Set/list.txt"]
    assert opened == [tmp_path / "root/Set.packed"]
    monkeypatch.setitem(sys.modules, "backports.tarfile", None)
    with pytest.raises(ImportError, match=r'pip install "pml-gpw\[datasets\]"'):
        download(NOWHERE, tmp_path / "other")


def test_the_archive_is_kept_when_there_is_no_room_and_used_the_next_time(served, tmp_path):
    archive, root = serve(served, tar_of({"Set/list.txt": bytes(90_000)})), tmp_path / "root"
    told = pytest.raises(OSError, match=r"root.Set\.packed could not be unpacked: .*too large")
    with room_for(50_000), told:
        download(archive, root)
    assert [path.name for path in root.iterdir()] == ["Set.packed"]
    served[0].joinpath("archive").unlink()  # it is not fetched again
    assert download(archive, root)
    assert (root / "Set/list.txt").read_bytes() == bytes(90_000)


def test_an_archive_put_there_by_hand_is_used_and_left(tmp_path):
    md5 = hashlib.md5(TAR).hexdigest()
    (tmp_path / "Set.tgz").write_bytes(TAR[:100])
    with pytest.raises(ValueError, match=rf"Set\.tgz must be the published file, of MD5 sum {md5}"):
        download(NOWHERE._replace(md5=md5), tmp_path)
    (tmp_path / "Set.tgz").write_bytes(TAR)
    download(NOWHERE._replace(md5=md5), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Set", "Set.tgz"]
    (tmp_path / "other").mkdir()
    os.mkfifo(tmp_path / "other/Set.tgz")  # nobody writes to it: to hash it would never end
    with pytest.raises(ValueError, match=r"Set\.tgz must be a regular file, got a pipe"):
        download(NOWHERE, tmp_path / "other")


def test_a_data_set_from_its_archive_to_its_images(served, tmp_path, monkeypatch, capsys):
    made = tmp_path / "made"
    miniatures.cub200(made)
    paths = [path for path in made.rglob("*") if path.is_file()]
    files = {str(path.relative_to(made)): path.read_bytes() for path in paths}
    monkeypatch.setattr(CUB200, "archive", serve(served, tar_of(files), "CUB_200_2011"))
    data = CUB200(tmp_path / "root", "train", download=True)
    assert data[0][0].mode == "RGB"
    monkeypatch.setattr(CUB200, "published", {})
    served[0].joinpath("archive").unlink()  # what is there is not fetched again, however named
    for there in (tmp_path / "root", tmp_path / "root/CUB_200_2011"):
        CUB200(there, "train", download=True)
    monkeypatch.setattr(CUB200, "archive", serve(served, tar_of(files), "CUB_200_2011"))
    assert main(["download", "CUB200", str(tmp_path / "again")]) == 0
    assert "no problem found" in capsys.readouterr().out
    with open(CUB200(tmp_path / "again").paths[3], "rb+") as file:
        file.truncate(300)
    assert main(["download", "CUB200", str(tmp_path / "again")]) == 1  # there: so it is looked at
    assert "cannot be read as an image" in capsys.readouterr().out
    assert main(["download", "InShop", str(tmp_path / "again")]) == 2
    assert "has no source to rely on" in capsys.readouterr().err
