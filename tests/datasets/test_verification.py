import shutil
from pathlib import Path

from pml_gpw.datasets import CUB200
from pml_gpw.datasets.__main__ import main
from pml_gpw.datasets.records import SplitSize


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
    assert CUB200(miniature_roots["CUB200"]).digest().startswith("published ")


def test_copies_are_found_by_their_contents(copy_of, capsys):
    dataset, root = copy_of("CUB200")
    paths = dataset(root, dataset.queries).paths
    shutil.copyfile(paths[3], paths[4])
    assert "same content" not in str(dataset.verify(root, progress=False))
    assert main(["verify", "CUB200", str(root), "--quick", "--contents"]) == 1
    printed = capsys.readouterr()
    assert printed.out.count("same content") == 1
    assert f"{paths[4]} has the same content as {paths[3]} (" in printed.out
    assert "hashing" in printed.err
    assert "decoding" not in printed.err


def test_the_command_says_what_is_wrong_and_abbreviates(copy_of, capsys):
    dataset, root = copy_of("CUB200")
    paths = dataset(root, dataset.queries).paths
    for path in paths[:12]:
        Path(path).write_bytes(b"")
    assert main(["verify", "CUB200", str(root), "--quick"]) == 1
    printed = capsys.readouterr().out
    assert f"{paths[9]} is empty" in printed
    assert f"{paths[10]} is empty" not in printed
    assert "problem: 2 more like the last" in printed
    assert main(["verify", "CUB200", str(root / "nowhere")]) == 2
    assert "root must be a folder" in capsys.readouterr().err
