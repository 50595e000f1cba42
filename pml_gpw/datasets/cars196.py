"""Stanford Cars."""

from pathlib import Path
from typing import Any, ClassVar

from ..optional import optional
from .images import ImageDataset
from .rows import Row, Size

LAST_TRAINED = 98
RETRIEVAL, TRAIN, TEST = "cars_annos.mat", "cars_train_annos.mat", "cars_test_annos_withlabels.mat"


class Cars196(ImageDataset):
    """Cars-196: 196 models of cars; the first 98 train, the others test.

    ``root`` has one of the two layouts in which the set is found: that for retrieval,
    ``cars_annos.mat`` and ``car_ims/``; or that for classification, ``cars_train/``,
    ``cars_test/`` and ``devkit/`` with ``cars_train_annos.mat`` and
    ``cars_test_annos_withlabels.mat`` (the latter also beside ``devkit/``), whose two parts both
    have all classes and are put together first. Labels are the class ids 1 to 196.

    Source: Krause et al., 3D object representations for fine-grained categorization, 2013.
    """

    ks = (1, 2, 4, 8, 16, 32)
    published: ClassVar = {"train": Size(98, 8_054), "test": Size(98, 8_131)}
    where = (
        "Its host is gone, and no mirror is known to be stable. root must hold cars_annos.mat (md5 "
        "b407c6086d669747186bd1d764ff9dbc) and car_ims/ (of car_ims.tgz, md5 "
        "d5c8f0aa497503f355e17dc7886c3f14), or cars_train/, cars_test/ and devkit/ with "
        "cars_train_annos.mat and cars_test_annos_withlabels.mat."
    )

    @classmethod
    def read(cls, root: Path) -> list[Row]:
        """The rows of the layout that is there."""
        beside_other = (root / "cars_train").is_dir() and not (root / "car_ims").is_dir()
        if (root / RETRIEVAL).exists() and not beside_other:
            return _rows(root / RETRIEVAL, root, "relative_im_path")
        devkit = cls._first(root, ("devkit", "."), TRAIN)
        beside = cls._first(root, ("devkit", "."), TEST)
        return [
            *_rows(devkit / TRAIN, root / "cars_train", "fname"),
            *_rows(beside / TEST, root / "cars_test", "fname"),
        ]


def _rows(path: Path, images: Path, path_field: str) -> list[Row]:
    rows = []
    annotations = _annotations(path, path_field)
    for number, (image, label) in enumerate(
        zip(annotations[path_field], annotations["class"], strict=True), start=1
    ):
        split = "train" if int(label) <= LAST_TRAINED else "test"
        place = f"{path}, row {number}"
        rows.append(Row(str(images / str(image)), int(label), f"class {label}", split, place))
    return rows


def _annotations(path: Path, path_field: str) -> Any:
    """The structured array of a file, or a ValueError naming it."""
    io = optional("scipy.io", "datasets")
    try:
        content = io.loadmat(path, squeeze_me=True)
    except Exception as error:  # scipy raises what its parsers happen to meet
        raise ValueError(f"{path} cannot be read as a MATLAB file: {error}") from error
    annotations = content.get("annotations")
    names = getattr(getattr(annotations, "dtype", None), "names", None) or ()
    if annotations is None or not {path_field, "class"} <= {*names}:
        raise ValueError(
            f"{path} must hold 'annotations' with the fields {path_field!r} and 'class', "
            f"got {', '.join(names) or 'none'}"
        )
    return annotations.reshape(-1)  # a single row would come without an axis
