"""Caltech-UCSD Birds-200-2011."""

from pathlib import Path
from typing import ClassVar

from . import annotations, downloads
from .images import ImageDataset
from .rows import Row, Size

LAST_TRAINED = 100


class CUB200(ImageDataset):
    """CUB-200-2011: 200 species of birds; the first 100 train, the others test.

    ``root`` is the folder that holds ``CUB_200_2011/``, or that folder itself. Labels are the
    class ids 1 to 200. ``train_test_split.txt`` is the split for classification, in which both
    parts have all classes; it is not used.

    Source: Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011.
    """

    ks = (1, 2, 4, 8, 16, 32)
    published: ClassVar = {"train": Size(100, 5_864), "test": Size(100, 5_924)}
    where = (
        "Get CUB_200_2011.tgz (download=True does) and unpack it, so that root holds "
        "CUB_200_2011/images.txt, CUB_200_2011/image_class_labels.txt and CUB_200_2011/images/."
    )
    archive = downloads.Archive(
        url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
        md5="97eceeb196236b17998738112f37df78",
        folder="CUB_200_2011",
    )

    @classmethod
    def read(cls, root: Path) -> list[Row]:
        """The rows of images.txt with the classes of image_class_labels.txt."""
        base = cls._first(root, (cls.archive.folder, "."), "images.txt")
        classes, paths = _by_id(base / "image_class_labels.txt"), _by_id(base / "images.txt")
        if different := classes.keys() ^ paths.keys():
            raise ValueError(
                f"{base / 'images.txt'} and {base / 'image_class_labels.txt'} must have the same "
                f"image ids; {len(different)} are in one only (first: {min(different)})"
            )
        rows = []
        for image, (place, path) in paths.items():
            label = annotations.integer(classes[image][0], "the class id", classes[image][1])
            split = "train" if label <= LAST_TRAINED else "test"
            name = path.rpartition("/")[0]
            rows.append(Row(str(base / "images" / path), label, name, split, place))
        return rows


def _by_id(path: Path) -> dict[int, tuple[str, str]]:
    """Image id → (place, the rest of the line)."""
    found: dict[int, tuple[str, str]] = {}
    for place, line in annotations.lines(path):
        number, rest = annotations.fields(place, line, "id value")
        image = annotations.integer(place, "the image id", number)
        if image in found:
            raise ValueError(f"{place}: image id {image} is also in {found[image][0]}")
        found[image] = place, rest
    return found
