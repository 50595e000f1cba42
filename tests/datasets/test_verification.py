import shutil

import pytest

from pml_gpw.datasets import CUB200
from pml_gpw.datasets.__main__ import main
from pml_gpw.datasets.records import SplitSize

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


def test_verify_finds_nothing_but_the_size(miniature, capsys):
    dataset, root = miniature
    report = dataset.verify(root, progress=False)
    assert all("images of" in problem for problem in report.problems)
    assert len(report.problems) == len(dataset.published)
    for split, size in dataset.published.items():
        assert f"{size.images:,} images of {size.classes:,} classes" in str(report)
        assert str(report.found[split]) in str(report)
    code = main(["verify", dataset.__name__, str(root)])
    assert code == (1 if dataset.published else 0)
    assert capsys.readouterr().out.strip() == str(report)


def test_a_set_of_the_published_size_verifies(miniature_roots, monkeypatch):
    monkeypatch.setattr(CUB200, "published", {"train": SplitSize(4, 20), "test": SplitSize(4, 20)})
    report = CUB200.verify(miniature_roots["CUB200"], progress=False)
    assert report.ok
    assert "no problem found" in str(report)


def test_copies_are_found_by_their_contents(miniature_copy, capsys):
    dataset, root = miniature_copy
    paths = dataset(root, dataset.queries).paths
    shutil.copyfile(paths[3], paths[4])
    assert "same content" not in str(dataset.verify(root, progress=False))
    report = dataset.verify(root, decode=False, progress=False, contents=True)
    found = [problem for problem in report.problems if "same content" in problem]
    assert len(found) == 1
    assert f"{paths[4]} has the same content as {paths[3]} (" in found[0]
    assert main(["verify", dataset.__name__, str(root), "--quick", "--contents"]) == 1
    printed = capsys.readouterr()
    assert found[0] in printed.out
    assert "hashing" in printed.err
