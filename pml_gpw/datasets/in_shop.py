"""DeepFashion: In-shop Clothes Retrieval."""

import re
from pathlib import Path
from typing import ClassVar

from . import annotations
from .images import ImageDataset
from .rows import Row, Size

PARTITION = "list_eval_partition.txt"
FORM = "image_name item_id evaluation_status"
IMAGES = ("img", "img_highres", "Img/img", "Img/img_highres")


class InShop(ImageDataset):
    """In-Shop Clothes Retrieval: splits "train", "query" and "gallery" of 7,982 pieces of clothing.

    ``root`` holds ``Eval/list_eval_partition.txt`` (or that file itself) and ``img/`` or
    ``img_highres/``; where both are there, ``img/`` is read. Labels are the numbers of the item
    ids. Queries are searched for in the gallery, which has other images of the same items;
    leave-one-out would be another task.

    Source: Liu et al., DeepFashion: Powering robust clothes recognition and retrieval with rich
    annotations, CVPR 2016.
    """

    splits = ("train", "query", "gallery")
    ks = (1, 10, 20, 30, 40, 50)
    queries, references = "query", "gallery"
    published: ClassVar = {
        "train": Size(3_997, 25_882),
        "query": Size(3_985, 14_218),
        "gallery": Size(3_985, 12_612),
    }
    where = (
        "Its authors give the files on request (DeepFashion, In-shop Clothes Retrieval Benchmark); "
        "root must hold Eval/list_eval_partition.txt and the folder img/ or img_highres/."
    )

    @classmethod
    def read(cls, root: Path) -> list[Row]:
        """The rows of list_eval_partition.txt."""
        path = cls._first(root, ("Eval", ".", "Anno"), PARTITION) / PARTITION
        listed = [*annotations.lines(path)]
        if len(listed) < 2 or listed[1][1].split() != FORM.split():
            begin = [line for _, line in listed[:2]]
            raise ValueError(
                f"{path} must begin with the number of rows and the line {FORM!r}, got {begin}. "
                "CelebA has another file of this name"
            )
        (place, count), _, *rows = listed
        expected = annotations.integer(place, "the number of rows", count)
        if len(rows) != expected:
            raise ValueError(f"{path} says {expected} rows in line 1 and has {len(rows)}")
        first = rows[0][1].rsplit(maxsplit=2)[0].removeprefix("img/") if rows else "."
        there = [name for name in IMAGES if (root / name / first).exists()]
        images = cls._first(root, there or IMAGES, ".")  # an empty img/ may lie beside a full one
        return [_row(cls, images, place, line) for place, line in rows]


def _row(cls: type[InShop], images: Path, place: str, line: str) -> Row:
    path, item, split = annotations.fields(place, line, FORM, from_right=True)
    match = re.fullmatch(r"id_(\d+)", item)
    if match is None:
        raise ValueError(f"{place}: item_id must have the form 'id_00000001', got {item!r}")
    if split not in cls.splits:
        allowed = ", ".join(cls.splits)
        raise ValueError(f"{place}: evaluation_status must be one of {allowed}, got {split!r}")
    return Row(str(images / path.removeprefix("img/")), int(match[1]), item, split, place)
