"""Caltech-UCSD Birds-200-2011."""

from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from . import annotations, downloads
from .image_dataset import ImageDataset
from .records import ImageRecord, SplitSize

LAST_TRAIN_CLASS, LAST_CLASS = 100, 200


class CUB200(ImageDataset):
    """CUB-200-2011: 200 species of birds; the first 100 are for training, the others for test.

    ``root`` is the folder that contains ``CUB_200_2011/``, or that folder itself. Labels are the
    class ids 1 to 200. ``train_test_split.txt`` is the split for classification, in which both
    parts have all classes; it is not used.

    Source: Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011.

    A miniature of two classes; the warning says that it is smaller than the published data set:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from pml_gpw.datasets import CUB200
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = Path(folder.name)
    >>> for name, label in (("a.jpg", 1), ("b.jpg", 101)):
    ...     (root / "images").mkdir(exist_ok=True)
    ...     Image.new("L", (8, 8)).save(root / "images" / name)
    >>> _ = (root / "images.txt").write_text("1 a.jpg\\n2 b.jpg\\n")
    >>> _ = (root / "image_class_labels.txt").write_text("1 1\\n2 101\\n")
    >>> image, label = CUB200(root, "test")[0]
    >>> image.mode, label
    ('RGB', 101)
    >>> folder.cleanup()
    """

    ks = (1, 2, 4, 8, 16, 32)
    published: ClassVar = {"train": SplitSize(100, 5_864), "test": SplitSize(100, 5_924)}
    download_instructions = (
        "Get CUB_200_2011.tgz (download=True does) and unpack it, so that root holds "
        "CUB_200_2011/images.txt, CUB_200_2011/image_class_labels.txt and CUB_200_2011/images/."
    )
    archive = downloads.Archive(
        url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
        md5="97eceeb196236b17998738112f37df78",
        folder="CUB_200_2011",
        filename="CUB_200_2011.tgz",
    )

    @classmethod
    @override
    def read(cls, root: Path) -> list[ImageRecord]:
        base = cls._find_folder(root, (cls.archive.folder, "."), "images.txt")
        class_ids = _read_by_image_id(base / "image_class_labels.txt")
        paths = _read_by_image_id(base / "images.txt")
        if different := class_ids.keys() ^ paths.keys():
            first = min(different)
            location = (class_ids.get(first) or paths[first])[0]
            raise ValueError(
                f"{location}: image id {first} must be in images.txt and in "
                f"image_class_labels.txt; {len(different)} image ids are in one of them only"
            )
        records = []
        for image_id, (location, path) in paths.items():
            label = annotations.parse_class_id(*class_ids[image_id], LAST_CLASS)
            split = "train" if label <= LAST_TRAIN_CLASS else "test"
            class_name = path.rpartition("/")[0]
            file = annotations.image_path(location, base / "images", path)
            records.append(ImageRecord(file, label, class_name, split, location))
        return records


def _read_by_image_id(path: Path) -> dict[int, tuple[str, str]]:
    """Map each image id to (location, the rest of its line)."""
    found: dict[int, tuple[str, str]] = {}
    for location, line in annotations.read_lines(path):
        number, rest = annotations.split_fields(location, line, "id value")
        image_id = annotations.parse_integer(location, "the image id", number)
        if image_id in found:
            raise ValueError(f"{location}: image id {image_id} is also in {found[image_id][0]}")
        found[image_id] = location, rest
    return found
