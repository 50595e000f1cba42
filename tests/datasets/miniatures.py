"""Each data set in its real format, with its real traps: four classes of five images a part."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from pml_gpw.datasets import CUB200, Cars196, ImageFolder, InShop, StanfordOnlineProducts

PER_CLASS = 5
JUNK = b"\0\5\26\7\0\2\0\0Mac OS X        "  # what ._ files hold


def picture(path, label, number, mode="RGB", file_format="JPEG", size=(40, 32)):
    """Write an image whose colours and stripes tell its class."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    look, noise = np.random.default_rng(label), np.random.default_rng((label, number))
    colour, wave = look.uniform(60, 200, 3), look.uniform(0.2, 1.2, 2)
    y, x = np.mgrid[: size[1], : size[0]]
    stripes = 40 * np.sin(wave[0] * x + wave[1] * y + noise.uniform(0, 0.5))
    pixels = colour + stripes[..., None] + noise.normal(0, 8, (size[1], size[0], 3))
    image = Image.fromarray(pixels.clip(0, 255).astype("uint8"), "RGB").convert(mode)
    image.save(path, file_format)


def _mode(number):
    """The first images are grey, or have transparency and another format than their name says."""
    return {0: ("L", "JPEG"), 1: ("RGBA", "PNG")}.get(number, ("RGB", "JPEG"))


def cub200(root, classes=(1, 2, 50, 100, 101, 150, 199, 200)):
    base = root / "CUB_200_2011"
    images, labels, closed_set = [], [], []
    for label in classes:
        for i in range(PER_CLASS):
            number = len(images)
            path = f"{label:03}.Bird_of_{label}/Bird {i} of {label}.jpg"
            picture(base / "images" / path, label, i, *_mode(number))
            images.append(f"{number + 1} {path}")
            labels.append(f"{number + 1} {label}")
            closed_set.append(f"{number + 1} {i % 2}")
    (base / "images/001.Bird_of_1/._Bird 0 of 1.jpg").write_bytes(JUNK)
    (base / "images.txt").write_text("\r\n".join(images) + "\r\n\r\n", newline="")
    # in another order: rows belong together by id
    (base / "image_class_labels.txt").write_text("\n".join(reversed(labels)) + "\n")
    (base / "train_test_split.txt").write_text("\n".join(closed_set) + "\n")


CARS = (1, 2, 97, 98, 99, 100, 195, 196)


def _cars(root, images, numbers, annotations, field):
    """Annotations as in the published files: boxes, class, and the path first or last."""
    rows = [(label, i) for label in CARS for i in numbers]
    box = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
    whole = field == "relative_im_path"
    names = (field, *box, "class", "test") if whole else (*box, "class", field)
    structure = np.zeros((1, len(rows)), dtype=[(name, "O") for name in names])
    for n, (label, i) in enumerate(rows):
        path = images.format(n + 1)
        picture(root / path, label, i, *_mode(n))
        structure[field][0, n] = path if whole else path.rpartition("/")[2]
        structure["class"][0, n] = np.uint8(label)
    (root / annotations).parent.mkdir(exist_ok=True)
    savemat(root / annotations, {"annotations": structure})


def cars196(root):
    _cars(root, "car_ims/{:06}.jpg", range(PER_CLASS), "cars_annos.mat", "relative_im_path")
    (root / "car_ims/._000001.jpg").write_bytes(JUNK)


def cars196_for_classification(root):
    """Both parts have all classes, and their file names start again."""
    _cars(root, "cars_train/{:05}.jpg", range(3), "devkit/cars_train_annos.mat", "fname")
    annotations = "cars_test_annos_withlabels.mat"
    _cars(root, "cars_test/{:05}.jpg", range(3, PER_CLASS), annotations, "fname")


def stanford_online_products(root, train=(1, 2, 3, 4), test=(11319, 11320, 11321, 11322)):
    base, number = root / "Stanford_Online_Products", 0
    for split, classes in (("train", train), ("test", test)):
        rows = ["image_id class_id super_class_id path"]
        for label in classes:
            for i in range(1 if label == train[-1] else PER_CLASS):  # a class of one image
                number += 1
                path = f"bicycle_final/{111085122871 + label}_{i}.JPG"
                picture(base / path, label, i, *_mode(number - 1))
                rows.append(f"{number} {label} 1 {path}")
        (base / f"Ebay_{split}.txt").write_text("\r\n".join(rows) + "\r\n", newline="")
    (base / "bicycle_final/._111085122872_0.JPG").write_bytes(JUNK)


def in_shop(root, images="img", partition="Eval", train=(1, 2, 5, 80), test=(3, 4, 90, 7982)):
    rows = []
    for label in (*train, *test):
        for i in range(PER_CLASS):
            split = "train" if label in train else "query" if i < 2 else "gallery"
            path = f"WOMEN/Blouses Shirts/id_{label:08}/{i + 1:02}_1_front.jpg"
            picture(root / images / path, label, i, *_mode(len(rows)), size=(32, 32))
            rows.append(f"img/{path}    id_{label:08}  {split}")
    text = [str(len(rows)), "image_name item_id evaluation_status", *rows]
    (root / partition).mkdir(parents=True, exist_ok=True)
    (root / partition / "list_eval_partition.txt").write_text("\n".join(text) + "\n")


def image_folder(root):
    for label, name in enumerate(("ash", "birch", "cedar", "elm", "fir", "oak", "pine", "yew")):
        for i in range(PER_CLASS):
            picture(root / name / "2026" / f"{i}.JPG", label, i, *_mode(5 * label + i))
        (root / name / "notes.txt").write_text("no image")
    (root / "ash/._0.jpg").write_bytes(JUNK)
    (root / ".thumbnails").mkdir()


MINIATURES = {
    "CUB200": (CUB200, cub200),
    "Cars196": (Cars196, cars196),
    "Cars196, classification": (Cars196, cars196_for_classification),
    "StanfordOnlineProducts": (StanfordOnlineProducts, stanford_online_products),
    "InShop": (InShop, in_shop),
    "ImageFolder": (ImageFolder, image_folder),
}
