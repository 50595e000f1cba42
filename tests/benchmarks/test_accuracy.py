"""The main job on a slice of Glyphs: what it writes, and how it resumes."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

from benchmarks import accuracy
from benchmarks.data import plan
from benchmarks.data.presets import preset
from benchmarks.data.rows import COMPARED
from benchmarks.measure import control, runs
from pml_gpw.backbones import backbone
from pml_gpw.training import Trainer

from .small_runs import ok, run


class FewImages(TensorDataset):
    ks = (1, 2, 4, 8)

    def __init__(self, root, split, transform=None):
        generator = torch.Generator().manual_seed(len(split))
        self.labels = torch.arange(36) // 6
        self.classes = list("abcdef")
        patterns = torch.rand(6, 1, 32, 32, generator=generator)[self.labels]
        noise = torch.rand(36, 1, 32, 32, generator=generator)
        super().__init__((patterns + 0.3 * noise).clamp(0, 1), self.labels)

    @classmethod
    def evaluation_splits(cls, root, transform=None):
        return cls(root, "test", transform), None

    def digest(self):
        return "few"


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    monkeypatch.setitem(plan.DATASETS, "Glyphs", FewImages)
    fixed = ("--batch", 20, "--dims", 8, "--output", tmp_path)
    return lambda *options: run("accuracy", *fixed, *options)


def test_writes_tables_plot_and_logs(invoke, tmp_path):
    output = ok(invoke("--losses", "SNP,pml-ms,ntxent", "--seeds", 2, "--iterations", 3)).output
    stem = tmp_path / "accuracy-glyphs-3it-2seeds-batch20-8d-only-SNP-pml-ms-ntxent"
    table = stem.with_suffix(".md").read_text()
    assert table in output
    for part in ("| raw pixels", "| SNP", "S N P", "| ntxent", "MAP@R", "torch ", "Control: on"):
        assert part in table
    each = pd.read_csv(f"{stem}-runs.csv")
    assert len(each) == 1 + 3 * 2
    recalls = each[[f"recall_at_{k}" for k in (1, 2, 4, 8)]]
    assert recalls.apply(lambda row: row.is_monotonic_increasing, axis=1).all()
    assert recalls.stack().between(0, 1).all()
    summary = pd.read_csv(stem.with_suffix(".csv")).set_index("loss")["recall_at_1"]
    assert summary["SNP"] == pytest.approx(summary["pml-ms"], abs=0.06), "the control strays"
    assert stem.with_suffix(".png").stat().st_size > 5000
    (folder,) = (tmp_path / "runs").glob("Glyphs-small-SNP-8d-*/seed1")
    with closing(sqlite3.connect(folder / "logs" / "logs.db")) as database:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
        assert {"loss_histories", "tuple_miner_MSMiner"} <= tables
    assert any((folder / "logs").glob("*.csv"))
    assert any((folder / "tensorboard").iterdir())


def test_the_control_changes_no_bit_of_the_training(invoke, monkeypatch, tmp_path):
    weights = []
    for watch in (control.watch, lambda *_: None):
        monkeypatch.setattr(control, "watch", watch)
        ok(invoke("--losses", "SNP", "--seeds", 1, "--iterations", 10, "--fresh"))
        (path,) = tmp_path.rglob("last.pt")
        weights.append(torch.load(path, weights_only=True))
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_the_control_of_an_interrupted_run_is_that_of_a_whole_one(invoke, monkeypatch):
    options = ("--losses", "SNP", "--seeds", 1, "--iterations", 60)
    seen, step = [], Trainer.step

    def stopped(self, *batch):
        seen.append(1)
        if len(seen) == 56:  # after the checkpoint of step 50
            raise KeyboardInterrupt
        step(self, *batch)

    monkeypatch.setattr(Trainer, "step", stopped)
    first = invoke(*options)
    assert first.exit_code == 130
    assert "the same command goes on" in first.output
    foots = []
    for more in ((), ("--fresh",)):
        output = invoke(*options, *more).output
        foots += [line for line in output.splitlines() if line.startswith("Control: on the same")]
    assert len(foots) == 2
    assert foots[0] == foots[1]
    assert "each of the 60 steps" in foots[0]
    assert len(seen) == 56 + 10 + 60


def test_what_other_settings_code_or_versions_have_trained_is_trained_again(invoke, monkeypatch):
    options = ("--losses", "S", "--seeds", 1, "--iterations", 1)
    trained, train = [], runs.train
    monkeypatch.setattr(runs, "train", lambda *args: trained.append(1) or train(*args))
    for _ in range(2):
        ok(invoke(*options))
    assert len(trained) == 1
    ok(invoke(*options, "--learning-rate", 0.1))
    for name in ("code_digest", "versions"):
        monkeypatch.setattr(plan, name, lambda *_: "another")
        ok(invoke(*options))
    assert len(trained) == 4


def test_only_the_full_comparison_has_the_plain_name():
    plain = replace(preset("Glyphs", "small"), iterations=500)
    other = replace(plain, batch=160, dims=64, learning_rate=0.001)
    for settings, names, end in (
        (plain, COMPARED, ""),
        (plain, {"SNP": COMPARED["SNP"]}, "-only-SNP"),
        (other, COMPARED, "-batch160-64d-lr0.001"),
    ):
        stem = accuracy._stem("Glyphs", settings, plain, names, 5)
        assert stem == f"accuracy-glyphs-500it-5seeds{end}"


def test_a_share_of_the_classes_and_a_backbone_with_weights_from_a_file(pictures, tmp_path):
    torch.save(backbone("timm/test_resnet").network.state_dict(), tmp_path / "weights.pth")
    options = ["--dataset", "imagefolder", "--root", pictures, "--seeds", 1, "--device", "cpu"]
    options += ["--weights", tmp_path / "weights.pth", "--backbone", "timm/test_resnet"]
    options += ["--train-share", 0.25, "--resize", 36, "--crop", 32, "--workers", 0]
    options += ["--iterations", 1, "--losses", "S", "--output", tmp_path]
    output = ok(run("accuracy", *options)).output
    assert "### My pictures: 1 iterations of 30, timm/test_resnet" in output
    assert "raw pixels" not in output
    assert [*tmp_path.glob("accuracy-my_pictures-1it-1seeds-*-only-S-runs.csv")]
    (content,) = (json.loads(path.read_text()) for path in tmp_path.rglob("result.json"))
    settings = content["experiment"]
    assert content["data"][0].startswith("54 ")  # 6 classes of 9
    assert content["data"][1].startswith("162 ")
    assert settings["batch"] == 30  # all 6 classes, 5 of each
    assert (settings["learning_rate"], settings["frozen_batch_norm"]) == (3e-5, True)
    assert settings["weights"].startswith("sha256:")
