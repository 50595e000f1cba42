import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch.utils.data import DataLoader

from pml_gpw.datasets import CUB200, Cars196, ImageFolder, InShop, StanfordOnlineProducts
from pml_gpw.datasets.__main__ import main
from pml_gpw.datasets.rows import Size

from . import miniatures
from .miniatures import MINIATURES, PER_CLASS

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Each miniature once, not to be changed."""
    roots = {name: tmp_path_factory.mktemp("miniature") for name in MINIATURES}
    for name, (_, make) in MINIATURES.items():
        make(roots[name])
    return roots


@pytest.fixture(params=MINIATURES)
def mini(request, folders):
    return MINIATURES[request.param][0], folders[request.param]


@pytest.fixture
def copy_of(tmp_path, folders):
    """Name → (class, a copy of the miniature, to be broken)."""

    def copy(name):
        root = shutil.copytree(folders[name], tmp_path / "own")
        return MINIATURES[name][0], root

    return copy


@pytest.fixture(params=MINIATURES)
def own(request, copy_of):
    return copy_of(request.param)


def tensor(image):
    return torch.from_numpy(np.array(image.resize((8, 8)))).permute(2, 0, 1)


# --- the good form ---------------------------------------------------------------------------


def test_every_image_is_rgb_with_an_integer_label(mini):
    dataset, root = mini
    for split in dataset.splits:
        data = dataset(root, split, transform=tensor)
        assert len(data) == len(data.paths) == len(data.labels) > 0
        for i, (image, label) in enumerate(data):
            assert image.shape == (3, 8, 8)
            assert type(label) is int
            assert label == data.labels[i]
            assert label in data.classes
            if i + 1 == len(data):
                break


def test_the_first_image_is_really_grey_and_the_second_transparent(mini):
    """Otherwise the miniatures would not have the traps they claim."""
    dataset, root = mini
    modes = set()
    for split in dataset.splits:
        for path in dataset(root, split).paths:
            with Image.open(path) as image:
                modes.add(image.mode)
    assert modes == {"L", "RGBA", "RGB"}


def test_no_class_is_trained_and_tested(mini):
    dataset, root = mini
    train = set(dataset(root, "train").labels)
    queries, references = dataset.evaluation_splits(root)
    test = set(queries.labels) | set(references.labels if references else [])
    assert train
    assert test
    assert not train & test


def test_sizes(mini):
    dataset, root = mini
    singleton = dataset is StanfordOnlineProducts  # one class with one image
    train = dataset(root, "train")
    assert (len(train.classes), len(train)) == (4, 4 * PER_CLASS - 4 * singleton)
    queries, references = dataset.evaluation_splits(root)
    assert len(queries) + len(references or []) == 4 * PER_CLASS
    assert len(queries.classes) == 4


def test_loads_in_worker_processes_as_a_batch(mini):
    dataset, root = mini
    data = dataset(root, "train", transform=tensor)
    images, labels = next(iter(DataLoader(data, batch_size=6, num_workers=1)))
    assert images.shape == (6, 3, 8, 8)
    assert labels.dtype == torch.int64
    assert pickle.loads(pickle.dumps(data)).paths == data.paths


def test_target_transform(mini):
    dataset, root = mini
    data = dataset(root, "train", target_transform=str)
    assert data[0][1] == str(data.labels[0])


def test_verify_finds_nothing_but_the_size(mini, capsys):
    dataset, root = mini
    report = dataset.verify(root, progress=False)
    assert all("images of" in problem for problem in report.problems)
    assert len(report.problems) == len(dataset.published)
    for split, size in dataset.published.items():
        assert f"{size.images:,} images of {size.classes:,} classes" in str(report)
        assert str(report.found[split]) in str(report)
    code = main(["verify", dataset.__name__, str(root)])
    assert code == (1 if dataset.published else 0)
    assert capsys.readouterr().out.strip() == str(report)


def test_a_set_of_the_published_size_verifies(folders, monkeypatch):
    monkeypatch.setattr(CUB200, "published", {"train": Size(4, 20), "test": Size(4, 20)})
    report = CUB200.verify(folders["CUB200"], progress=False)
    assert report.ok
    assert "no problem found" in str(report)


def test_another_size_than_published_is_a_warning(folders):
    with pytest.warns(UserWarning, match=r"20 images of 4 classes; published: 5,864 images of 100"):
        CUB200(folders["CUB200"])


# --- what the files say ------------------------------------------------------------------------


def test_cub_splits_by_class_id_and_keeps_it(folders):
    for root in (folders["CUB200"], folders["CUB200"] / "CUB_200_2011"):
        assert sorted(set(CUB200(root, "train").labels)) == [1, 2, 50, 100]
        assert sorted(set(CUB200(root, "test").labels)) == [101, 150, 199, 200]
    data = CUB200(root, "test")
    for path, label in zip(data.paths, data.labels, strict=True):
        assert f"/{label:03}.Bird_of_{label}/" in path
    assert data.classes[101] == "101.Bird_of_101"


def test_both_layouts_of_cars_are_the_same_pictures(folders):
    def pictures(name, split):
        """Label and colour means of each picture that is not grey or transparent."""
        data = Cars196(folders[name], split)
        images = [
            (Image.open(path), label) for path, label in zip(data.paths, data.labels, strict=True)
        ]
        return sorted((y, *np.array(i).mean((0, 1))) for i, y in images if i.mode == "RGB")

    for split in ("train", "test"):
        retrieval, merged = (pictures(name, split) for name in MINIATURES if "Cars" in name)
        assert len({*retrieval} & {*merged}) >= len(retrieval) - 2


def test_annotations_of_classification_beside_the_kit_or_in_it(copy_of):
    dataset, root = copy_of("Cars196, classification")
    beside = root / "cars_test_annos_withlabels.mat"
    before = dataset(root, "test").paths
    beside.rename(root / "devkit" / beside.name)
    assert dataset(root, "test").paths == before


def test_in_shop_wherever_its_files_are(tmp_path):
    for i, (images, partition) in enumerate(
        [("img", "Eval"), ("img_highres", "Eval"), ("img", "."), ("Img/img", "Anno")]
    ):
        root = tmp_path / str(i)
        miniatures.in_shop(root, images, partition)
        data = InShop(root, "query")
        assert sorted(set(data.labels)) == [3, 4, 90, 7982]
        assert f"/{images}/WOMEN/Blouses Shirts/" in data.paths[0]
        assert {*InShop(root, "gallery").labels} == {*data.labels}


def test_image_folder_split_by_its_owner(tmp_path):
    miniatures.image_folder(tmp_path / "all")
    names = sorted(path.name for path in (tmp_path / "all").iterdir() if path.name[0] != ".")
    for i, name in enumerate(names):
        split = "test" if i in (0, 3) else "train"
        (tmp_path / "own" / split).mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).rename(tmp_path / "own" / split / name)
    assert set(ImageFolder(tmp_path / "own", "test").classes.values()) == {"ash", "elm"}
    assert len(ImageFolder(tmp_path / "own", "train").classes) == 6
    (tmp_path / "own/train/ash").mkdir()
    miniatures.picture(tmp_path / "own/train/ash/1.png", 1, 1)
    with pytest.raises(ValueError, match=r"class 'ash' is tested and, by .*train.ash, trained"):
        ImageFolder(tmp_path / "own", "test")


# --- every broken form -------------------------------------------------------------------------


def both_say(dataset, root, pattern):
    """The constructor refuses and the report lists it, both naming the file."""
    with pytest.raises(ValueError, match=pattern):
        dataset(root, dataset.queries)
    report = dataset.verify(root, progress=False)
    assert not report.ok
    assert any(re.search(pattern, problem) for problem in report.problems), report


def some_image(dataset, root):
    return dataset(root, dataset.queries).paths[3]


def test_missing_image(own):
    dataset, root = own
    path = some_image(dataset, root)
    os.remove(path)
    if dataset is ImageFolder:
        assert path not in dataset(root, "test").paths
    else:
        both_say(dataset, root, f"{path} is missing")


def test_empty_image(own):
    dataset, root = own
    path = some_image(dataset, root)
    Path(path).write_bytes(b"")
    both_say(dataset, root, f"{path} is empty")


def test_truncated_image(own):
    dataset, root = own
    path = some_image(dataset, root)
    with open(path, "rb+") as file:
        file.truncate(300)
    data = dataset(root, dataset.queries)
    with pytest.raises(ValueError, match=f"{path} cannot be read as an image"):
        data[3]
    report = dataset.verify(root, progress=False)
    assert any(f"{path} cannot be read as an image" in p for p in report.problems)
    assert not any("cannot be read" in p for p in dataset.verify(root, decode=False).problems)


def test_file_that_is_no_image(own):
    dataset, root = own
    path = some_image(dataset, root)
    Path(path).write_text("<html>404</html>")
    with pytest.raises(ValueError, match=f"{path} cannot be read as an image"):
        dataset(root, dataset.queries)[3]


TEXTS = {
    "CUB200": "CUB_200_2011/images.txt",
    "StanfordOnlineProducts": "Stanford_Online_Products/Ebay_test.txt",
    "InShop": "Eval/list_eval_partition.txt",
}


@pytest.fixture(params=TEXTS)
def text(request, copy_of):
    """(class, root, annotation file) of a copy of its own."""
    dataset, root = copy_of(request.param)
    return dataset, root, root / TEXTS[request.param]


def rewrite(path, change):
    """Change the lines that are not blank."""
    lines = [line for line in path.read_text().splitlines() if line]
    path.write_text("\n".join(change(lines)) + "\n")


def test_a_row_too_many(text):
    """The same image twice; in the words of a set that counts its rows or numbers them."""
    dataset, root, path = text
    rewrite(path, lambda lines: [*lines, lines[-1]])
    said = {"InShop": "says 40 rows in line 1 and has 41", "CUB200": "image id 40 is also in"}
    both_say(dataset, root, f"{path}.*{said.get(dataset.__name__, 'is also in')}")


def test_the_same_image_under_another_number(copy_of):
    dataset, root = copy_of("CUB200")
    images, labels = (root / "CUB_200_2011" / f for f in ("images.txt", "image_class_labels.txt"))
    rewrite(images, lambda lines: [*lines, "41 " + lines[38].split(maxsplit=1)[1]])
    rewrite(labels, lambda lines: [*lines, "41 200"])
    both_say(dataset, root, rf"{images}, line \d+: .* is also in {images}, line 39")


def test_a_row_cut_off(text):
    dataset, root, path = text
    rewrite(path, lambda lines: [*lines[:-1], lines[-1].split()[0]])
    both_say(dataset, root, rf"{path}.*line \d+.*must have the form")


def test_a_number_that_is_none(text):
    dataset, root, path = text
    changes = {
        "CUB200": ("7 ", "seven ", "image id must be an integer"),
        "StanfordOnlineProducts": (" 11320 ", " 11320x ", "class_id must be an integer"),
        "InShop": ("  query", "  val", "evaluation_status must be one of train, query, gallery"),
    }
    old, new, said = changes[dataset.__name__]
    text_ = path.read_text()
    assert old in text_
    path.write_text(text_.replace(old, new))
    both_say(dataset, root, rf"{path}, line \d+: .*{said}")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("InShop", "id_00000003  query", "id_00000003  train"),
        ("StanfordOnlineProducts", " 11319 ", " 1 "),
    ],
)
def test_a_class_trained_and_tested(copy_of, name, old, new):
    dataset, root = copy_of(name)
    path = root / TEXTS[name]
    path.write_text(path.read_text().replace(old, new))
    both_say(dataset, root, f"{path}, line .* is tested and, by .*, trained")


def test_a_query_without_an_answer(copy_of):
    _, root = copy_of("InShop")
    path = root / TEXTS["InShop"]
    path.write_text(path.read_text().replace("id_00000003  gallery", "id_00000033  gallery"))
    both_say(InShop, root, f"{path}, line .*'id_00000003' has no image in the gallery")


def test_annotations_missing(own):
    dataset, root = own
    for path in [*root.rglob("*.txt"), *root.rglob("*.mat")]:
        path.unlink()
    if dataset is not ImageFolder:
        both_say(dataset, root, "root must hold .*none of which is there")


def test_annotations_that_are_no_text(text):
    dataset, root, path = text
    path.write_bytes(b"\xff\xfe\x00\x81" * 20)
    both_say(dataset, root, f"{path} cannot be read as text")


def test_the_file_of_celeba(copy_of):
    _, root = copy_of("InShop")
    path = root / TEXTS["InShop"]
    path.write_text("000001.jpg 0\n000002.jpg 0\n000003.jpg 1\n")
    both_say(InShop, root, f"{path} must begin with .*CelebA has another file")
    path.write_text("")
    both_say(InShop, root, f"{path} must begin with")


def test_a_header_that_is_missing(copy_of):
    _, root = copy_of("StanfordOnlineProducts")
    path = root / TEXTS["StanfordOnlineProducts"]
    rewrite(path, lambda lines: lines[1:])
    both_say(StanfordOnlineProducts, root, f"{path}, line 1: must be the header")


def test_class_labels_of_other_images(copy_of):
    _, root = copy_of("CUB200")
    path = root / "CUB_200_2011/image_class_labels.txt"
    rewrite(path, lambda lines: lines[1:])
    both_say(CUB200, root, f"{path} must have the same image ids; 1 are in one only")


@pytest.mark.parametrize("name", [name for name in MINIATURES if "Cars" in name])
def test_mat_files_that_cannot_be(copy_of, name):
    dataset, root = copy_of(name)
    path = sorted(root.rglob("*.mat"))[0]
    savemat(path, {"annotations": np.zeros(3), "class_names": np.zeros(3)})
    both_say(dataset, root, f"{path} must hold 'annotations' with the fields")
    path.write_bytes(b"<html>moved</html>" * 20)
    both_say(dataset, root, f"{path} cannot be read as a MATLAB file")


def test_test_annotations_without_classes_do_not_serve(copy_of):
    _, root = copy_of("Cars196, classification")
    path = root / "cars_test_annos_withlabels.mat"
    path.rename(root / "devkit/cars_test_annos.mat")
    both_say(Cars196, root, "root must hold .*cars_test_annos_withlabels.mat")


def test_arguments(folders, tmp_path):
    root = folders["CUB200"]
    for arguments, said in (
        ((root, "val"), "split must be one of train, test, got 'val'"),
        ((root, "train", 3), "transform must be None or callable, got 3"),
        ((root, "train", None, "x"), "target_transform must be None or callable"),
        ((None,), "root must be the path of a folder, got None"),
        ((tmp_path / "nowhere",), "root must be a folder, got .*nowhere.*Get CUB_200_2011.tgz"),
        ((tmp_path,), "root must hold .*images.txt"),
    ):
        with pytest.raises(ValueError, match=said):
            CUB200(*arguments)
    for dataset in (Cars196, InShop):
        with pytest.raises(ValueError, match=f"download must be False: {dataset.__name__}.*root"):
            dataset(tmp_path, download=True)
    with pytest.raises(ValueError, match="has no image in split"):
        ImageFolder(tmp_path)


def test_the_command_says_what_is_wrong(own, capsys):
    dataset, root = own
    path = some_image(dataset, root)
    Path(path).write_bytes(b"")
    assert main(["verify", dataset.__name__, str(root), "--quick"]) == 1
    assert f"{path} is empty" in capsys.readouterr().out
    assert main(["verify", dataset.__name__, str(root / "nowhere")]) == 2
    assert "root must be a folder" in capsys.readouterr().err


def test_image_folder_with_half_a_split(copy_of):
    _, root = copy_of("ImageFolder")
    (root / "val").mkdir()
    both_say(ImageFolder, root, f"{root} has val, but not train and test")


def test_folders_without_images_are_no_classes(copy_of):
    _, root = copy_of("ImageFolder")
    before = ImageFolder(root, "train").classes
    for name in ("__MACOSX", "aaa"):
        (root / name).mkdir()
    assert ImageFolder(root, "train").classes == before


def test_in_shop_beside_an_empty_folder(copy_of):
    _, root = copy_of("InShop")
    (root / "img").rename(root / "img_highres")
    (root / "img").mkdir()
    assert "img_highres" in InShop(root, "query").paths[0]


def test_cars_with_annotations_of_the_other_layout(copy_of, folders):
    _, root = copy_of("Cars196, classification")
    shutil.copy(folders["Cars196"] / "cars_annos.mat", root)
    assert "cars_train" in Cars196(root, "train").paths[0]
