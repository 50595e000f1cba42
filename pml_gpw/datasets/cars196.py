"""Stanford Cars."""

import reprlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from ..optional import import_optional
from .annotations import image_path, refuse_special_file
from .image_dataset import ImageDataset
from .records import ImageRecord, SplitSize

LAST_TRAIN_CLASS, LAST_CLASS = 98, 196
RETRIEVAL_FILE = "cars_annos.mat"
KITS = ("devkit", ".", "car_devkit/devkit")
PARTS = {"cars_train": "cars_train_annos.mat", "cars_test": "cars_test_annos_withlabels.mat"}


class Cars196(ImageDataset):
    """Cars-196: 196 models of cars; the first 98 are for training, the others for test.

    ``root`` has one of the two layouts in which the data set is found: that for retrieval,
    ``cars_annos.mat`` and ``car_ims/``; or that for classification, ``cars_train/``,
    ``cars_test/`` and ``devkit/`` with ``cars_train_annos.mat`` and
    ``cars_test_annos_withlabels.mat`` (the latter also beside ``devkit/``), also as Kaggle packs
    it: ``cars_train/cars_train/``, ``cars_test/cars_test/``, ``car_devkit/devkit/``. The two parts
    of this layout both have all classes and are merged first. Labels are the class ids 1 to 196.

    Source: Krause et al., 3D object representations for fine-grained categorization, 2013.

    A miniature of two classes; the warning says that it is smaller than the published data set:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from scipy.io import savemat
    >>> from pml_gpw.datasets import Cars196
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = Path(folder.name)
    >>> (root / "car_ims").mkdir()
    >>> rows = [("car_ims/1.jpg", 1), ("car_ims/2.jpg", 99)]
    >>> for path, _ in rows:
    ...     Image.new("RGB", (8, 8)).save(root / path)
    >>> fields = [("relative_im_path", object), ("class", object)]
    >>> savemat(root / "cars_annos.mat", {"annotations": np.array([rows], dtype=fields)})
    >>> Cars196(root, "train").labels, Cars196(root, "test").labels
    ([1], [99])
    >>> folder.cleanup()
    """

    ks = (1, 2, 4, 8, 16, 32)
    published: ClassVar = {"train": SplitSize(98, 8_054), "test": SplitSize(98, 8_131)}
    download_instructions = (
        "Its host is gone, and no mirror is known to be stable. root must hold cars_annos.mat (md5 "
        "b407c6086d669747186bd1d764ff9dbc) and car_ims/ (of car_ims.tgz, md5 "
        "d5c8f0aa497503f355e17dc7886c3f14), or cars_train/, cars_test/ and devkit/ with "
        "cars_train_annos.mat and cars_test_annos_withlabels.mat."
    )

    @classmethod
    @override
    def read(cls, root: Path) -> list[ImageRecord]:
        for_classification = (root / "cars_train").is_dir() and not (root / "car_ims").is_dir()
        if (root / RETRIEVAL_FILE).exists() and not for_classification:
            return _read_file(root / RETRIEVAL_FILE, root, "relative_im_path")
        records = []
        for part, name in PARTS.items():
            annotations = cls._find_folder(root, KITS, name) / name
            images = cls._find_folder(root, (f"{part}/{part}", part), ".")
            records += _read_file(annotations, images, "fname")
        return records


def _read_file(path: Path, images: Path, path_field: str) -> list[ImageRecord]:
    records = []
    annotations = _load_annotations(path, path_field)
    for number, (image, class_id) in enumerate(
        zip(annotations[path_field], annotations["class"], strict=True), start=1
    ):
        location = f"{path}, row {number}"
        if not isinstance(image, str) or not image:
            raise ValueError(
                f"{location}: {path_field} must be the path of an image, got {reprlib.repr(image)}"
            )
        label = _parse_class_id(location, class_id)
        split = "train" if label <= LAST_TRAIN_CLASS else "test"
        file = image_path(location, images, image)
        records.append(ImageRecord(file, label, f"class {label}", split, location))
    return records


def _parse_class_id(location: str, class_id: Any) -> int:
    """Return the class id as an integer; MATLAB's numbers are floating point unless converted."""
    is_number = isinstance(class_id, (int, float, np.integer, np.floating))
    if is_number and 1 <= class_id <= LAST_CLASS and class_id == int(class_id):
        return int(class_id)
    raise ValueError(
        f"{location}: class must be an integer in 1..{LAST_CLASS}, got {reprlib.repr(class_id)}"
    )


def _load_annotations(path: Path, path_field: str) -> Any:
    """Return the structured array of a file, or raise a ValueError that names the file."""
    io = import_optional("scipy.io", "datasets")
    refuse_special_file(path)
    try:
        content = io.loadmat(path, squeeze_me=True)
    except Exception as error:  # scipy's parsers raise exceptions of every kind
        raise ValueError(f"{path} cannot be read as a MATLAB file: {error}") from error
    annotations = content.get("annotations")
    names = getattr(getattr(annotations, "dtype", None), "names", None) or ()
    if annotations is None or not {path_field, "class"} <= {*names}:
        raise ValueError(
            f"{path} must hold 'annotations' with the fields {path_field!r} and 'class', "
            f"got {', '.join(names) or 'none'}"
        )
    return annotations.reshape(-1)  # a single row has no axis after squeezing
