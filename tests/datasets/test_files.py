"""The annotated paths lead to files in root, each to another."""

import os

import pytest

from pml_gpw.datasets import CUB200, InShop
from pml_gpw.datasets.__main__ import main
from pml_gpw.datasets.files import _identity

from . import miniatures
from .helpers import assert_refused, rewrite

BIRD = "200.Bird_of_200"
IMAGE, TWICE = f"{BIRD}/Bird 4 of 200.jpg", "is the same file as .*images.txt, line 40"
OUTSIDE = r"leads to \S*elsewhere\S* by a link, out of root; allow_links=True allows it"


def add_image(root, path):
    """List one more image, of the last class; links and files of all kinds are there."""
    miniatures.picture(root.parent / "elsewhere/1.jpg", 200, 9)
    base = root / "CUB_200_2011"
    rewrite(base / "images.txt", lambda lines: [*lines, f"41 {path}"])
    rewrite(base / "image_class_labels.txt", lambda lines: [*lines, "41 200"])
    images = base / "images"
    (images / BIRD / "empty.jpg").touch()
    os.link(images / IMAGE, images / "199.Bird_of_199/hard link.jpg")
    for link, target in (
        (f"{BIRD}/link.jpg", images / IMAGE),
        (f"{BIRD}/loop.jpg", images / BIRD / "loop.jpg"),
        ("linked", images / BIRD),
        ("out", root.parent / "elsewhere"),
        ("out.jpg", root.parent / "elsewhere/1.jpg"),
    ):
        (images / link).symlink_to(target)
    return base / "images.txt"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        # an image that is listed twice would find itself, and Recall@1 would be 1
        (IMAGE, "is also in .*images.txt, line 40"),
        (f"{BIRD}/../{IMAGE}", TWICE),
        (f"{BIRD}/link.jpg", TWICE),
        ("199.Bird_of_199/hard link.jpg", TWICE),
        ("linked/Bird 4 of 200.jpg", TWICE),
        (f"{BIRD}/empty.jpg", "is empty"),
        (f"{BIRD}/no.jpg", "is missing"),
        (f"{BIRD}/loop.jpg", "is missing"),
        ("a\0b.jpg", "is missing"),
        ("n" * 5000, "is missing"),
        (BIRD, "is not a file"),
        ("../../../elsewhere/1.jpg", "leaves root, .*copy"),
        ("{root}/../elsewhere/1.jpg", "leaves root, .*copy"),
        ("out/1.jpg", OUTSIDE),
        ("out.jpg", OUTSIDE),
    ],
    ids=lambda value: value[:12],
)
def test_paths_that_cannot_be(copy_of, path, said):
    _, root = copy_of("CUB200")
    annotations = add_image(root, path.format(root=root))
    assert_refused(CUB200, root, f"{annotations}, line 41: .* {said}")
    if "leaves" in said:  # it is no link
        with pytest.raises(ValueError, match="leaves root"):
            CUB200(root, "test", allow_links=True)


def test_links_out_of_root_are_an_option(copy_of, capsys):
    _, root = copy_of("CUB200")
    add_image(root, "out/1.jpg")
    queries, _ = CUB200.evaluation_splits(root, allow_links=True)
    assert len(queries) == 21
    assert queries[20][0].mode == "RGB"
    main(["verify", "CUB200", str(root), "--quick", "--allow-links"])
    assert "by a link" not in capsys.readouterr().out


def test_files_on_a_file_system_without_file_numbers(tmp_path):
    def identity(path):
        return _identity(str(path), os.stat_result((0o100644, 0, 0, 1, 0, 0, 9, 0, 0, 0)))

    (tmp_path / "a").mkdir()
    assert identity(tmp_path / "a/../a/1.jpg") == identity(tmp_path / "a/1.jpg")
    assert identity(tmp_path / "a/1.jpg") != identity(tmp_path / "a/2.jpg")


def test_a_root_by_a_link_or_a_relative_path(copy_of, tmp_path, monkeypatch):
    _, root = copy_of("InShop")
    (tmp_path / "link").symlink_to(root)
    assert len(InShop(tmp_path / "link", "query")) == 8
    monkeypatch.chdir(root)
    assert len(InShop(".", "query")) == len(InShop("Eval/..", "query")) == 8
