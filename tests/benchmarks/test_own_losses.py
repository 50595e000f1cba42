"""A formula in a user's file, through the commands by one option."""

from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from benchmarks import tuning
from benchmarks.data import plan
from benchmarks.measure.tuning_runs import prepare
from pml_gpw.datasets import WorldNames

from . import small_runs
from .data.test_own_losses import FILE


class FewNames(WorldNames):
    def __init__(self, root=None, split="train", transform=None):
        some = ("ar", "de", "el", "en", "es", "fr", "hu", "it", "ja", "ko", "lt", "pl", "ru", "zh")
        super().__init__(root, split, transform, kinds=["cities"], languages=some)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The file; in place of the whole sets a few of their items."""
    monkeypatch.setitem(plan.DATASETS, "WorldNames", FewNames)
    (tmp_path / "mine.py").write_text(FILE)
    return f"{tmp_path / 'mine.py'}:Softmax"


def run(command, *options):
    return small_runs.ok(small_runs.run(command, *options)).output


DATASETS = [WorldNames.__name__]
DATASETS += [pytest.param(n, marks=pytest.mark.exhaustive) for n in ("Glyphs", "ImageFolder")]


def of(dataset, pictures):
    small = ["--batch", 20, "--iterations", 2, "--dims", 8, "--device", "cpu", "--workers", 0]
    folder = {"ImageFolder": ["--root", pictures, "--resize", 18, "--crop", 16]}
    return ["--dataset", dataset, *small, *folder.get(dataset, [])]


@pytest.mark.parametrize("dataset", DATASETS)
def test_accuracy_has_a_row_of_it_with_an_interval(mine, pictures, tmp_path, dataset):
    losses = ["--losses", f"SNP,{mine},CircleLoss", "--seeds", 2, "--output", tmp_path / "out"]
    output = run("accuracy", *of(dataset, pictures), *losses)
    (row,) = [line for line in output.splitlines() if line.startswith("| mine.py:Softmax")]
    assert row.count("±") >= 5
    (path,) = (tmp_path / "out").glob("accuracy-*-only-SNP-mine.py_Softmax-*-runs.csv")
    table = pd.read_csv(path)
    assert (table["loss"] == "mine.py:Softmax").sum() == 2
    assert ("TF-IDF of n-grams" in output) is (dataset == "WorldNames")
    again = run("accuracy", *of(dataset, pictures), *losses)
    assert again.count("read from an earlier call") == 6


@pytest.mark.parametrize("dataset", DATASETS)
def test_tuning_searches_what_is_annotated(mine, pictures, tmp_path, monkeypatch, dataset):
    def threads(jobs, load, folds):  # the processes of a tuning do not know the small sets
        return ThreadPoolExecutor(jobs, initializer=prepare, initargs=(load, folds))

    monkeypatch.setattr(tuning, "processes", threads)
    options = [o for o in of(dataset, pictures) if o not in ("--resize", "--crop", 18, 16)]
    options += ["--losses", f"none,{mine},CircleLoss", "--trials", 2, "--seeds", 2, "--folds", 2]
    output = run("tuning", *options, "--test-iterations", 2, "--output", tmp_path / "out")
    assert "| mine.py:Softmax | t " in output
    assert "Nothing is searched of none, CircleLoss: one trial." in output
    (path,) = (tmp_path / "out").glob("tuning-*/trials.csv")
    trials = pd.read_csv(path).set_index("row").loc["mine.py:Softmax"]
    assert len(trials) == 2
    assert trials["t"].iloc[0] == 0.1
    assert output.count("±") >= 12


@pytest.mark.exhaustive
def test_similarity_usage_has_its_letters(mine, tmp_path):
    output = run("similarity_usage", "--losses", f"{mine},SNP", "--output", tmp_path)
    (row,) = [line for line in output.splitlines() if line.startswith("| mine.py:Softmax")]
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["S N", "–"]


def test_speed_and_the_cost_of_pair_weights_have_a_row_of_it(mine, tmp_path, quick_processes):
    losses = ["--losses", f"{mine},SNP", "--seconds", 0, "--output", tmp_path]
    assert "| mine.py:Softmax" in run("speed", *losses, "--batches", "40")
    output = run("pair_weight_cost", *losses, "--iterations", 1)
    assert "| pair_weights, mine.py:Softmax" in output
    assert (tmp_path / "pair-weight-cost-losses.png").stat().st_size > 5000


def test_the_experiment_of_the_paper_and_its_tables_which_lie_beside_the_runs(mine, tmp_path):
    small = [*of("", None)[2:], "--weights", "random", "--losses", f"SNP,{mine}"]
    runs = tmp_path / "out" / "runs"
    run("paper", "WorldNames", *small, "--output", runs)
    output = run("tables", "--runs", runs)
    assert "| mine.py:Softmax" in output
    assert "## WorldNames" in output
    assert (runs.parent / "paper" / "tables.md").exists()
