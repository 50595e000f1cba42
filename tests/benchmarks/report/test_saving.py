from benchmarks.report.saving import save


def test_texts_and_pictures_are_saved_by_name(tmp_path):
    save(tmp_path / "new", {"a.md": "ä", "b.png": lambda path: path.write_bytes(b"picture")})
    assert (tmp_path / "new/a.md").read_text(encoding="utf-8") == "ä"
    assert (tmp_path / "new/b.png").read_bytes() == b"picture"
