import pytest
from PIL import Image

from pml_gpw.datasets import ImageFolder

from . import miniatures
from .helpers import assert_refused


def make_images(root, *paths):
    for i, path in enumerate(paths):
        miniatures.picture(root / path, 1, i, file_format="PNG")


def test_a_split_by_its_owner(tmp_path):
    make_images(tmp_path, "train/birch/1.png", "train/elm/1.png", "test/ash/1.png")
    assert ImageFolder(tmp_path, "test").classes == {0: "ash"}
    (tmp_path / "val/oak").mkdir(parents=True)  # it has no images
    assert ImageFolder(tmp_path, "train").classes == {1: "birch", 2: "elm"}


def test_images_are_the_files_named_as_images_in_the_order_of_their_names(tmp_path):
    names = ["1.jpg", "10.PNG", "2.jpeg", "4.webp", "a/c.gif", "a/c/5.tif", "b/7.bmp"]
    others = ["a.pdf", "b.eps", "c.h5", "d.mpg", "e.hdf", "f.psd", "g.txt", "jpg", "h.jpg.zip"]
    make_images(tmp_path, *(f"ash/{name}" for name in (*others, *names[::-1])))
    (tmp_path / "aaa").mkdir()  # no class, since it has no image
    expected = [str(tmp_path / "ash" / name) for name in names]
    assert ImageFolder(tmp_path, "train").paths == expected


SPLITS = "train/ash/1.png", "test/elm/1.png"
OTHERS = "root must hold images in train and test only, got also some in .*"


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ((*SPLITS, "val/oak/2.png"), f"{OTHERS}val"),
        ((*SPLITS, "extra/ash/2.png"), f"{OTHERS}extra"),
        ((*SPLITS, "Validation/oak/2.png"), f"{OTHERS}Validation"),
        ((*SPLITS, "test/ash/2.png"), "'ash' is in test and, by .*train.ash, in training"),
        (("Test/ash/1.png", "Train/elm/1.png"), "has Test, Train, but not both .*, in lower case"),
        (("train/ash/1.png", "val/elm/1.png"), "has train, val, but not both of train and test"),
        (("training/ash/1.png", "oak/elm/1.png"), "has training, but not both of train and test"),
    ],
)
def test_splits_that_cannot_be(tmp_path, paths, said):
    make_images(tmp_path, *paths)
    assert_refused(ImageFolder, tmp_path, said)


@pytest.mark.usefixtures("no_warnings")
@pytest.mark.parametrize("name", ["train", "Test", "val"])
def test_a_root_that_is_itself_a_split(tmp_path, name):
    """A warning says that it is split again; one that lies beside no other split is silent."""
    make_images(tmp_path / name, "ash/1.png", "elm/1.png")
    ImageFolder(tmp_path / name)
    make_images(tmp_path, "gallery/oak/1.png")
    said = f"{name} is itself a split, beside gallery, and its classes are split again: give "
    with pytest.warns(UserWarning, match=said) as caught:
        assert len(ImageFolder(tmp_path / name)) == 1
    assert caught[0].filename == __file__


SYSTEM = ("@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX")


@pytest.mark.parametrize("system", SYSTEM)
def test_folders_of_systems_are_no_classes(tmp_path, system):
    """Thumbnails and pictures that were thrown away are neither classes nor images."""
    make_images(tmp_path, "ash/1.png", "elm/1.png")
    make_images(tmp_path, f"{system}/ash/2.png", f"ash/{system}/1.png/SYNOPHOTO_THUMB_XL.jpg")
    assert ImageFolder(tmp_path).paths == [str(tmp_path / "ash/1.png")]
    (tmp_path / "train").mkdir()
    for tree in ("ash", "elm"):
        (tmp_path / tree).rename(tmp_path / "train" / tree)
    make_images(tmp_path, "test/oak/1.png")
    assert len(ImageFolder(tmp_path)) == 2


@pytest.mark.parametrize("place", [".", "train"])
def test_images_in_no_class_are_a_warning(tmp_path, place):
    make_images(tmp_path, "train/ash/1.png", "test/elm/1.png", f"{place}/b.png", f"{place}/a.png")
    (tmp_path / "notes.txt").touch()
    with pytest.warns(UserWarning, match=r"has 2 images in no class folder, such as a\.png") as w:
        ImageFolder(tmp_path, "train")
    assert w[0].filename == __file__


def test_folders_that_are_links(tmp_path):
    make_images(tmp_path / "elsewhere", "1.png", "deep/2.png")
    root = tmp_path / "root"
    make_images(root, "ash/1.png")
    (root / "ash/above").symlink_to(root / "ash")
    (root / "oak").symlink_to(root / "oak")
    assert len(ImageFolder(root, "train")) == 1
    (root / "elm").symlink_to(tmp_path / "elsewhere")
    assert_refused(ImageFolder, root, "elm/1.png leads to .*elsewhere by a link")
    paths = ImageFolder(root, "test", allow_links=True).paths
    assert paths == [str(root / "elm/1.png"), str(root / "elm/deep/2.png")]


def test_the_background(tmp_path):
    (tmp_path / "ash").mkdir()
    Image.new("RGBA", (1, 1), (10, 20, 30, 0)).save(tmp_path / "ash/1.png")

    def pixel(**options):
        return ImageFolder(tmp_path, "train", **options)[0][0].getpixel((0, 0))

    assert pixel() == (255, 255, 255)
    assert pixel(background=[1, 2, 3]) == (1, 2, 3)
    assert pixel(background=None) == (10, 20, 30)


@pytest.mark.parametrize(("share", "first"), [(0.125, 1), (0.13, 2), (0.01, 1), (0.99, 7)])
def test_a_share_of_the_classes(tmp_path, share, first):
    make_images(tmp_path, *(f"{name}/1.png" for name in "abcdefgh"))
    train, test = (ImageFolder(tmp_path, split, train_share=share) for split in ("train", "test"))
    assert [*train.classes.items(), *test.classes.items()] == [*enumerate("abcdefgh")]
    assert len(train.classes) == first
    queries, _ = ImageFolder.evaluation_splits(tmp_path, train_share=share)
    assert queries.paths == test.paths
