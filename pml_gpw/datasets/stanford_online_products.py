"""Stanford Online Products."""

from pathlib import Path
from typing import ClassVar

from . import annotations, downloads
from .images import ImageDataset
from .rows import Row, Size

FORM = "image_id class_id super_class_id path"


class StanfordOnlineProducts(ImageDataset):
    """Stanford Online Products (SOP): 22,634 products offered online, half of them in training.

    ``root`` is the folder that holds ``Stanford_Online_Products/``, or that folder itself.
    Labels are the class ids of the files. Many products have fewer than 5 images.

    Source: Oh Song et al., Deep metric learning via lifted structured feature embedding, 2016.
    """

    ks = (1, 10, 100, 1000)
    published: ClassVar = {"train": Size(11_318, 59_551), "test": Size(11_316, 60_502)}
    where = (
        "Get Stanford_Online_Products.zip (download=True does) and unpack it, so that root holds "
        "Stanford_Online_Products/Ebay_train.txt and Ebay_test.txt beside the folders of images."
    )
    archive = downloads.Archive(
        url="https://drive.usercontent.google.com/download"
        "?id=1TclrpQOF_ullUP99wk_gjGN8pKvtErG8&export=download&authuser=0&confirm=t",
        md5="7f73d41a2f44250d4779881525aea32e",
        folder="Stanford_Online_Products",
    )

    @classmethod
    def read(cls, root: Path) -> list[Row]:
        """The rows of Ebay_train.txt and Ebay_test.txt."""
        base = cls._first(root, (cls.archive.folder, "."), "Ebay_train.txt")
        return [row for split in cls.splits for row in _rows(base, split)]


def _rows(base: Path, split: str) -> list[Row]:
    path = base / f"Ebay_{split}.txt"
    header, *rows = [*annotations.lines(path)] or [(str(path), "")]
    if header[1].split() != FORM.split():
        raise ValueError(f"{header[0]}: must be the header {FORM!r}, got {header[1]!r}")
    result = []
    for place, line in rows:
        _, label, _, image = annotations.fields(place, line, FORM)
        number = annotations.integer(place, "class_id", label)
        kind = image.partition("/")[0].removesuffix("_final")
        result.append(Row(str(base / image), number, f"{kind} {number}", split, place))
    return result
