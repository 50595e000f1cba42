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

from ..datasets.miniatures import MINIATURES
from .small_runs import compared, ok, results

pytestmark = pytest.mark.filterwarnings("ignore:.*published", "ignore:.*lr_scheduler.step")


# --- a run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in MINIATURES if name != "ImageFolder"])
def test_every_data_set_from_images_to_tables(invoke, tmp_path, name):
    dataset = name.partition(",")[0]
    output = ok(invoke(name, "--losses", "SNP,N", "--iterations", 4, "--evaluate-every", 2)).output
    assert "after the last epoch" in output
    assert "images/s" in output
    assert "waiting for data" in output
    found = results(tmp_path / "runs")
    assert len(found) == 2
    for result in found.values():
        ks = [int(name.removeprefix("recall_at_")) for name in result["last"] if "recall" in name]
        # those of the data set that its 20 test images, or 12 of a gallery, have
        assert ks == {"StanfordOnlineProducts": [1, 10], "InShop": [1, 10]}.get(
            dataset, [1, 2, 4, 8, 16]
        )
        assert [row["iteration"] for row in result["history"]] == [2, 4]
        assert result["last"] == result["history"][-1]
        assert result["best"]["recall_at_1"] == max(r["recall_at_1"] for r in result["history"])
    text = compared(tmp_path / "runs", tmp_path / "tables")
    lines = [line for line in text.splitlines() if line.startswith(("#", "| "))]
    start = lines.index(f"## {dataset}")
    section = lines[
        start : start + next(i for i, x in enumerate(lines[start + 1 :], 1) if "#" in x)
    ]
    assert any("ours, last epoch" in x and "(n=1)" in x for x in section)
    assert any("published" in x for x in section)
    assert any("not run" in x for x in section)
    assert any(f"{dataset}, timm/test_resnet, 8 dimensions" in x for x in lines)  # S, N and P


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
    assert result["best"]["epoch"] == min(
        row["epoch"]
        for row in result["history"]
        if row["recall_at_1"] == result["best"]["recall_at_1"]
    )
    assert not (folder / "checkpoints").exists()
    assert {p.suffix for p in (folder / "logs").iterdir()} >= {".csv", ".db"}
    assert [*(folder / "tensorboard").iterdir()]


def test_the_paper_network_itself(invoke, tmp_path):
    options = ("--backbone", "bn_inception", "--iterations", 1, "--dims", "16", "--batch", "5")
    ok(invoke("CUB200", *options, "--crop", 64, "--resize", 64))
    (result,) = results(tmp_path / "runs").values()
    assert result["experiment"]["frozen_batch_norm"] is True
    (weights,) = (tmp_path / "runs").rglob("last.pt")
    state = torch.load(weights, weights_only=True)["trunk"]
    # 69 convolutions and normalisations without the classifier, and no statistic has moved
    assert sum(t.numel() for n, t in state.items() if n.endswith(("weight", "bias"))) == 10_270_240
    assert all(bool((t == 0).all()) for n, t in state.items() if n.endswith("running_mean"))


def test_weights_from_a_file_are_named_by_their_content(invoke, tmp_path):
    made = backbone("timm/test_resnet")
    torch.save(made.network.state_dict(), tmp_path / "weights.pth")
    ok(invoke("CUB200", "--weights", tmp_path / "weights.pth", "--iterations", 1))
    (result,) = results(tmp_path / "runs").values()
    assert result["experiment"]["weights"].startswith("sha256:")


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--configuration", "mine"),
            "must be one of released, text, small, names, pictures, got 'mine'",
        ),
        (("--losses", "SNP,MSS"), "must be out of none, S, N"),
        (("--dims", "64,x"), "must be integers in 1..65536, comma-separated, got '64,x'"),
        (("--dims", "²"), "must be integers in 1..65536"),
        (("--dims", "9" * 5000), "must be integers in 1..65536"),
        (("--memory", "9" * 20), "100000000"),
        (("--resize", "9" * 12), "4096"),
        (("--crop", "9" * 12), "4096"),
        (("--workers", "9" * 20), "1024"),
        (("--weights", "nowhere.pth"), "must be a file, 'pretrained' or 'random'"),
        (("--memory", "10"), "must be 0 or at least the batch of 20"),
        (("--batch", "12"), "--batch: must be a multiple of 5, got 12"),
        (("--batch", "40"), "must be a multiple of 5 and at most 20"),
        (("--device", "tpu"), "must be a device that torch has here, got 'tpu'"),
        (("--device", "meta"), "must be a device that torch has here, got 'meta'"),
        (("--backbone", "resnet50"), "name must be 'bn_inception'"),
        (("--pooling", "median"), "pooling must be one of"),
        (("--alpha", "-1"), "alpha must be a finite number > 0"),
        (("--sampler", "pml"), "--sampler: must be one of exhaustive, random, got 'pml'"),
        (("--backend", "annoy"), "--backend: must be one of auto, faiss, torch, got 'annoy'"),
    ],
)
def test_options_that_cannot_be(invoke, options, said):
    result = invoke("CUB200", "--iterations", 1, *options)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.output.replace("│", " ").split())


def test_data_that_cannot_be(invoke, roots):
    assert "must be one of Glyphs, WorldNames, CUB200" in " ".join(
        invoke("CUB", "--iterations", 1).output.split()
    )
    result = invoke("CUB200", "--root", roots["CUB200"] / "CUB_200_2011/images")
    assert result.exit_code == 2
    assert "images.txt" in result.output


def test_published_results_are_as_they_were_carried_in():
    table = pd.read_csv(PUBLISHED_RECALL)
    assert len(table) == 68
    assert table["source"].notna().all()
    assert set(table["dataset"]) == {"CUB200", "Cars196", "SOP", "InShop"}


# --- what must not be mixed ----------------------------------------------------------------------


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
