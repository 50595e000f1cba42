from pml_gpw.datasets.annotations import read_lines


def test_a_line_ends_where_an_editor_ends_it(tmp_path):
    """And not at other characters that separate lines for Python: line numbers stay right."""
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeff1 a\u2028b\x0c.jpg\r\n\r\n2 c.jpg".encode())
    lines = [*read_lines(path)]
    assert lines == [(f"{path}, line 1", "1 a\u2028b\x0c.jpg"), (f"{path}, line 3", "2 c.jpg")]
