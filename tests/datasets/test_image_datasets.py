"""Damaged data sets and arguments that cannot be are refused when a data set is made."""

import os
import re

import pytest

from pml_gpw.datasets import CUB200, Cars196, Glyphs, ImageFolder, InShop, WorldNames
from pml_gpw.datasets.annotations import read_lines

from . import miniatures
from .helpers import assert_refused, rewrite
from .miniatures import MINIATURES

IMAGES, LABELS = "CUB_200_2011/images.txt", "CUB_200_2011/image_class_labels.txt"
EBAY, PARTITION = "Stanford_Online_Products/Ebay_test.txt", "Eval/list_eval_partition.txt"
CUB, CUB_LABELS = ("CUB200", IMAGES), ("CUB200", LABELS)
SOP, IN_SHOP = ("StanfordOnlineProducts", EBAY), ("InShop", PARTITION)
TEXTS = CUB, SOP, IN_SHOP
ALL, LAST = r"(?s)\A.*\Z", r"(.+)\n+\Z"
TWICE, CLASS_ID = r"\1\n\1\n", r"(\d+) \d+\n+\Z"
IN_BOTH = ", line .* is in test and, by .*, in training"
CELEBA = "000001.jpg 0\n000002.jpg 0\n000003.jpg 1\n"


@pytest.mark.parametrize(
    ("annotations", "old", "new", "said"),
    [
        (CUB, LAST, TWICE, ", line 41: image id 40 is also in"),
        (SOP, LAST, TWICE, ", line 22: .* is also in"),
        (IN_SHOP, LAST, TWICE, ", line 1: the number of rows must be 41, .* got 40"),
        *((text, r"(\S+) .*\n+\Z", r"\1\n", r", line \d+: must have the form") for text in TEXTS),
        *((text, r"\.(jpg|JPG)", r".\1/", ", line .* must name a file, got .*/") for text in TEXTS),
        (CUB, "\n7 ", "\nseven ", ", line 7: the image id must be an integer"),
        (IN_SHOP, "  query", "  val", r", line \d+: evaluation_status must be one of train, query"),
        *(
            (CUB_LABELS, " 150", f" {number}", r", line \d+: the class id must be an integer >= 0")
            for number in ("2.7", "x", "-1", "²", "9" * 5000)
        ),
        (CUB_LABELS, CLASS_ID, r"\1 0", r", line 40: the class id must be in 1\.\.200, got 0"),
        (CUB_LABELS, CLASS_ID, r"\1 201", r", line 40: the class id must be in 1\.\.200, got 201"),
        (SOP, " 11320 ", " x ", r", line \d+: class_id must be an integer"),
        (IN_SHOP, "id_00000003", "id_²", ", line .* item_id must have the form 'id_00000001', got"),
        (IN_SHOP, "id_00000003", f"id_{'9' * 5000}", ", line .* number of item_id must be an int"),
        (IN_SHOP, "id_00000003  query", "id_00000003  train", IN_BOTH),
        (SOP, " 11319 ", " 1 ", IN_BOTH),
        (IN_SHOP, "3  gallery", "33  gallery", ", line .*'id_00000003' has no image in the gal"),
        (SOP, r"\A.*\n", "", ", line 1: must be the header"),
        (IN_SHOP, ALL, CELEBA, " must begin with .*CelebA has another file"),
    ],
)
def test_annotations_that_cannot_be(copy_of, annotations, old, new, said):
    name, file = annotations
    dataset, root = copy_of(name)
    path = root / file
    before = path.read_text()
    path.write_text(re.sub(old, new, before))
    assert path.read_text() != before
    assert len(assert_refused(dataset, root, f"{path}{said}")) < 700


def test_class_labels_of_other_images(copy_of):
    _, root = copy_of("CUB200")
    rewrite(root / LABELS, lambda lines: lines[1:])
    said = "line 40: image id 40 must be in .*class_labels.txt; 1 image ids are in one of"
    assert_refused(CUB200, root, f"{root / IMAGES}, {said}")


def test_a_line_ends_where_an_editor_ends_it(tmp_path):
    """And not at other characters that separate lines for Python: line numbers stay right."""
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeff1 a\u2028b\x0c.jpg\r\n\r\n2 c.jpg".encode())
    lines = [*read_lines(path)]
    assert lines == [(f"{path}, line 1", "1 a\u2028b\x0c.jpg"), (f"{path}, line 3", "2 c.jpg")]


