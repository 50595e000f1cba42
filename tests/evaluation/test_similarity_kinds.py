"""Scales and offsets of embeddings do not change an order that they should not change."""

import pytest
import torch

from pml_gpw.evaluation import recall_at_k
from pml_gpw.evaluation.similarity_kinds import CHUNK_ROWS

from . import oracle
from .tasks import METRICS, quiet


def assert_recalls(*task, **options):
    got = quiet(recall_at_k, *task, **options)
    wanted = oracle.retrieval_metrics(*task, ks=(1, 2, 4, 8)[: len(got)], metric=options["metric"])
    assert got == {k: wanted[f"recall_at_{k}"] for k in got}


@pytest.mark.parametrize("metric", METRICS)
def test_common_scale_changes_nothing(metric, backend):
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(30, 4, generator=generator, dtype=torch.float64).abs()
    labels = torch.arange(30) // 3
    wanted = recall_at_k(query, labels, metric=metric)
    for scale in (1e-200, 1e-30, 1e30, -1e200):
        assert recall_at_k(query * scale, labels, metric=metric, backend=backend) == wanted


def test_l2_far_from_the_origin(backend):
    generator = torch.Generator().manual_seed(2)
    query = torch.randn(30, 2, generator=generator, dtype=torch.float64) + 1e6
    assert_recalls(query, torch.arange(30) // 3, metric="l2", backend=backend)


@pytest.mark.parametrize("metric", METRICS)
def test_more_rows_than_are_converted_at_once(metric):
    generator = torch.Generator().manual_seed(3)
    size = 2 * CHUNK_ROWS + 1
    query, labels = torch.randn(size, 4, generator=generator), torch.arange(size) // 2
    few = torch.tensor([0, CHUNK_ROWS - 1, CHUNK_ROWS, size - 1])
    assert_recalls(query[few], labels[few], query, labels, ks=(1, 2, 4), metric=metric)
    assert_recalls(query, labels, query[few], labels[few], ks=(1, 2, 4), metric=metric)
