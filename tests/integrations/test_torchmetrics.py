"""Metrics of torchmetrics give what the evaluation gives: alone, collected, over processes."""

import copy
import json
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from torchmetrics import MetricCollection

from pml_gpw.evaluation import map_at_r, r_precision, recall_at_k, retrieval_metrics
from pml_gpw.integrations.torchmetrics import MAPAtR, RecallAtK, RetrievalMetrics, RPrecision

from ..distributed.processes import by_torchrun
from ..tolerances import close
from . import lightning_module, shards
from .lightning_module import KS, Embedder, logged_values, points, trained
from .shards import cut, given, task

IN_ONE, BY_NAME = {"ks": (1, 4)}, {"ks": (2,), "metrics": ("map", "ndcg_at_k")}
KINDS = {
    "recall": (partial(RecallAtK, 2), lambda *t, **o: recall_at_k(*t, ks=(2,), **o)[2]),
    "r_precision": (RPrecision, r_precision),
    "map_at_r": (MAPAtR, map_at_r),
    "all in one": (partial(RetrievalMetrics, **IN_ONE), partial(retrieval_metrics, **IN_ONE)),
    "by name": (partial(RetrievalMetrics, **BY_NAME), partial(retrieval_metrics, **BY_NAME)),
}


def tensors(values):
    if isinstance(values, dict):
        return {name: torch.tensor(value) for name, value in values.items()}
    return torch.tensor(values)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("kind", "backend"), [("cosine", "torch"), ("dot", "auto"), ("l2", None)])
def test_values_are_those_of_the_evaluation(name, kind, backend):
    make, function = KINDS[name]
    x, labels = task()
    options = {"metric": kind, "backend": backend or "auto"}
    metric = given(make(**options), *cut(x, labels, 7, 8, 30))
    assert metric.compute() == tensors(function(x, labels, **options))
    metric = given(make(**options), (x[:5], labels[:5]), (x[10:30], labels[10:30], True))
    metric.update(x[5:10], labels[5:10])
    metric.update(x[30:], labels[30:], gallery=True)
    wanted = function(x[:10], labels[:10], x[10:], labels[10:], **options)
    assert metric.compute() == tensors(wanted)


@pytest.mark.parametrize("gallery", [False, True])
def test_memory_that_is_used_again(gallery):
    """A loop that writes each batch into the tensors of the last one."""
    x, labels = task()
    metric = given(RecallAtK(), (x, labels)) if gallery else RecallAtK()
    batch = x.new_empty(8, 5), labels.new_empty(8)
    for part in cut(x, labels, 8, 16, 24, 32):
        for mine, theirs in zip(batch, part, strict=True):
            mine.copy_(theirs)
        metric.update(*batch, gallery=gallery)
    found = recall_at_k(x, labels, *((x, labels) if gallery else ()), ks=(1,))
    assert metric.compute() == torch.tensor(found[1])


def test_plots():
    pytest.importorskip("matplotlib").use("agg")
    for metric in (RecallAtK(), RetrievalMetrics(ks=(1, 2))):
        value = given(metric, task()).compute()
        assert None not in (*metric.plot(), *metric.plot([value, value]))


def test_a_collection_keeps_the_embeddings_once_and_takes_a_gallery():
    """A reset forgets them."""
    collection = MetricCollection([RecallAtK(k=2), RPrecision(), MAPAtR()])
    for seed in (0, 1):
        x, labels = task(seed)
        for part in cut(x[:10], labels[:10], 7):
            collection.update(*part)
        collection.update(x[10:], labels[10:], gallery=True)
        assert list(collection.compute_groups.values()) == [["RecallAtK", "RPrecision", "MAPAtR"]]
        parts = x[:10], labels[:10], x[10:], labels[10:]
        assert collection.compute() == {
            "RecallAtK": torch.tensor(recall_at_k(*parts, ks=(2,))[2]),
            "RPrecision": torch.tensor(r_precision(*parts)),
            "MAPAtR": torch.tensor(map_at_r(*parts)),
        }
        collection.reset()


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_goes_on_where_the_metric_was(twin):
    first, second = cut(*task(), 11)
    metric = given(RetrievalMetrics(), first)
    other = given(twin(metric), second)
    assert len(metric.embeddings) == 1
    assert other.compute() == given(metric, second).compute()


def test_a_call_gives_the_value_of_the_batch_and_keeps_no_graph():
    x, labels = task()
    x, labels = x.half().requires_grad_(), labels.int()
    metric = RecallAtK()
    for part in cut(x, labels, 20):
        assert metric(*part) == torch.tensor(recall_at_k(*part, ks=(1,))[1])
    assert metric.compute() == torch.tensor(recall_at_k(x, labels, ks=(1,))[1])
    assert not metric.embeddings[0].requires_grad


def test_two_processes(pair):
    pair.run(shards.__name__, shards.check_metrics.__name__)


def evaluated(network):
    x, labels = points().tensors
    with torch.no_grad():
        return retrieval_metrics(network(x), labels, ks=KS)


def test_in_lightning(tmp_path):
    module, trainer = trained()
    expected = evaluated(module.network)
    assert expected != evaluated(Embedder().network), "nothing was learned"
    logged = logged_values(trainer)
    assert logged.pop("recall") == logged["recall_at_1"]
    assert logged == pytest.approx(expected, rel=1e-6)
    assert module.recall.embeddings == module.metrics.embeddings == []
    learned = module.loss.loss.current_weighting()
    assert learned.base != 0.5
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    restored = Embedder.load_from_checkpoint(tmp_path / "some.ckpt", weights_only=True)
    assert restored.loss.loss.current_weighting() == learned


@pytest.mark.exhaustive
def test_in_lightning_in_two_processes(tmp_path):
    """The training and the metrics are those of one process: of all classes, of all images."""
    path = tmp_path / "logged.json"
    by_torchrun(Path(__file__).parents[2], "-m", lightning_module.__name__, str(path))
    network = Embedder().network
    network.load_state_dict(torch.load(f"{path}.pth", weights_only=True))
    for value, alone in zip(network.parameters(), trained()[0].network.parameters(), strict=True):
        close(value, alone, 1e-5)
    logged = json.loads(path.read_text(encoding="utf-8"))
    assert logged.pop("recall") == logged["recall_at_1"]
    assert logged == pytest.approx(evaluated(network), rel=1e-6)


TWO = torch.rand(2, 2), torch.arange(2)
REFUSED = [
    (lambda: RecallAtK(k=0), "k must be an integer > 0, got 0"),
    (lambda: RetrievalMetrics(ks=()), "ks must be at least one integer"),
    (lambda: RetrievalMetrics(metrics=("mAP",)), "metrics must be names out of"),
    (lambda: MAPAtR(metric="l1"), "metric must be one of"),
    (lambda: RPrecision(backend="scann"), "backend must be one of"),
    (lambda: given(RecallAtK(), (TWO[0] * torch.nan, TWO[1])), "must be finite"),
    (lambda: given(RecallAtK(), (TWO[0], torch.arange(3))), "one label per embedding"),
    (lambda: given(RecallAtK(), TWO, task()), "the 2 dimensions"),
    (lambda: given(RecallAtK(k=40), task()).compute(), "ks must be at most 39"),
    (lambda: RecallAtK().compute(), "embeddings must be given before"),
    (lambda: given(RecallAtK(), (*task(), True)).compute(), "embeddings must be given before"),
]


@pytest.mark.filterwarnings("ignore:The ``compute`` method")  # of what was given nothing
@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
