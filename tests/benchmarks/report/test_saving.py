import re

from benchmarks.report.saving import COMMITTED, save

WITHOUT_RUNS = "paper/tables.md"  # published results alone


def test_texts_and_pictures_are_saved_by_name(tmp_path):
    save(tmp_path / "new", {"a.md": "ä", "b.png": lambda path: path.write_bytes(b"picture")})
    assert (tmp_path / "new/a.md").read_text(encoding="utf-8") == "ä"
    assert (tmp_path / "new/b.png").read_bytes() == b"picture"


def test_every_committed_table_names_the_version_that_made_it():
    tables = {str(p.relative_to(COMMITTED)): p.read_text() for p in COMMITTED.rglob("*.md")}
    del tables[WITHOUT_RUNS]
    assert len(tables) > 10
    version = re.compile(r"pml-gpw \d+\.\d+\.\d+")
    assert [name for name, text in tables.items() if not version.search(text)] == []
