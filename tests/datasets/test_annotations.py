import pytest

from .helpers import assert_refused, rewrite

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


def test_a_row_too_many(text_annotations):
    """The same image twice; in the words of a set that counts its rows or numbers them."""
    dataset, root, path = text_annotations
    rewrite(path, lambda lines: [*lines, lines[-1]])
    said = {"InShop": "says 40 rows in line 1 and has 41", "CUB200": "image id 40 is also in"}
    assert_refused(dataset, root, f"{path}.*{said.get(dataset.__name__, 'is also in')}")


def test_a_row_cut_off(text_annotations):
    dataset, root, path = text_annotations
    rewrite(path, lambda lines: [*lines[:-1], lines[-1].split()[0]])
    assert_refused(dataset, root, rf"{path}.*line \d+.*must have the form")


def test_a_number_that_is_none(text_annotations):
    dataset, root, path = text_annotations
    changes = {
        "CUB200": ("7 ", "seven ", "image id must be an integer"),
        "StanfordOnlineProducts": (" 11320 ", " 11320x ", "class_id must be an integer"),
        "InShop": ("  query", "  val", "evaluation_status must be one of train, query, gallery"),
    }
    old, new, said = changes[dataset.__name__]
    contents = path.read_text()
    assert old in contents
    path.write_text(contents.replace(old, new))
    assert_refused(dataset, root, rf"{path}, line \d+: .*{said}")


def test_annotations_that_are_no_text(text_annotations):
    dataset, root, path = text_annotations
    path.write_bytes(b"\xff\xfe\x00\x81" * 20)
    assert_refused(dataset, root, f"{path} cannot be read as text")
