"""The paper's experiment on miniatures: train, evaluate, keep, compare."""

import json
import shutil

import pandas as pd
import pytest
import torch

from benchmarks.report.collected import PUBLISHED_RECALL, experiment_of
from pml_gpw.backbones import backbone, embedding_head
from pml_gpw.datasets import CUB200
from pml_gpw.evaluation import dataset_recall
from pml_gpw.training import evaluation_transform

from .small_runs import compared, ok, results

pytestmark = pytest.mark.filterwarnings("ignore:.*published", "ignore:.*lr_scheduler.step")
ALSO = ("Cars196", "Cars196, classification", "StanfordOnlineProducts")
SETS = ("CUB200", "InShop", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ALSO))


@pytest.mark.parametrize("name", SETS)
def test_every_data_set_from_images_to_tables(invoke, tmp_path, name):
    dataset = name.partition(",")[0]
    output = ok(invoke(name, "--losses", "SNP,N", "--iterations", 4, "--evaluate-every", 2)).output
    for said in ("after the last epoch", "images/s", "waiting for data"):
        assert said in output
    found = results(tmp_path / "runs")
    assert len(found) == 2
    for result in found.values():
        ks = [int(name.removeprefix("recall_at_")) for name in result["last"] if "recall" in name]
        # those of the data set that its 20 test images, or 12 of a gallery, have
        assert ks == ([1, 2, 4, 8, 16] if dataset in ("CUB200", "Cars196") else [1, 10])
        assert [row["iteration"] for row in result["history"]] == [2, 4]
        assert result["last"] == result["history"][-1]
        assert result["best"]["recall_at_1"] == max(r["recall_at_1"] for r in result["history"])
    text = compared(tmp_path / "runs", tmp_path / "tables")
    (section,) = [part for part in text.split("\n## ") if part.startswith(f"{dataset}\n")]
    assert any("ours, last epoch" in line and "(n=1)" in line for line in section.splitlines())
    assert "published" in section
    assert "not run" in section
    assert f"## {dataset}, timm/test_resnet, 8 dimensions" in text  # S, N and P


def test_the_weights_that_are_kept_have_the_recalls_that_are_told(invoke, roots, tmp_path):
    # a learning rate that spoils what there is, so that the best epoch is not the last
    options = ("--iterations", 12, "--evaluate-every", 3, "--learning-rate", 0.3)
    ok(invoke("CUB200", *options, "--losses", "none"))
    (folder,) = (p.parent for p in (tmp_path / "runs").rglob("result.json"))
    result = json.loads((folder / "result.json").read_text())
    experiment = experiment_of(result)
    view = evaluation_transform(experiment.resize, experiment.crop)
    queries, _ = CUB200.evaluation_splits(roots["CUB200"], view)
    for which in ("last", "best"):
        trunk = backbone("timm/test_resnet", pooling="max")
        model = torch.nn.Sequential(trunk, embedding_head(trunk.features, 8))
        state = torch.load(folder / f"{which}.pt", weights_only=True)
        model[0].load_state_dict(state["trunk"])
        model[1].load_state_dict(state["embedder"])
        assert dataset_recall(model, queries, ks=(1, 2))[1] == result[which]["recall_at_1"]
    best = result["best"]
    equal = [row["epoch"] for row in result["history"] if row["recall_at_1"] == best["recall_at_1"]]
    assert best["epoch"] == equal[0]
    assert not (folder / "checkpoints").exists()
    assert {p.suffix for p in (folder / "logs").iterdir()} >= {".csv", ".db"}
    assert [*(folder / "tensorboard").iterdir()]


def test_published_results_are_as_they_were_carried_in():
    table = pd.read_csv(PUBLISHED_RECALL)
    assert len(table) == 68
    assert table["source"].notna().all()
    assert set(table["dataset"]) == {"CUB200", "Cars196", "SOP", "InShop"}


def test_other_images_are_another_run(invoke, roots, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(roots["ImageFolder"], folder)
    options = ("--root", folder, "--iterations", 1, "--seeds", 1)
    ok(invoke("ImageFolder", *options))
    assert len(results(tmp_path / "runs")) == 1
    (folder / "yew").rename(folder / "aspen")  # other classes are trained
    assert "images/s" in ok(invoke("ImageFolder", *options)).output
    assert len(results(tmp_path / "runs")) == 2


def test_losses_without_hyperparameters_are_one_run(invoke, tmp_path):
    for epsilon in (0.1, 0.3):
        ok(invoke("CUB200", "--iterations", 1, "--losses", "ntxent,SNP", "--epsilon", epsilon))
    assert len(results(tmp_path / "runs")) == 3
