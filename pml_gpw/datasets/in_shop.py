"""DeepFashion: In-shop Clothes Retrieval."""

import os
import re
import reprlib
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from . import annotations
from .image_dataset import ImageDataset
from .records import ImageRecord, SplitSize

PARTITION_FILE = "list_eval_partition.txt"
HEADER = "image_name item_id evaluation_status"
IMAGE_FOLDERS = ("img", "img_highres", "Img/img", "Img/img_highres")


class InShop(ImageDataset):
    """In-Shop Clothes Retrieval: splits "train", "query" and "gallery" of 7,982 pieces of clothing.

    ``root`` contains ``Eval/list_eval_partition.txt`` (or that file itself) and ``img/`` or
    ``img_highres/``; where both exist, ``img/`` is read. Labels are the numbers of the item ids.
    Queries are searched for in the gallery, which has other images of the same items;
    leave-one-out would be another task.

    Source: Liu et al., DeepFashion: Powering robust clothes recognition and retrieval with rich
    annotations, CVPR 2016.

    A miniature of two items; the warning says that it is smaller than the published data set:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from pml_gpw.datasets import InShop
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = Path(folder.name)
    >>> (root / "img").mkdir()
    >>> lines = ["3", "image_name item_id evaluation_status"]
    >>> for name, item, split in (("a", 1, "train"), ("b", 2, "query"), ("c", 2, "gallery")):
    ...     Image.new("RGB", (8, 8)).save(root / f"img/{name}.jpg")
    ...     lines.append(f"img/{name}.jpg id_{item:08} {split}")
    >>> _ = (root / "list_eval_partition.txt").write_text("\\n".join(lines))
    >>> query, gallery = InShop.evaluation_splits(root)
    >>> query.labels, gallery.labels
    ([2], [2])
    >>> folder.cleanup()
    """

    splits = ("train", "query", "gallery")
    ks = (1, 10, 20, 30, 40, 50)
    queries, references = "query", "gallery"
    published: ClassVar = {
        "train": SplitSize(3_997, 25_882),
        "query": SplitSize(3_985, 14_218),
        "gallery": SplitSize(3_985, 12_612),
    }
    download_instructions = (
        "Its authors give the files on request (DeepFashion, In-shop Clothes Retrieval Benchmark); "
        "root must hold Eval/list_eval_partition.txt and the folder img/ or img_highres/."
    )

    @classmethod
    @override
    def read(cls, root: Path) -> list[ImageRecord]:
        path = cls._find_folder(root, ("Eval", ".", "Anno"), PARTITION_FILE) / PARTITION_FILE
        all_lines = [*annotations.read_lines(path)]
        if len(all_lines) < 2 or all_lines[1][1].split() != HEADER.split():
            first_two = [line for _, line in all_lines[:2]]
            raise ValueError(
                f"{path} must begin with the number of rows and the line {HEADER!r}, "
                f"got {first_two}. CelebA has another file of this name"
            )
        (location, count), _, *lines = all_lines
        expected = annotations.parse_integer(location, "the number of rows", count)
        if len(lines) != expected:
            raise ValueError(
                f"{location}: the number of rows must be {len(lines)}, which is how many follow "
                f"the header, got {expected}"
            )
        # An empty img/ may lie beside a full img_highres/, so the first image decides.
        first = lines[0][1].rsplit(maxsplit=2)[0].removeprefix("img/") if lines else "."
        existing = [name for name in IMAGE_FOLDERS if os.path.exists(root / name / first)]
        images = cls._find_folder(root, existing or IMAGE_FOLDERS, ".")
        return [_parse_line(cls, images, location, line) for location, line in lines]


def _parse_line(cls: type[InShop], images: Path, location: str, line: str) -> ImageRecord:
    path, item, split = annotations.split_fields(location, line, HEADER, path_first=True)
    match = re.fullmatch(r"id_([0-9]+)", item)
    if match is None:
        raise ValueError(
            f"{location}: item_id must have the form 'id_00000001', got {reprlib.repr(item)}"
        )
    if split not in cls.splits:
        raise ValueError(
            f"{location}: evaluation_status must be one of {', '.join(cls.splits)}, "
            f"got {reprlib.repr(split)}"
        )
    file = annotations.image_path(location, images, path.removeprefix("img/"))
    label = annotations.parse_integer(location, "the number of item_id", match[1])
    return ImageRecord(file, label, item, split, location)
