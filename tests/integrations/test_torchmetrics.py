"""Metrics of torchmetrics give what the evaluation gives: alone, collected, over processes."""

import copy
import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torchmetrics import MetricCollection

from pml_gpw.evaluation import map_at_r, r_precision, recall_at_k, retrieval_metrics
from pml_gpw.integrations.torchmetrics import MAPAtR, RecallAtK, RetrievalMetrics, RPrecision

from ..distributed.processes import Processes
from ..tolerances import close
from . import lightning_module
from .lightning_module import KS, Embedder, logged_values, points, trained

KINDS = {
    "recall": (lambda **o: RecallAtK(k=2, **o), lambda *t, **o: recall_at_k(*t, ks=(2,), **o)[2]),
    "r_precision": (RPrecision, r_precision),
    "map_at_r": (MAPAtR, map_at_r),
}


def task(seed=0, count=40, dims=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dims, generator=generator), torch.arange(count) % 4


def given(metric, *parts):
    for part in parts:
        metric.update(*part)
    return metric


def cut(x, labels, *ends):
    return [
        (x[start:end], labels[start:end])
        for start, end in zip((0, *ends), (*ends, len(x)), strict=True)
    ]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_values_are_those_of_the_evaluation(name, kind, backend):
    make, function = KINDS[name]
    x, labels = task()
    metric = given(make(metric=kind, backend=backend), *cut(x, labels, 7, 8, 30))
    assert metric.compute() == torch.tensor(function(x, labels, metric=kind))
    assert 0 < metric.compute() < 1


@pytest.mark.parametrize("name", KINDS)
def test_queries_to_a_gallery(name):
    make, function = KINDS[name]
    x, labels = task()
    metric = given(make(), (x[:5], labels[:5]), (x[10:30], labels[10:30], True))
    metric.update(x[5:10], labels[5:10])
    metric.update(x[30:], labels[30:], gallery=True)
    assert metric.compute() == torch.tensor(function(x[:10], labels[:10], x[10:], labels[10:]))


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


def test_all_in_one_search():
    x, labels = task()
    values = given(RetrievalMetrics(ks=(1, 4)), (x, labels)).compute()
    assert values == {
        name: torch.tensor(value) for name, value in retrieval_metrics(x, labels, ks=(1, 4)).items()
    }


def test_metrics_by_name():
    x, labels = task()
    names = ("map", "ndcg_at_k")
    metric = given(RetrievalMetrics(ks=(2,), metrics=names), (x, labels))
    wanted = retrieval_metrics(x, labels, ks=(2,), metrics=names)
    assert {name: value.item() for name, value in metric.compute().items()} == pytest.approx(wanted)
    with pytest.raises(ValueError, match="metrics must be names out of"):
        RetrievalMetrics(metrics=("mAP",))


def test_plots():
    pytest.importorskip("matplotlib").use("agg")
    x, labels = task()
    for metric in (RecallAtK(), RetrievalMetrics(ks=(1, 2))):
        value = given(metric, (x, labels)).compute()
        for figure, axes in (metric.plot(), metric.plot([value, value])):
            assert figure is not None
            assert axes is not None


def test_a_reset_forgets():
    metric = given(RecallAtK(), task())
    metric.compute()
    metric.reset()
    x, labels = task(seed=1)
    assert given(metric, (x, labels)).compute() == torch.tensor(recall_at_k(x, labels, ks=(1,))[1])


def test_a_collection_keeps_the_embeddings_once():
    x, labels = task()
    collection = MetricCollection([RecallAtK(k=2), RPrecision(), MAPAtR()])
    for seed in (0, 1):
        x, labels = task(seed)
        for part in cut(x, labels, 7, 30):
            collection.update(*part)
        assert list(collection.compute_groups.values()) == [["RecallAtK", "RPrecision", "MAPAtR"]]
        assert collection.compute() == {
            "RecallAtK": torch.tensor(recall_at_k(x, labels, ks=(2,))[2]),
            "RPrecision": torch.tensor(r_precision(x, labels)),
            "MAPAtR": torch.tensor(map_at_r(x, labels)),
        }
        collection.reset()


def test_a_collection_takes_a_gallery():
    x, labels = task()
    collection = MetricCollection({"r1": RecallAtK(k=1), "r2": RecallAtK(k=2)})
    collection.update(x[:10], labels[:10])
    collection.update(x[10:], labels[10:], gallery=True)
    expected = recall_at_k(x[:10], labels[:10], x[10:], labels[10:], ks=(1, 2))
    assert collection.compute() == {k: torch.tensor(expected[int(k[1])]) for k in ("r1", "r2")}


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_goes_on_where_the_metric_was(twin):
    x, labels = task()
    first, second = cut(x, labels, 11)
    metric = given(RetrievalMetrics(), first)
    other = given(twin(metric), second)
    assert len(metric.embeddings) == 1
    assert other.compute() == given(metric, second).compute()


