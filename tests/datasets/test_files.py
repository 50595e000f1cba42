"""The annotated paths lead to files in root, each to another."""

import os
from pathlib import Path

import pytest

from pml_gpw.datasets import InShop
from pml_gpw.datasets.__main__ import main
from pml_gpw.datasets.files import _identity

from . import miniatures
from .helpers import assert_refused, rewrite, some_image


def test_images_that_are_missing_or_empty(copy_of):
    dataset, root = copy_of("InShop")
    path = some_image(dataset, root)
    Path(path).write_bytes(b"")
    assert_refused(dataset, root, f"{path} is empty")
    os.remove(path)
    assert_refused(dataset, root, f"{path} is missing")


def add_image(root, path):
    """List one more image of CUB-200, of the last class."""
    base = root / "CUB_200_2011"
    rewrite(base / "images.txt", lambda lines: [*lines, f"41 {path}"])
    rewrite(base / "image_class_labels.txt", lambda lines: [*lines, "41 200"])
    return base / "images", rf"{base / 'images.txt'}, line 41: "


IMAGE = "200.Bird_of_200/Bird 4 of 200.jpg"


@pytest.mark.parametrize(
    "path",
    [
        IMAGE,
        "200.Bird_of_200/../200.Bird_of_200/Bird 4 of 200.jpg",
        "200.Bird_of_200/./Bird 4 of 200.jpg",
        "200.Bird_of_200/link.jpg",
        "199.Bird_of_199/hard link.jpg",
        "linked/Bird 4 of 200.jpg",
    ],
)
def test_one_file_under_two_paths(copy_of, path):
    """It would find itself, and Recall@1 would be 1."""
    dataset, root = copy_of("CUB200")
    images, line = add_image(root, path)
    (images / "200.Bird_of_200/link.jpg").symlink_to(images / IMAGE)
    os.link(images / IMAGE, images / "199.Bird_of_199/hard link.jpg")
    (images / "linked").symlink_to(images / "200.Bird_of_200")
    assert_refused(dataset, root, rf"{line}.* is (also in|the same file as) .*images.txt, line 40")


def test_files_on_a_file_system_without_file_numbers(tmp_path):
    def identity(path):
        return _identity(str(path), os.stat_result((0o100644, 0, 0, 1, 0, 0, 9, 0, 0, 0)))

    (tmp_path / "a").mkdir()
    assert identity(tmp_path / "a/../a/1.jpg") == identity(tmp_path / "a/1.jpg")
    assert identity(tmp_path / "a/1.jpg") != identity(tmp_path / "a/2.jpg")


@pytest.fixture
def outside(tmp_path):
    path = tmp_path / "elsewhere/1.jpg"
    miniatures.picture(path, 200, 9)
    return path


@pytest.mark.parametrize("absolute", [False, True])
def test_annotated_paths_may_not_leave_the_root(copy_of, outside, absolute):
    dataset, root = copy_of("CUB200")
    _, line = add_image(root, outside if absolute else "../../../elsewhere/1.jpg")
    assert_refused(dataset, root, rf"{line}.*elsewhere/1.jpg leaves root, {root}")
    with pytest.raises(ValueError, match="leaves root"):  # it is no link
        dataset(root, dataset.queries, allow_links=True)


@pytest.mark.parametrize("link", ["linked.jpg", "linked"])
def test_links_out_of_root_are_an_option(copy_of, outside, link, capsys):
    dataset, root = copy_of("CUB200")
    to_file = link.endswith(".jpg")
    images, line = add_image(root, link if to_file else f"{link}/1.jpg")
    (images / link).symlink_to(outside if to_file else outside.parent)
    said = rf"{line}.*linked\S* leads to {outside.parent}\S* by a link, out of root; allow_links"
    assert_refused(dataset, root, said)
    queries, _ = dataset.evaluation_splits(root, allow_links=True)
    assert len(queries) == 21
    assert queries[20][0].mode == "RGB"
    main(["verify", "CUB200", str(root), "--quick", "--allow-links"])
    assert "by a link" not in capsys.readouterr().out


def test_a_root_by_a_link_or_a_relative_path(copy_of, tmp_path, monkeypatch):
    _, root = copy_of("InShop")
    (tmp_path / "link").symlink_to(root)
    assert len(InShop(tmp_path / "link", "query")) == 8
    monkeypatch.chdir(root)
    assert len(InShop(".", "query")) == len(InShop("Eval/..", "query")) == 8


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("200.Bird_of_200", "is not a file"),
        ("a\0b.jpg", "is missing"),
        ("n" * 5000, "is missing"),
        ("200.Bird_of_200/loop", "is missing"),
    ],
    ids=["folder", "NUL", "long", "loop"],
)
def test_paths_that_are_no_files(copy_of, path, said):
    dataset, root = copy_of("CUB200")
    images, line = add_image(root, path)
    (images / "200.Bird_of_200/loop").symlink_to(images / "200.Bird_of_200/loop")
    assert_refused(dataset, root, f"{line}.* {said}")