@pytest.mark.parametrize("name", [name for name in MINIATURES if name != "ImageFolder"])
def test_annotations_that_cannot_be_read(copy_of, name):
    """Also a pipe, which nobody writes to: to open it would never end."""
    dataset, root = copy_of(name)
    path = root / dict(TEXTS)[name] if name in dict(TEXTS) else min(root.rglob("*.mat"))
    path.write_bytes(b"\xff\xfe\x00\x81" * 20)
    assert_refused(dataset, root, f"{path} cannot be read as")
    path.unlink()
    os.mkfifo(path)
    assert_refused(dataset, root, f"{path} must be a regular file, got a pipe, socket or device")
    for path in [*root.rglob("*.txt"), *root.rglob("*.mat")]:
        path.unlink()
    assert_refused(dataset, root, "root must hold .*none of which is there")


COLOURS = "red", (0, 0), (0, 0, 256), (-1, 0, 0), (0.5, 0, 0), (True, 0, 0)


@pytest.mark.parametrize(
    ("dataset", "bad"),
    [
        (CUB200, {"split": ("val",), "transform": (3,), "target_transform": ("x",)}),
        (CUB200, {"root": (None, "no")}),
        (ImageFolder, {"background": COLOURS, "exif_orientation": (1,)}),
        (ImageFolder, {"train_share": (0, 1, True, "half")}),
        (Glyphs, {"split": ("val",), "transform": ("resize",), "root": (3,)}),
        (WorldNames, {"split": ("val",), "transform": (3,), "root": ("here",)}),
        (WorldNames, {"kinds": ("cities", []), "languages": ("en",)}),
    ],
)
def test_arguments_that_cannot_be(tmp_path, dataset, bad):
    root = None if dataset is WorldNames else tmp_path
    for name, values in bad.items():
        for value in values:
            with pytest.raises(ValueError, match=rf"{name} must .*, got {re.escape(repr(value))}"):
                dataset(**{"root": root, name: value})


@pytest.mark.parametrize(
    ("dataset", "options", "said"),
    [
        (CUB200, {"root": "no"}, "which is none. Get CUB_200_2011.tgz"),
        (Cars196, {"root": ".", "download": True}, "download must be False: Cars196 .*root"),
        (ImageFolder, {"root": "."}, "has no image in split 'train'. root must hold a folder per"),
        (Glyphs, {"root": "test"}, "root must be a folder, got 'test': write split='test'"),
        (Glyphs, {"root": "a" * 5000}, "root must be a shorter path, got 5,000 characters$"),
        (Glyphs, {"root": __file__}, "root must be a folder, or not exist yet, got the file .*py'"),
        (WorldNames, {"kinds": ["towns"]}, "kinds must be some of territories, .*got 'towns'"),
        (WorldNames, {"languages": ["en", "en_US"]}, "languages must be .* region.*got 'en_US'"),
        (WorldNames, {"languages": ["en"]}, "must leave two things of 8 names or more, got en and"),
    ],
)
def test_how_they_cannot_be(tmp_path, monkeypatch, dataset, options, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        dataset(**options)


def test_a_folder_without_images(tmp_path):
    report = ImageFolder.verify(tmp_path, progress=False)
    assert not report.ok
    assert f"{tmp_path} holds no image. root must hold a folder per class" in str(report)


def test_cub_splits_by_class_id_and_keeps_it(miniature_roots):
    for root in (miniature_roots["CUB200"], miniature_roots["CUB200"] / "CUB_200_2011"):
        train, test = CUB200(root), CUB200(root, "test")
        assert (set(train.labels), set(test.labels)) == ({1, 2, 50, 100}, {101, 150, 199, 200})
        for path, label in zip(test.paths, test.labels, strict=True):
            assert f"/{label:03}.Bird_of_{label}/" in path
        assert test.classes[101] == "101.Bird_of_101"


@pytest.mark.parametrize(
    ("images", "partition"),
    [("img", "Eval"), ("img_highres", "Eval"), ("img", "."), ("Img/img", "Anno")],
)
def test_in_shop_wherever_its_files_are(tmp_path, images, partition):
    miniatures.in_shop(tmp_path, images, partition)
    (tmp_path / "img").mkdir(exist_ok=True)  # an empty folder beside the images is passed over
    query, gallery = InShop.evaluation_splits(tmp_path)
    assert {*query.labels} == {*gallery.labels} == {3, 4, 90, 7982}
    assert f"/{images}/WOMEN/Blouses Shirts/" in query.paths[0]
