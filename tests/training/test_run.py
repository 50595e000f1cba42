"""A training of one's own: any model, loss and data set; without a folder, and with one."""

import json
import math
import os

import pytest
import torch
from PIL import Image
from pytorch_metric_learning import losses, miners
from torch import nn
from torch.utils.data import TensorDataset

from pml_gpw import MSMiner, MSWeightedLoss
from pml_gpw.evaluation import retrieval_metrics
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import BatchHardMining
from pml_gpw.training import Experiment, FileError, Trainer, train_and_evaluate
from pml_gpw.weightings import Constant

from ..hosts.pml2.training import TinyDataset

SHORT = Experiment(iterations=6, batch=20, learning_rate=0.01, evaluate_every=2, seed=3)


def train(experiment=SHORT, loss=None, model=None, **options):
    torch.manual_seed(0)
    model = nn.Linear(10, 4) if model is None else model()
    loss = MSWeightedLoss() if loss is None else loss
    options = {"train": TinyDataset(1), "test": TinyDataset(2), "device": "cpu", **options}
    result = train_and_evaluate(experiment, model, loss, **options)
    return result, model


def interrupt(trainer):
    if trainer.epoch == 3:
        raise KeyboardInterrupt


def test_the_metrics_are_those_of_the_model():
    result, model = train(miner=MSMiner(), ks=(1, 3))
    test = TinyDataset(2)
    embeddings = model(test.tensors[0]).detach()
    expected = retrieval_metrics(embeddings, test.labels, ks=(1, 3))
    last = result["last"]
    assert {name: last[name] for name in expected} == pytest.approx(expected)
    assert [row["iteration"] for row in result["history"]] == [2, 4, 6]
    assert last == result["history"][-1]
    assert result["best"]["recall_at_1"] == max(r["recall_at_1"] for r in result["history"])
    assert result["experiment"]["seed"] == 3


def test_it_learns():
    untrained, _ = train(Experiment(iterations=1, batch=20, learning_rate=1e-9))
    trained, _ = train(Experiment(iterations=100, batch=40, learning_rate=0.05), miner=MSMiner())
    assert trained["last"]["map_at_r"] > untrained["last"]["map_at_r"] + 0.1


def parts(frozen=False):
    trunk = nn.Linear(10, 6).requires_grad_(not frozen)
    return {"trunk": trunk, "embedder": nn.Linear(6, 4)}


@pytest.mark.parametrize(
    ("loss", "miner", "model"),
    [
        (MSWeightedLoss, MSMiner, None),
        (losses.MultiSimilarityLoss, miners.MultiSimilarityMiner, parts),
        (losses.NTXentLoss, None, lambda: parts(frozen=True)),
        (lambda: CrossBatchMemory(MSWeightedLoss(), 4, 40, MSMiner()), None, parts),
        (lambda: losses.ProxyAnchorLoss(8, 4), None, None),
    ],
)
def test_any_model_and_loss_goes_on_where_it_was_interrupted(tmp_path, loss, miner, model):
    def one(**options):
        torch.manual_seed(0)
        return train(loss=loss(), miner=miner and miner(), model=model, **options)[0]

    whole = one()
    with pytest.raises(KeyboardInterrupt):
        one(folder=tmp_path, on_iteration=interrupt)
    assert one(folder=tmp_path) == whole


def test_parameters_of_a_loss_are_trained_at_their_own_rate():
    def proxies(rate):
        torch.manual_seed(0)
        loss = losses.ProxyAnchorLoss(8, 4)
        before = loss.proxies.detach().clone()
        train(Experiment(iterations=1, batch=20, loss_learning_rate=rate), loss=loss)
        return (loss.proxies - before).abs().max().item()

    assert proxies(0.5) == pytest.approx(0.5, rel=1e-3)  # the first step of Adam
    assert proxies(None) == pytest.approx(3e-5, rel=1e-2)


