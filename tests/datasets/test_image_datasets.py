"""A damaged data set is refused when it is made, by file and line, and the report lists it."""

import os
import re

import pytest

from .helpers import assert_refused
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
        *(
            (text, r"\.(jpg|JPG)", r".\1/", ", line .* must name a file, got .*/'")
            for text in TEXTS
        ),
        (CUB, r"\.jpg", r".jpg/.", r", line 1: must name a file, got .*/\.'"),
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
        (
            IN_SHOP,
            "3  gallery",
            "33  gallery",
            ", line .*'id_00000003' has no image in the gallery",
        ),
        (SOP, r"\A.*\n", "", ", line 1: must be the header"),
        (IN_SHOP, ALL, CELEBA, " must begin with .*CelebA has another file"),
        (IN_SHOP, ALL, "", " must begin with"),
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
