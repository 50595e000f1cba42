import os
import re

import pytest

from benchmarks.report.saving import COMMITTED, save

WITHOUT_RUNS = "paper/tables.md"  # published results alone


def test_texts_and_pictures_are_saved_by_name(tmp_path):
    save(tmp_path / "new", {"a.md": "ä", "b.png": lambda path: path.write_bytes(b"picture")})
    assert (tmp_path / "new/a.md").read_text(encoding="utf-8") == "ä"
    assert (tmp_path / "new/b.png").read_bytes() == b"picture"


def test_what_cannot_be_drawn_leaves_the_old_file(tmp_path):
    save(tmp_path, {"a.png": lambda path: path.write_bytes(b"old")})

    def draw(path):
        path.write_bytes(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        save(tmp_path, {"a.png": draw})
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_every_committed_table_names_the_version_that_made_it():
    tables = {str(p.relative_to(COMMITTED)): p.read_text() for p in COMMITTED.rglob("*.md")}
    del tables[WITHOUT_RUNS]
    assert len(tables) > 10
    unnamed = [
        name for name, text in tables.items() if not re.search(r"pml-gpw \d+\.\d+\.\d+", text)
    ]
    assert unnamed == []
