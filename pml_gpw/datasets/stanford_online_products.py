"""Stanford Online Products."""

from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from . import annotations, downloads
from .image_dataset import ImageDataset
from .records import ImageRecord, SplitSize

HEADER = "image_id class_id super_class_id path"


class StanfordOnlineProducts(ImageDataset):
    """Stanford Online Products (SOP): 22,634 products offered online, half of them for training.

    ``root`` is the folder that contains ``Stanford_Online_Products/``, or that folder itself.
    Labels are the class ids of the files. Many products have fewer than 5 images.

    Source: Oh Song et al., Deep metric learning via lifted structured feature embedding, 2016.

    A miniature of two classes; the warning says that it is smaller than the published data set:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from pml_gpw.datasets import StanfordOnlineProducts
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = Path(folder.name)
    >>> header = "image_id class_id super_class_id path"
    >>> (root / "chair_final").mkdir()
    >>> for image_id, split, label in ((1, "train", 1), (2, "test", 11319)):
    ...     Image.new("RGB", (8, 8)).save(root / f"chair_final/{image_id}.JPG")
    ...     row = f"{image_id} {label} 1 chair_final/{image_id}.JPG"
    ...     _ = (root / f"Ebay_{split}.txt").write_text(f"{header}\\n{row}\\n")
    >>> data = StanfordOnlineProducts(root, "test")
    >>> data.labels, data.classes
    ([11319], {11319: 'chair 11319'})
    >>> folder.cleanup()
    """

    ks = (1, 10, 100, 1000)
    published: ClassVar = {
        "train": SplitSize(11_318, 59_551),
        "test": SplitSize(11_316, 60_502),
    }
    download_instructions = (
        "Get Stanford_Online_Products.zip (download=True does) and unpack it, so that root holds "
        "Stanford_Online_Products/Ebay_train.txt and Ebay_test.txt beside the folders of images."
    )
    archive = downloads.Archive(
        url="https://drive.usercontent.google.com/download"
        "?id=1TclrpQOF_ullUP99wk_gjGN8pKvtErG8&export=download&authuser=0&confirm=t",
        md5="7f73d41a2f44250d4779881525aea32e",
        folder="Stanford_Online_Products",
        filename="Stanford_Online_Products.zip",
    )

    @classmethod
    @override
    def read(cls, root: Path) -> list[ImageRecord]:
        base = cls._find_folder(root, (cls.archive.folder, "."), "Ebay_train.txt")
        return [record for split in cls.splits for record in _read_split(base, split)]


def _read_split(base: Path, split: str) -> list[ImageRecord]:
    path = base / f"Ebay_{split}.txt"
    header, *lines = [*annotations.read_lines(path)] or [(str(path), "")]
    if header[1].split() != HEADER.split():
        raise ValueError(f"{header[0]}: must be the header {HEADER!r}, got {header[1]!r}")
    records = []
    for location, line in lines:
        _, class_id, _, image = annotations.split_fields(location, line, HEADER)
        label = annotations.parse_integer(location, "class_id", class_id)
        category = image.partition("/")[0].removesuffix("_final")
        file = annotations.image_path(location, base, image)
        records.append(ImageRecord(file, label, f"{category} {label}", split, location))
    return records
