"""The main job on a slice of Glyphs: what it writes, how it resumes, what it refuses."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pandas as pd
import pytest
import torch
import typer
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

from benchmarks import accuracy, plan, runs
from benchmarks.contenders import CONTENDERS
from benchmarks.presets import preset
from pml_gpw.training import Trainer

app = typer.Typer()
app.command()(accuracy.main)


class FewImages(TensorDataset):
    """Six classes of six noisy pictures, in place of the real set."""

    ks = (1, 2, 4, 8)

    def __init__(self, root, split, transform=None):
        generator = torch.Generator().manual_seed(len(split))
        self.labels = torch.arange(36) // 6
        self.classes = list("abcdef")
        patterns = torch.rand(6, 1, 32, 32, generator=generator)[self.labels]
        super().__init__(
            (patterns + 0.3 * torch.rand(36, 1, 32, 32, generator=generator)).clamp(0, 1),
            self.labels,
        )

    @classmethod
    def evaluation_splits(cls, root, transform=None):
        return cls(root, "test", transform), None

    def digest(self):
        return "few"


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    monkeypatch.setitem(plan.DATASETS, "Glyphs", FewImages)

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
    for part in (
        "| raw pixels",
        "| SNP",
        "S N P",
        "| ntxent",
        "MAP@R",
        "Control: R@1 of SNP",
        "torch ",
    ):
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
    (folder,) = (tmp_path / "runs").glob("Glyphs-small-SNP-8d-*/seed1")
    with closing(sqlite3.connect(folder / "logs" / "logs.db")) as database:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
        assert {"loss_histories", "tuple_miner_MSMiner"} <= tables
    assert any((folder / "logs").glob("*.csv"))
    assert any((folder / "tensorboard").iterdir())


def test_goes_on_where_it_was_interrupted(invoke, monkeypatch, tmp_path):
    options = ("--losses", "S,N", "--seeds", "2", "--iterations", "120")
    trained, train = [], Trainer.train_epoch

    def note(self, epoch):
        trained.append((self.experiment.loss, self.experiment.seed, epoch))
        if len(trained) == 6:
            raise KeyboardInterrupt
        train(self, epoch)

    monkeypatch.setattr(Trainer, "train_epoch", note)
    stopped = invoke(*options)
    assert stopped.exit_code == 130
    assert "the same command goes on" in stopped.output
    order = [(loss, seed, epoch) for seed in (0, 1) for loss in "SN" for epoch in (1, 2, 3)]
    assert trained == order[:6]
    assert invoke(*options).exit_code == 0
    assert trained == [*order[:6], *order[5:]], "no epoch is trained twice"
    stem = tmp_path / "accuracy-glyphs-120it-2seeds-batch20-8d-only-S-N"
    interrupted = pd.read_csv(f"{stem}-runs.csv")
    assert invoke(*options, "--fresh").exit_code == 0
    assert len(trained) == 6 + 7 + 12
    pd.testing.assert_frame_equal(interrupted, pd.read_csv(f"{stem}-runs.csv"))
    assert invoke("--losses", "S,N", "--seeds", "1", "--iterations", "1").exit_code == 0
    assert len(trained) == 6 + 7 + 12 + 2, "other settings are other runs"


@pytest.mark.parametrize("of", ["code_digest", "versions"])
def test_what_other_code_or_versions_have_trained_is_trained_again(
    invoke, monkeypatch, tmp_path, of
):
    options = ("--losses", "S", "--seeds", "1", "--iterations", "1")
    trained, train = [], runs.train
    monkeypatch.setattr(runs, "train", lambda *args: trained.append(1) or train(*args))
    for _ in range(2):
        assert invoke(*options).exit_code == 0
    assert len(trained) == 1
    monkeypatch.setattr(plan, of, lambda *_: "another")
    assert invoke(*options).exit_code == 0
    assert len(trained) == 2


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
        (["--dataset", "cub"], "--dataset: must be one of Glyphs, CUB200"),
        (["--batch", "21"], "--batch: must be a multiple of 5, got 21"),
        (
            ["--batch", "500"],
            "at most 30 (6 training classes x 5), got 500",
        ),
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
    settings = replace(preset("Glyphs", "small"), iterations=500)
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