def test_a_folder_changes_nothing_and_a_finished_one_is_read_with_weights(tmp_path, monkeypatch):
    """Without a folder nothing is written. Errors name the files that a folder needs."""
    monkeypatch.chdir(tmp_path)
    bare, _ = train()
    assert os.listdir() == []
    result, model = train(folder=tmp_path)
    assert result == bare == json.loads((tmp_path / "result.json").read_text())
    files = ["best.pt", "last.pt", "logs", "result.json", "tensorboard"]
    assert sorted(os.listdir(tmp_path)) == files
    kept = torch.load(tmp_path / "last.pt", weights_only=True)["trunk"]
    assert torch.equal(kept["weight"], model.weight)
    monkeypatch.setattr(Trainer, "train_epoch", None)
    read, again = train(folder=tmp_path)
    assert read == result
    assert torch.equal(again.weight, model.weight)
    (tmp_path / "last.pt").unlink()
    with pytest.raises(FileError, match=r"last\.pt cannot be read"):
        train(folder=tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(FileError, match=r"result\.json is damaged.*do this"):
        train(folder=tmp_path, advice="do this")


class Broken(TinyDataset):
    def __getitem__(self, index):
        if index:
            raise RuntimeError("no more of this data set")
        return super().__getitem__(index)


def test_a_first_evaluation_that_fails_costs_no_training(tmp_path):
    """The steps before it are kept; the next call begins with the evaluation."""
    whole, model = train(folder=tmp_path / "whole")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no more of this"):
            train(folder=tmp_path / "run", test=Broken(2))
    epochs = []
    watch = {"on_iteration": lambda trainer: epochs.append(trainer.epoch)}
    result, again = train(folder=tmp_path / "run", **watch)
    assert (result, epochs) == (whole, [2, 2, 3, 3])
    assert torch.equal(model.weight, again.weight)


@pytest.mark.filterwarnings("ignore:.*no relevant reference")
def test_metrics_that_are_not_numbers_are_kept(tmp_path):
    """No query has a relevant reference: null in the file, which is JSON, and NaN here."""
    test = TinyDataset(2)
    test.labels = torch.arange(64)
    test.tensors = test.tensors[0], test.labels
    result, _ = train(test=test, folder=tmp_path)
    again, _ = train(test=test, folder=tmp_path)
    for row in (result["last"], again["last"], again["best"], again["history"][-1]):
        assert math.isnan(row["map_at_r"])
    assert again["best"]["epoch"] == 1
    text = (tmp_path / "result.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["last"]["map_at_r"] is None


@pytest.fixture(scope="module")
def finished_and_stopped(tmp_path_factory):
    folders = tmp_path_factory.mktemp("finished"), tmp_path_factory.mktemp("stopped")
    train(folder=folders[0])
    with pytest.raises(KeyboardInterrupt):
        train(folder=folders[1], on_iteration=interrupt)
    return folders


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"primary_metric": "map_at_r"}, "primary_metric 'recall_at_1', not 'map_at_r'"),
        ({"ks": (1, 5)}, r"ks \[1, 2, 4, 8\], not \[1, 5\]"),
        ({"model": lambda: nn.Linear(10, 5)}, "parameters '44 .*', not '55 "),
        ({"experiment": Experiment(batch=40, seed=3)}, "iterations 6, not 3000"),
        ({"train": TinyDataset(1, classes=9)}, "data"),
        ({"test": TinyDataset(1, classes=9)}, "data"),
        ({"loss": MSWeightedLoss(beta=7)}, "loss_func"),
        ({"miner": MSMiner(0.7)}, "mining_func"),
    ],
)
def test_a_folder_of_another_training_is_refused(finished_and_stopped, options, message):
    said = f"folder must be that of the same training.* with {message}"
    for folder in finished_and_stopped:
        with pytest.raises(ValueError, match=said):
            train(folder=folder, **options)


def test_a_refusal_costs_nothing(finished_and_stopped):
    results = [train(folder=folder)[0] for folder in finished_and_stopped]
    assert results[0] == results[1]


X, Y = torch.randn(8, 10), torch.arange(8) // 2


class Pictures(TinyDataset):
    def __getitem__(self, index):
        return Image.new("RGB", (4, 4)), int(self.labels[index])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experiment": 3}, "experiment must be a Experiment, got 3"),
        ({"model": lambda: 3}, "model must be a Module, got 3"),
        ({"model": lambda: {"trunk": 3}}, "model\\['trunk'\\] must be a Module, got 3"),
        ({"model": lambda: {"body": nn.Linear(1, 1)}}, "parts trunk and embedder, got body"),
        ({"train": TensorDataset(torch.zeros(3, 1))}, "train must have an attribute labels"),
        ({"primary_metric": "recall@1"}, "primary_metric must be one of recall_at_1, recall_at_2"),
        ({"ks": (1, 64)}, r"ks must be at most 63, .*, got \[64\]"),
        ({"ks": (1, 9), "references": TensorDataset(X, Y)}, r"ks must be at most 8, .*, got \[9\]"),
        ({"backend": "x"}, "backend must be one of auto, torch, faiss, got 'x'"),
        ({"device": "x"}, "device must be None, a torch.device or its name, got 'x'"),
        ({"test": TensorDataset(X[:0], Y[:0])}, "test must have at least one image"),
        ({"test": Pictures(2)}, r"got \(Image, int\): give a transform"),
        ({"train": Pictures(2)}, r"got \(Image, int\): give a transform"),
        ({"random_views": "x"}, "random_views must be a bool, got 'x'"),
        ({"workers": -1}, "workers must be an integer >= 0, got -1"),
        ({"folder": ""}, "folder of the run must be a path, got ''"),
        ({"loss": Constant()}, r"must be a Module, got Constant\(\): give GPWLoss\(Constant\(\)\)"),
        ({"miner": BatchHardMining()}, r"miner must be a Module, .* give PairMiner\(BatchHard"),
    ],
)
def test_bad_arguments_are_named(options, message, monkeypatch):
    monkeypatch.setattr(Trainer, "step", None)
    with pytest.raises(ValueError, match=message):
        train(**options)