def test_a_call_gives_the_value_of_the_batch():
    x, labels = task()
    first, second = cut(x, labels, 20)
    metric = RecallAtK()
    for part in (first, second):
        assert metric(*part) == torch.tensor(recall_at_k(*part, ks=(1,))[1])
    assert metric.compute() == torch.tensor(recall_at_k(x, labels, ks=(1,))[1])


def test_no_graph_is_kept():
    x, labels = task()
    metric = given(RecallAtK(), (x.requires_grad_(), labels))
    assert not metric.embeddings[0].requires_grad


def test_half_precision_and_labels_of_other_integers():
    x, labels = task()
    metric = given(RecallAtK(), (x.half(), labels.int()))
    assert metric.compute() == torch.tensor(recall_at_k(x.half(), labels, ks=(1,))[1])


def shares(x, labels, rank, *ends):
    return cut(x, labels, *ends)[rank]


def over_processes():
    """Shards of other sizes, also of no row in one process."""
    rank = dist.get_rank()
    x, labels = task()
    for ends in ((13,), (0,), (40,)):
        mine = shares(x, labels, rank, *ends)
        metric = RetrievalMetrics(ks=(1, 4))
        if len(mine[0]):
            given(metric, *cut(*mine, len(mine[0]) // 2))
        expected = retrieval_metrics(x, labels, ks=(1, 4))
        assert metric.compute() == {name: torch.tensor(v) for name, v in expected.items()}
    metric = given(RecallAtK(), shares(x[:10], labels[:10], rank, 3))
    if rank == 1:
        metric.update(x[10:].double(), labels[10:], gallery=True)
    expected = recall_at_k(x[:10], labels[:10], x[10:].double(), labels[10:], ks=(1,))[1]
    assert metric.compute() == torch.tensor(expected)
    assert len(metric.embeddings) == 1, "afterwards each process has its own again"


def test_two_processes(tmp_path):
    pool = Processes(2, tmp_path, patience=240)  # the libraries take long to import
    try:
        pool.run(__name__, over_processes.__name__)
    finally:
        pool.stop()


def evaluated(network):
    x, labels = points().tensors
    with torch.no_grad():
        return retrieval_metrics(network(x), labels, ks=KS)


def test_in_lightning():
    module, trainer = trained()
    expected = evaluated(module.network)
    assert expected != evaluated(Embedder().network), "nothing was learned"
    logged = logged_values(trainer)
    assert logged.pop("recall") == logged["recall_at_1"]
    assert logged == pytest.approx(expected, rel=1e-6)
    assert module.recall.embeddings == module.metrics.embeddings == []


def test_a_checkpoint_of_lightning_has_the_fields_that_were_trained(tmp_path):
    module, trainer = trained()
    learned = module.loss.loss.current_weighting()
    assert learned.base != 0.5
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    restored = Embedder.load_from_checkpoint(tmp_path / "some.ckpt", weights_only=True)
    assert restored.loss.loss.current_weighting() == learned


def test_in_lightning_in_two_processes(tmp_path):
    """The training and the metrics are those of one process: of all classes, of all images."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = ["-m", lightning_module.__name__, str(tmp_path / "logged.json")]
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [*command, *script], cwd=root, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    network = Embedder().network
    network.load_state_dict(torch.load(tmp_path / "logged.json.pth", weights_only=True))
    alone = trained()[0].network
    for name, value in network.state_dict().items():
        close(value, alone.state_dict()[name], 1e-5)
    logged = json.loads((tmp_path / "logged.json").read_text(encoding="utf-8"))
    assert logged.pop("recall") == logged["recall_at_1"]
    assert logged == pytest.approx(evaluated(network), rel=1e-6)


def test_bad_arguments_are_named():
    for make, said in (
        (lambda: RecallAtK(k=0), "k must be an integer > 0, got 0"),
        (lambda: RetrievalMetrics(ks=()), "ks must be at least one integer"),
        (lambda: MAPAtR(metric="l1"), "metric must be one of"),
        (lambda: RPrecision(backend="scann"), "backend must be one of"),
        (
            lambda: RecallAtK().update(torch.full((2, 2), torch.nan), torch.arange(2)),
            "must be finite",
        ),
        (lambda: RecallAtK().update(torch.rand(2, 2), torch.rand(2)), "labels must be integers"),
        (lambda: RecallAtK().update(torch.rand(2, 2), torch.arange(3)), "one label per embedding"),
        (
            lambda: given(RecallAtK(), (torch.rand(2, 2), torch.arange(2)), task()),
            "the 2 dimensions",
        ),
        (lambda: given(RecallAtK(k=40), task()).compute(), "ks must be at most 39"),
    ):
        with pytest.raises(ValueError, match=said):
            make()


def test_nothing_was_given():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics says it, too
        for given_none in (RecallAtK(), given(RecallAtK(), (*task(), True))):
            with pytest.raises(ValueError, match="embeddings must be given before"):
                given_none.compute()
