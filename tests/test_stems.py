"""One stem everywhere: ``tests/<folder>/test_<file>.py`` tests ``pml_gpw/<folder>/<file>.py``."""

from pathlib import Path

import pytest

import benchmarks
import pml_gpw

TESTS = Path(__file__).parent
PACKAGE, BENCHMARKS = (Path(module.__file__).parent for module in (pml_gpw, benchmarks))
ROOMS = {
    # what all files of a folder promise
    "weightings": "contract returned_values",
    "mining": "contract",
    "modules": "threads calls related",
    "engine": "cuda no_waiting",
    # the protocols that docs/evaluation.md shows
    "evaluation": "protocols",
    # objects of PML, plain modules and functions against each other, those of 0.2, and trainers
    "hosts/pml2": "pickles same_calls related trainers",
    # columns of texts, of integrations/sentence_transformers.py
    "integrations": "pairs_of_texts",
    # several libraries or data sets behind one interface, and pml_gpw/datasets/__main__.py
    "backbones": "libraries",
    "datasets": "image_datasets main",
    # a user's loss and several processes in all commands, published results, and the folders
    "benchmarks": "own_losses several_processes published layout",
    # refused arguments, samplers in the loaders of other libraries, the script of the pages
    "training": "arguments loaders from_the_wheel",
    # the commands, and the repository rather than the package
    ".": "main bounds docstrings imports stems structure readme notebooks mutations",
}
"""Tests of no one file, by folder."""
WITHOUT_A_STEM = {
    Path(folder, f"test_{name}.py") for folder, names in ROOMS.items() for name in names.split()
}
FOLDERS_WITHOUT_A_ROOM = {
    "docs",  # the documentation site
    "everywhere",  # what runs beside PML 2.9, without it and beside PML 3
}
FILES = [
    path.relative_to(TESTS)
    for path in sorted(TESTS.rglob("test_*.py"))
    if path.relative_to(TESTS).parts[0] not in FOLDERS_WITHOUT_A_ROOM
]


def file_of(test):
    """The file that a test's place names: tests/a/test_b.py → pml_gpw/a/b.py."""
    root, *folders = (PACKAGE, *test.parent.parts)
    if folders[:1] == ["benchmarks"]:
        root, folders = BENCHMARKS, folders[1:]
    return root.joinpath(*folders, test.name.removeprefix("test_"))


@pytest.mark.parametrize("test", FILES, ids=str)
def test_every_test_has_its_file(test):
    assert test in WITHOUT_A_STEM or file_of(test).exists()


@pytest.mark.parametrize("test", ["test_pairs.py", "engine/test_streamed.py", "nowhere/test_x.py"])
def test_another_stem_would_be_noticed(test):
    assert not file_of(Path(test)).exists()


def test_a_room_of_its_own_has_no_exception():
    assert Path("engine/test_plan.py") in FILES
    for name in FOLDERS_WITHOUT_A_ROOM:
        assert not (PACKAGE / name).exists()
