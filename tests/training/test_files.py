import os

import pytest

from pml_gpw.training.files import write_atomically


def test_files_are_whole_or_not_there(tmp_path):
    target = tmp_path / "table.md"
    write_atomically(target, lambda path: path.write_text("one"))

    def fails(path):
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(target, fails)
    assert target.read_text() == "one"
    assert os.listdir(tmp_path) == ["table.md"]
