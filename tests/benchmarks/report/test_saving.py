import re

from benchmarks.report.saving import COMMITTED


def test_every_committed_table_names_the_version_that_made_it():
    tables = {str(p.relative_to(COMMITTED)): p.read_text() for p in COMMITTED.rglob("*.md")}
    del tables["paper/tables.md"]  # published results alone
    assert len(tables) > 10
    version = re.compile(r"pml-gpw \d+\.\d+\.\d+")
    assert [name for name, text in tables.items() if not version.search(text)] == []
