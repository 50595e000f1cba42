"""The main job on a slice of Glyphs: what it writes, how it resumes, what it refuses."""

import json
import sqlite3
from dataclasses import replace

import pandas as pd
import pytest
import torch
import typer
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

from benchmarks import accuracy, runs
from benchmarks.contenders import CONTENDERS

app = typer.Typer()
app.command()(accuracy.main)


class FewImages(TensorDataset):
    """Six classes of six noisy pictures, in place of the real set."""

    def __init__(self, root, split):
        generator = torch.Generator().manual_seed(len(split))
        self.labels = torch.arange(36) // 6
        self.classes = list("abcdef")
        patterns = torch.rand(6, 1, 32, 32, generator=generator)[self.labels]
        super().__init__(
            (patterns + 0.3 * torch.rand(36, 1, 32, 32, generator=generator)), self.labels
        )


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    monkeypatch.setitem(accuracy.DATASETS, "glyphs", FewImages)

    def call(*options):
        fixed = ["--batch", "20", "--dims", "8", "--output", str(tmp_path)]
        return CliRunner().invoke(app, [*fixed, *options])

    return call


def test_writes_tables_plot_and_logs(invoke, tmp_path):
    result = invoke("--losses", "SNP,pml-ms,ntxent", "--seeds", "2", "--iterations", "3")
    assert result.exit_code == 0, result.output
    name = "accuracy-glyphs-3it-2seeds-batch20-8d-only-SNP-pml-ms-ntxent"
    stem = tmp_path / name
    table = stem.with_suffix(".md").read_text()
    assert table in result.output
    for part in ("| raw pixels", "| SNP", "S N P", "| ntxent", "Control: R@1 of SNP", "torch "):
        assert part in table
    each = pd.read_csv(f"{stem}-runs.csv")
    assert len(each) == 1 + 3 * 2
    recalls = each[[f"recall_at_{k}" for k in (1, 2, 4, 8)]]
    assert recalls.apply(lambda row: row.is_monotonic_increasing, axis=1).all()
    assert recalls.stack().between(0, 1).all()
    summary = pd.read_csv(stem.with_suffix(".csv"))
    ours, theirs = (summary.set_index("loss").loc[n, "recall_at_1"] for n in ("SNP", "pml-ms"))
    assert ours == pytest.approx(theirs, abs=0.06), "the control strays"
    assert stem.with_suffix(".png").stat().st_size > 5000
    (folder,) = (tmp_path / "runs").iterdir()
    with sqlite3.connect(folder / "SNP-1" / "logs" / "logs.db") as database:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
        assert {"loss_histories", "tuple_miner_MSMiner"} <= tables
    assert any((folder / "SNP-1" / "logs").glob("*.csv"))
    assert any((folder / "SNP-1" / "tensorboard").iterdir())


def test_resumes_what_was_interrupted(invoke, monkeypatch, tmp_path):
    options = ("--losses", "S,N", "--seeds", "2", "--iterations", "2")
    trained = []
    real = runs.train_and_test

    def until_the_third(name, *args):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(name)
        return real(name, *args)

    monkeypatch.setattr(runs, "train_and_test", until_the_third)
    assert invoke(*options).exit_code != 0
    assert trained == ["S", "N"]
    (folder,) = (tmp_path / "runs").iterdir()
    assert {p.name for p in folder.glob("*.json")} == {"S-0.json", "N-0.json"}
    assert 0 <= json.loads((folder / "S-0.json").read_text())["recall_at_1"] <= 1

    def note(name, *args):
        trained.append(name)
        return real(name, *args)

    monkeypatch.setattr(runs, "train_and_test", note)
    assert invoke(*options).exit_code == 0
    assert trained == ["S", "N", "S", "N"], "only the second seed was left"
    assert invoke(*options, "--fresh").exit_code == 0
    assert len(trained) == 8
    assert invoke("--losses", "S,N", "--seeds", "1", "--iterations", "1").exit_code == 0
    assert len(trained) == 10, "other settings are other runs"


def test_the_same_seed_gives_the_same_result(invoke, tmp_path):
    options = ("--losses", "SNP", "--seeds", "1", "--iterations", "3", "--fresh")
    columns = ["loss", "seed", "recall_at_1", "recall_at_8"]
    results = []
    for _ in range(2):
        assert invoke(*options).exit_code == 0
        (table,) = tmp_path.glob("accuracy-*-runs.csv")
        results.append(pd.read_csv(table)[columns])
    pd.testing.assert_frame_equal(*results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--losses", "SNP,best"], "--losses: must be all, or out of none, S, N"),
        (["--dataset", "cub"], "--dataset: must be one of glyphs, got 'cub'"),
        (["--batch", "21"], "--batch: must be a multiple of 5, got 21"),
        (["--batch", "500"], "--batch: must be at most 30 (6 training classes x 5), got 500"),
        (["--device", "toaster"], "--device: must be a device that torch has here, got 'toaster'"),
        (["--device", "meta"], "--device: must be a device that torch has here, got 'meta'"),
        (["--dims", "9" * 20], "--dims"),
        (["--losses", ","], "got '', ''"),
        (["--learning-rate", "inf"], "--learning-rate"),
        (["--output", "/dev/null"], "--output: must be a folder to write to, got '/dev/null'"),
        (["--seeds", "0"], "--seeds"),
        (["--iterations", "x"], "--iterations"),
    ],
)
def test_bad_options_are_named(invoke, options, message):
    result = invoke(*options)
    assert result.exit_code == 2
    words = " ".join(result.output.replace("│", " ").split())
    assert message in words


def test_a_bad_root_is_named(tmp_path):
    file = tmp_path / "file"
    file.touch()
    result = CliRunner().invoke(app, ["--root", str(file)])
    assert result.exit_code == 2
    assert "--root: root must be a folder" in " ".join(result.output.replace("│", " ").split())


def test_only_the_full_comparison_has_the_plain_name():
    settings = accuracy.Settings("glyphs", None, 500, 80, 128, 2e-3, "cpu")
    plain = accuracy._stem(settings, list(CONTENDERS), 5)
    assert plain == "accuracy-glyphs-500it-5seeds"
    assert accuracy._stem(settings, ["SNP"], 5) == f"{plain}-only-SNP"
    other = replace(settings, batch=160, dims=64, learning_rate=0.001)
    assert accuracy._stem(other, list(CONTENDERS), 5) == f"{plain}-batch160-64d-lr0.001"


def test_help_reads_well():
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100", "NO_COLOR": "1"})
    assert result.exit_code == 0
    for option in ("dataset", "root", "losses", "seeds", "iterations", "batch", "dims", "device"):
        assert f"--{option}" in result.output
