"""Errors of files name the file and say what to do; other errors stay what they are."""

import errno
import os
import shutil

import pytest
import torch

from pml_gpw.training import FileError
from pml_gpw.training.file_errors import as_file_error, naming_file, reading_file


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room on its disk"),
        (errno.EROFS, "allow access to it"),
        (errno.EEXIST, "remove what is in its place"),
        (errno.ENAMETOOLONG, "give a shorter path"),
        (errno.ENOENT, "put it back"),
        (errno.EIO, "look at its disk"),
    ],
)
def test_an_error_of_the_system(tmp_path, number, advice):
    with pytest.raises(FileError) as error, naming_file(tmp_path / "x.pt"):
        raise OSError(number, os.strerror(number))
    assert str(error.value).startswith(f"{tmp_path / 'x.pt'} cannot be used (")
    assert os.strerror(number) in str(error.value)
    assert advice in str(error.value)


def test_a_folder_that_cannot_be_copied(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/link").symlink_to("nowhere")
    with pytest.raises(FileError, match="link cannot be copied from"), naming_file(tmp_path):
        shutil.copytree(tmp_path / "a", tmp_path / "b")


def test_an_error_that_names_no_file_may_not_be_about_one(tmp_path):
    error = OSError("something")
    assert as_file_error(error, tmp_path) is None
    assert "something" in str(as_file_error(error, tmp_path, surely=True))


def test_files_that_cannot_be_read(tmp_path):
    for path, said in ((tmp_path / "no", "no cannot be read"), (tmp_path / "x", "x is damaged")):
        (tmp_path / "x").write_text("{")
        told = pytest.raises(FileError, match=f"{said}.*; get another")
        with told, reading_file(path, "get another"):
            torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("block", "error"),
    [
        (naming_file, RuntimeError("of no file")),
        (naming_file, BrokenPipeError(errno.EPIPE, "")),
        (lambda path: reading_file(path, "get another"), MemoryError()),
        (lambda path: reading_file(path, "get another"), FileError("of another")),
        (lambda path: reading_file(path, "get another"), KeyboardInterrupt()),
    ],
)
def test_other_errors_stay(tmp_path, block, error):
    with pytest.raises(type(error)) as caught, block(tmp_path):
        raise error
    assert caught.value is error
