"""Processes, analysis, evaluation, training and integrations, in every environment."""

import json
import sqlite3
from pkgutil import resolve_name

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import pml_gpw
from pml_gpw import functional, hosts, modules
from pml_gpw.analysis import PairWeightRecorder, pair_weights
from pml_gpw.mining import MSMining
from pml_gpw.weightings import LiftedStructure, MultiSimilarity

from .. import environments
from ..tolerances import close
from . import inside

PML = not environments.current()


def test_the_host():
    assert pml_gpw.host == hosts.found_host() == ("pml2" if PML else "torch")
    assert ("hosts.pml2" in pml_gpw.MSLoss.__module__) == PML


@pytest.mark.skipif(PML, reason="PML 2.9 is here")
def test_objects_of_pml_name_the_extra():
    names = "losses.PairSimilarityLoss reducers.PairWeightReducer reducers.AnchorReducer"
    for name in [*names.split(), "evaluation.Recall" + "Calculator"]:
        with pytest.raises(ImportError, match=r'pip install "pml-gpw\[pml\]"'):
            resolve_name(f"pml_gpw.{name}")


def test_as_one_process(pair):
    pair.run(inside.__name__, inside.check_losses_miners_and_memories.__name__)


@pytest.mark.parametrize("mining", [None, MSMining()], ids=repr)
def test_pair_weights(batch, mining):
    x, labels = batch
    weighting, miner = LiftedStructure(), modules.MSMiner(0.5)
    loss = modules.GPWLoss(weighting, mining)
    table = pair_weights(loss, x, labels)
    close(table.gradient, functional.pair_weights(x, labels, weighting, mining).gradient)
    close(table.loss, float(loss(x, labels)))
    by_miner = pair_weights(modules.GPWLoss(weighting), x, labels, miner)
    given = functional.pair_weights(x, labels, weighting, indices_tuple=miner(x, labels))
    close(by_miner.gradient, given.gradient)


def test_recorder_and_plots(batch):
    loss = modules.MSLoss()
    recorder = PairWeightRecorder(loss, every=1)
    loss(*batch)
    recorder(1)
    assert recorder.history[0]["total"] > 0
    pytest.importorskip("matplotlib").use("agg")
    from pml_gpw.analysis import plots

    table = pair_weights(loss, *batch)
    x, labels = batch
    without = functional.pair_weights(x, None, MultiSimilarity(), pairs=labels[:, None] == labels)
    for drawn in (table, without):
        plots.plot_batch(drawn)
        plots.plot_histogram(drawn)
    plots.plot_weight_field(loss)
    mined = {"MS": (modules.MSWeightedLoss(), modules.MSMiner())}
    plots.plot_weight_against_similarity(mined, *batch)


class Points(TensorDataset):
    def __init__(self, seed):
        self.labels = torch.arange(40) // 8
        noise = torch.randn(40, 6, generator=torch.Generator().manual_seed(seed))
        super().__init__(torch.eye(6)[self.labels] + 0.2 * noise, self.labels)


def test_a_training_with_its_logs(tmp_path):
    pytest.importorskip("record_keeper")
    from pml_gpw.evaluation import dataset_recall
    from pml_gpw.training import Experiment, train_and_evaluate

    experiment = Experiment(iterations=4, batch=20, learning_rate=0.01, evaluate_every=2)
    results = []
    for folder in (tmp_path / "a", None):
        torch.manual_seed(0)
        model = nn.Linear(6, 4)
        loss = modules.GPWLoss(MultiSimilarity(), trainable=("base",))
        parts = experiment, model, loss, Points(1), Points(2)
        given = {"miner": pml_gpw.MSMiner(), "folder": folder, "device": "cpu"}
        result = train_and_evaluate(*parts, **given)
        results.append(result["history"])
    assert results[0] == results[1]
    assert json.loads((tmp_path / "a" / "result.json").read_text())["last"] == result["last"]
    close(dataset_recall(model, Points(2), ks=(1,))[1], result["last"]["recall_at_1"])
    (database,) = (tmp_path / "a" / "logs").glob("*.db")
    with sqlite3.connect(database) as records:
        tables = {name for (name,) in records.execute("SELECT name FROM sqlite_master")}
    assert {"loss_histories", "throughput", "evaluation"} <= tables
    assert ("tuple_miner_MSMiner" in tables) == PML


def test_losses_of_others_over_processes(monkeypatch):
    from pml_gpw.training import loss_over_processes, processes

    monkeypatch.setattr(processes, "world_size", lambda: 2)
    assert type(loss_over_processes(None, modules.MSLoss())[1]).__name__ == "DistributedLoss"
    if not PML:
        with pytest.raises(ValueError, match=r"got Identity: .*pml-gpw\[pml\]"):
            loss_over_processes(None, nn.Identity())


def test_texts(tmp_path):
    pytest.importorskip("sentence_transformers")
    from pml_gpw.integrations.sentence_transformers import MetricLearningLoss, PairWeightingLoss

    from ..integrations.texts import LABELS, sentences, tiny_model

    model = tiny_model(tmp_path)
    labels = torch.tensor(LABELS)

    def features():
        return [model.preprocess(sentences())]

    embeddings = model(features()[0])["sentence_embedding"]
    expected = modules.MSLoss()(embeddings, labels)
    of_texts = PairWeightingLoss(model, MultiSimilarity(), MSMining())
    close(of_texts(features(), labels), expected, 1e-5)
    memory = modules.CrossBatchMemory(modules.MSLoss(), embeddings.shape[1])
    loss = MetricLearningLoss(model, memory)
    close(loss(features(), labels), expected, 1e-5)
    assert "Cross-Batch" in loss.citation
