import os
import re
from pathlib import Path

import pytest

from pml_gpw.datasets.annotations import read_lines, read_text

from .helpers import ANNOTATION_FILES, assert_refused, rewrite
from .miniatures import MINIATURES

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


def test_a_row_too_many(text_annotations):
    """The same image twice; in the words of a set that counts its rows or numbers them."""
    dataset, root, path = text_annotations
    rewrite(path, lambda lines: [*lines, lines[-1]])
    said = {
        "InShop": "line 1: the number of rows must be 41, .* got 40",
        "CUB200": "image id 40 is also in",
    }
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


needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system")


@needs_pipes
@pytest.mark.parametrize("name", [name for name in MINIATURES if name != "ImageFolder"])
def test_annotations_that_are_a_pipe(copy_of, name):
    """Which nobody writes to: to open it would never end."""
    dataset, root = copy_of(name)
    path = root / ANNOTATION_FILES[name] if name in ANNOTATION_FILES else next(root.rglob("*.mat"))
    path.unlink()
    os.mkfifo(path)
    assert_refused(dataset, root, f"{path} must be a regular file, got a pipe, socket or device")


@needs_pipes
def test_devices_are_refused():
    with pytest.raises(ValueError, match="must be a regular file"):
        read_text(Path(os.devnull))


@pytest.mark.parametrize("end", ["/", "/."])
def test_an_image_that_is_a_folder(text_annotations, end):
    dataset, root, path = text_annotations
    path.write_text(re.sub(r"\.(jpg|JPG)", rf".\1{end}", path.read_text()))
    assert_refused(dataset, root, rf"{path}, line \d+: must name a file, got .*{end}'")


@pytest.mark.parametrize("class_id", ["0", "201", "20100"])
def test_a_class_id_beyond_the_classes(copy_of, class_id):
    dataset, root = copy_of("CUB200")
    path = root / "CUB_200_2011/image_class_labels.txt"
    rewrite(path, lambda lines: [*lines[:-1], f"{lines[-1].split()[0]} {class_id}"])
    said = rf"{path}, line 40: the class id must be in 1\.\.200, got {class_id}"
    assert_refused(dataset, root, said)


@pytest.mark.parametrize("number", ["2.7", "x", "-1", "²", "9" * 5000], ids=lambda n: n[:4])
@pytest.mark.parametrize(
    ("name", "file", "field", "changed"),
    [
        ("CUB200", "CUB_200_2011/image_class_labels.txt", " 150", " {}"),
        ("StanfordOnlineProducts", ANNOTATION_FILES["StanfordOnlineProducts"], " 11320 ", " {} "),
        ("InShop", ANNOTATION_FILES["InShop"], "id_00000003  query", "id_{}  query"),
    ],
)
def test_a_class_id_that_is_none(copy_of, name, file, field, changed, number):
    dataset, root = copy_of(name)
    path = root / file
    contents = path.read_text()
    assert field in contents
    path.write_text(contents.replace(field, changed.format(number)))
    with pytest.raises(ValueError, match=r", line \d+: ") as error:
        dataset(root, dataset.queries)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 500
    assert str(error.value) in dataset.verify(root, progress=False).problems


def test_a_line_ends_where_an_editor_ends_it(tmp_path):
    """And not at other characters that separate lines for Python: line numbers stay right."""
    path = tmp_path / "list.txt"
    path.write_bytes("1 a\u2028b\x0c.jpg\r\n\r\n2 c.jpg".encode())
    lines = [*read_lines(path)]
    assert lines == [(f"{path}, line 1", "1 a\u2028b\x0c.jpg"), (f"{path}, line 3", "2 c.jpg")]
