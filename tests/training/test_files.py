import os

import pytest

from pml_gpw.training.files import write_atomically


def test_files_are_whole_or_not_there(tmp_path):
    target = tmp_path / "new" / "table.md"
    write_atomically(target, lambda path: path.write_text("one"))
    assert target.stat().st_mode & 0o777 == 0o644

    def fails(path):
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(target, fails)
    assert target.read_text() == "one"
    assert os.listdir(target.parent) == ["table.md"]


def test_the_content_is_on_the_disk_before_it_is_in_its_place(tmp_path, monkeypatch):
    """Otherwise a power failure could leave an empty file in place of the old one."""
    done = []

    def watch(name):
        real = getattr(os, name)

        def watched(file, *others):
            status = os.stat(file)  # of a handle or a path
            done.append((name, status.st_ino, status.st_size))
            return real(file, *others)

        monkeypatch.setattr(os, name, watched)

    watch("fsync")
    watch("replace")
    target = tmp_path / "table.md"
    write_atomically(target, lambda path: path.write_text("whole"))
    inode = target.stat().st_ino
    assert done == [("fsync", inode, 5), ("replace", inode, 5)]
