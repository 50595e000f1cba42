import re

from benchmarks.report.saving import COMMITTED

WITHOUT_RUNS = "paper/tables.md"  # published results alone


def test_every_committed_table_names_the_version_that_made_it():
    tables = {str(p.relative_to(COMMITTED)): p.read_text() for p in COMMITTED.rglob("*.md")}
    del tables[WITHOUT_RUNS]
    assert len(tables) > 10
    version = re.compile(r"pml-gpw \d+\.\d+\.\d+")
    assert [name for name, text in tables.items() if not version.search(text)] == []
