"""The paper's experiment on miniatures: train, kill, go on, evaluate, compare."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner

from benchmarks import paper, tables
from benchmarks.collected import experiment_of
from benchmarks.contenders import CONTENDERS
from benchmarks.presets import CONFIGURATIONS, preset, shortened
from benchmarks.trainer import Trainer
from benchmarks.views import evaluation_view
from pml_gpw.backbones import backbone, embedding_head
from pml_gpw.datasets import CUB200
from pml_gpw.evaluation import dataset_recall

from ..datasets.miniatures import MINIATURES

pytestmark = pytest.mark.filterwarnings("ignore:.*published", "ignore:.*lr_scheduler.step")
SMALL = ["--weights", "random", "--backbone", "timm/test_resnet", "--batch", "20", "--dims", "8"]
SMALL += ["--resize", "34", "--crop", "32", "--device", "cpu", "--workers", "0"]

app, tables_app = typer.Typer(), typer.Typer()
app.command()(paper.main)
tables_app.command()(tables.main)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp("miniature") for name in MINIATURES}
    for name, (_, make) in MINIATURES.items():
        make(folders[name])
    return folders


@pytest.fixture
def invoke(roots, tmp_path):
    def call(dataset, *options, output=tmp_path / "runs"):
        root = ["--root", str(roots[dataset])] if dataset in roots else ["--root", "nowhere"]
        arguments = [
            dataset.partition(",")[0],
            *root,
            *SMALL,
            "--output",
            str(output),
            *map(str, options),
        ]
        return CliRunner().invoke(app, arguments)

    return call


def ok(result):
    assert result.exit_code == 0, result.output
    return result


def results(folder):
    return {
        path.parent.parent.name: json.loads(path.read_text())
        for path in sorted(folder.rglob("result.json"))
    }


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
    compared = CliRunner().invoke(
        tables_app, ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "tables")]
    )
    lines = [line for line in ok(compared).output.splitlines() if line.startswith(("#", "| "))]
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
    view = evaluation_view(experiment_of(result))
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


# --- killed --------------------------------------------------------------------------------------

KILLED = ["--iterations", "90", "--evaluate-every", "3", "--learning-rate", "0.01"]
KILLED += ["--memory", "30", "--seeds", "1", "--no-frozen-batch-norm"]


def in_process(arguments, log):
    """What a process of its own does, which will be killed."""
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        torch.set_num_threads(1)
        app(arguments, standalone_mode=False)


def state_of(folder):
    """All that a run leaves, but for times."""
    (result,) = folder.rglob("result.json")
    run = result.parent
    weights = {
        f"{file} {part} {name}": tensor
        for file in ("last.pt", "best.pt")
        for part, state in torch.load(run / file, weights_only=True).items()
        for name, tensor in state.items()
    }
    with closing(sqlite3.connect(run / "logs/logs.db")) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        logs = {
            name: database.execute(f"SELECT * FROM [{name}]").fetchall()
            for (name,) in names
            if name not in ("sqlite_sequence", "throughput")
        }
    csvs = {p.name: p.read_text() for p in run.glob("logs/*.csv") if p.stem != "throughput"}
    return result.read_text(), weights, logs, csvs


def same(one, other):
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    assert len(one[1]) > 100
    for name, tensor in one[1].items():
        assert torch.equal(tensor, other[1][name]), name
    assert one[2:] == other[2:]


def test_killed_at_ten_random_moments_it_ends_in_the_same_bits(invoke, roots, tmp_path):
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    print("seed of the moments:", seed)
    started = time.monotonic()
    ok(invoke("CUB200", *KILLED, output=tmp_path / "whole"))
    whole = time.monotonic() - started
    arguments = ["CUB200", "--root", str(roots["CUB200"]), *SMALL, *KILLED]
    arguments += ["--output", str(tmp_path / "killed"), "--resume"]
    # A server that has imported everything makes processes that start at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "timm", "record_keeper", "torch.utils.tensorboard"])
    reached = []
    while len(reached) < 10 or (len({*reached}) < 3 and len(reached) < 50):
        process = context.Process(target=in_process, args=(arguments, str(tmp_path / "log")))
        process.start()
        process.join(moments.uniform(0.05, 0.7) * whole)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            names = [p.name for p in (tmp_path / "killed").rglob("checkpoints/0*")]
            reached.append(max(names, default="none"))
        else:  # it was done before its time: kill another from the start
            assert process.exitcode == 0, (tmp_path / "log").read_text()
            same(state_of(tmp_path / "whole"), state_of(tmp_path / "killed"))
            shutil.rmtree(tmp_path / "killed")
    print("checkpoints at which it was killed:", reached)
    assert len({*reached}) > 2
    ok(invoke("CUB200", *KILLED, "--resume", output=tmp_path / "killed"))
    same(state_of(tmp_path / "whole"), state_of(tmp_path / "killed"))
    compared = [
        CliRunner().invoke(
            tables_app, ["--runs", str(tmp_path / name), "--output", str(tmp_path / "tables")]
        )
        for name in ("whole", "killed")
    ]
    assert ok(compared[0]).output == ok(compared[1]).output


def test_another_seed_ends_in_other_bits(invoke, tmp_path):
    """The control of the test above: it could see a difference."""
    options = ("--iterations", 2, "--evaluate-every", 1, "--seeds", 2)
    ok(invoke("CUB200", *options))
    one, other = sorted((tmp_path / "runs").rglob("last.pt"))
    one, other = (torch.load(p, weights_only=True)["embedder"]["weight"] for p in (one, other))
    assert not torch.equal(one, other)


def test_it_goes_on_from_its_checkpoint_with_worker_processes(invoke, tmp_path, monkeypatch):
    options = ("--iterations", 6, "--evaluate-every", 2, "--workers", 1)
    ok(invoke("CUB200", *options, output=tmp_path / "whole"))
    train, epochs = Trainer.train_epoch, []

    def stopped(self, epoch):
        epochs.append(epoch)
        if epochs == [1, 2, 3]:
            raise KeyboardInterrupt
        train(self, epoch)

    monkeypatch.setattr(Trainer, "train_epoch", stopped)
    first = invoke("CUB200", *options)
    assert first.exit_code == 130
    assert "--resume goes on" in first.output
    ok(invoke("CUB200", *options, "--resume"))
    assert epochs == [1, 2, 3, 3]
    same(state_of(tmp_path / "whole"), state_of(tmp_path / "runs"))


def test_what_is_interrupted_wants_a_word(invoke, monkeypatch, tmp_path):
    monkeypatch.setattr(Trainer, "train_epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert invoke("CUB200", "--iterations", 1).exit_code == 130
    monkeypatch.undo()
    refused = invoke("CUB200", "--iterations", 1)
    assert refused.exit_code == 2
    assert "--resume" in refused.output
    ok(invoke("CUB200", "--iterations", 1, "--fresh"))
    again = ok(invoke("CUB200", "--iterations", 1))  # finished: nothing to do
    assert "images/s" not in again.output
    assert "after the last epoch" in again.output


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--configuration", "mine"), "must be one of released, text, got 'mine'"),
        (("--losses", "SNP,MSS"), "must be out of none, S, N"),
        (("--dims", "64,x"), "must be integers > 0"),
        (("--weights", "nowhere.pth"), "must be a file, 'pretrained' or 'random'"),
        (("--memory", "10"), "must be 0 or at least the batch of 20"),
        (("--batch", "12"), "must be a multiple of 5 and at most 20"),
        (("--batch", "40"), "must be a multiple of 5 and at most 20"),
        (("--device", "tpu"), "must be a device of torch"),
        (("--backbone", "resnet50"), "name must be 'bn_inception'"),
        (("--pooling", "median"), "pooling must be one of"),
        (("--resume", "--fresh"), "must not come with --fresh"),
        (("--alpha", "-1"), "alpha must be a finite number > 0"),
        (("--backend", "annoy"), "backend must be one of"),
    ],
)
def test_options_that_cannot_be(invoke, options, said):
    result = invoke("CUB200", "--iterations", 1, *options)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.output.replace("│", " ").split())


def test_data_that_cannot_be(invoke, roots):
    assert "must be one of CUB200" in " ".join(invoke("CUB", "--iterations", 1).output.split())
    result = invoke("CUB200", "--root", roots["CUB200"] / "CUB_200_2011/images")
    assert result.exit_code == 2
    assert "images.txt" in result.output


def test_presets():
    released, text = (preset("CUB200", name) for name in CONFIGURATIONS)
    assert (released.batch, released.iterations, released.milestones) == (80, 3000, (1200, 2400))
    assert (released.learning_rate, released.weight_decay) == (3e-5, 5e-4)
    assert (released.pooling, released.frozen_batch_norm, released.crop) == ("max", True, 227)
    assert released.hyperparameters == {"alpha": 2, "beta": 40, "base": 0.5, "epsilon": 0.1}
    assert text.hyperparameters == {"alpha": 2, "beta": 50, "base": 1, "epsilon": 0.1}
    assert (text.pooling, text.frozen_batch_norm, text.crop) == ("average", False, 224)
    half = shortened(released, 1500)
    assert (half.milestones, half.epochs) == ((600, 1200), 8)
    names = {replace(released, **change).name for change in ({}, {"seed": 1}, {"batch": 40})}
    assert len(names) == 3


def test_every_contender_takes_the_hyperparameters():
    for make in CONTENDERS.values():
        make(**preset("CUB200", "text").hyperparameters)
    _, loss = CONTENDERS["SNP"](**preset("CUB200", "text").hyperparameters)
    assert (loss.weighting.beta, loss.weighting.base) == (50, 1)


def test_published_results_are_as_they_were_carried_in():
    table = pd.read_csv(paper.RUNS.parent.parent / "published_recall.csv")
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
