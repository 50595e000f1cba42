"""Metrics of torchmetrics in each of two processes, without the libraries that train."""

import torch
import torch.distributed as dist

from pml_gpw.evaluation import recall_at_k, retrieval_metrics
from pml_gpw.integrations.torchmetrics import RecallAtK, RetrievalMetrics


def task(seed=0, count=40, dims=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dims, generator=generator), torch.arange(count) % 4


def given(metric, *parts):
    for part in parts:
        metric.update(*part)
    return metric


def cut(x, labels, *ends):
    places = zip((0, *ends), (*ends, len(x)), strict=True)
    return [(x[start:end], labels[start:end]) for start, end in places]


def check_metrics():
    """Shards of other sizes, also of no row in one process."""
    rank = dist.get_rank()
    x, labels = task()
    expected = retrieval_metrics(x, labels, ks=(1, 4))
    for end in (13, 0, 40):
        mine = cut(x, labels, end)[rank]
        metric = RetrievalMetrics(ks=(1, 4))
        if len(mine[0]):
            given(metric, *cut(*mine, len(mine[0]) // 2))
        assert metric.compute() == {name: torch.tensor(v) for name, v in expected.items()}
    metric = given(RecallAtK(), cut(x[:10], labels[:10], 3)[rank])
    if rank == 1:
        metric.update(x[10:].double(), labels[10:], gallery=True)
    expected = recall_at_k(x[:10], labels[:10], x[10:].double(), labels[10:], ks=(1,))[1]
    assert metric.compute() == torch.tensor(expected)
    assert len(metric.embeddings) == 1, "afterwards each process has its own again"
