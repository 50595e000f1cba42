"""One stem everywhere: ``tests/<folder>/test_<file>.py`` tests ``pml_gpw/<folder>/<file>.py``."""

from pathlib import Path

import pytest

import benchmarks
import pml_gpw

TESTS = Path(__file__).parent
PACKAGE, BENCHMARKS = (Path(module.__file__).parent for module in (pml_gpw, benchmarks))
WITHOUT_A_STEM = {
    # what all files of a folder promise
    "weightings/test_contract.py",
    "mining/test_contract.py",
    "modules/test_threads.py",
    # a user's loss through all commands
    "benchmarks/test_own_losses.py",
    # the protocols that docs/evaluation.md shows
    "evaluation/test_protocols.py",
    # relations of labels in all modules
    "modules/test_related.py",
    "hosts/pml2/test_related.py",
    # arguments that all modules refuse
    "modules/test_calls.py",
    # columns of texts, of integrations/sentence_transformers.py
    "integrations/test_pairs_of_texts.py",
    # objects of PML, plain modules and functions against each other, and those of 0.2
    "hosts/pml2/test_pickles.py",
    "hosts/pml2/test_same_calls.py",
    # what all formulas promise
    "weightings/test_returned_values.py",
    # trainings in PML's trainers
    "hosts/pml2/test_trainers.py",
    # the same on a GPU, and that nothing waits for one
    "engine/test_cuda.py",
    "engine/test_no_waiting.py",
    # several libraries or data sets behind one interface
    "backbones/test_libraries.py",
    "datasets/test_image_datasets.py",
    # published results against the page that shows them
    "benchmarks/test_published.py",
    # the folders of benchmarks/
    "benchmarks/test_layout.py",
    # samplers in the loaders of other libraries
    "training/test_loaders.py",
    # the script of the documentation
    "training/test_from_the_wheel.py",
    # the commands in the processes that torchrun starts
    "benchmarks/test_several_processes.py",
    # pml_gpw/__main__.py, benchmarks/__main__.py and pml_gpw/datasets/__main__.py
    "test_main.py",
    "datasets/test_main.py",
    # the repository rather than the package
    "test_bounds.py",
    "test_docstrings.py",
    "test_imports.py",
    "test_stems.py",
    "test_structure.py",
    "test_readme.py",
    "test_notebooks.py",
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
    assert test.as_posix() in WITHOUT_A_STEM or file_of(test).exists()


@pytest.mark.parametrize("test", ["test_pairs.py", "engine/test_streamed.py", "nowhere/test_x.py"])
def test_another_stem_would_be_noticed(test):
    assert not file_of(Path(test)).exists()


def test_a_room_of_its_own_has_no_exception():
    assert Path("engine/test_plan.py") in FILES
    for name in FOLDERS_WITHOUT_A_ROOM:
        assert not (PACKAGE / name).exists()
