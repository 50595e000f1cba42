"""The three protocols of docs/evaluation.md against loops that are written from the protocols."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pml_gpw.evaluation import retrieval_metrics
from pml_gpw.hosts import host

from ..docs.blocks import run_page
from . import oracle

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


@pytest.fixture(scope="module")
def page():
    pytest.importorskip("matplotlib")
    if host != "pml2":
        pytest.skip("the page shows the calculator of PML too")
    return run_page(PAGE)


def order_of(scores):
    """The nearest first, and the lower index first where scores tie."""
    return np.argsort(-np.round(scores, 11), kind="stable")


def cosines(query, reference):
    query, reference = (x.double().numpy() for x in (query, reference))
    query = query / np.linalg.norm(query, axis=1, keepdims=True)
    return query @ (reference / np.linalg.norm(reference, axis=1, keepdims=True)).T


def market(query, query_seen, gallery, gallery_seen):
    """CMC and mAP as the evaluation of Market-1501 computes them."""
    precisions, ranks = [], []
    for scores, (identity, camera) in zip(cosines(query, gallery), query_seen.numpy(), strict=True):
        identities, cameras = gallery_seen.numpy().T
        order = order_of(scores)
        junk = (identities == identity) & (cameras == camera)
        order = order[~junk[order]]
        rows = np.flatnonzero(identities[order] == identity)
        if len(rows):
            precisions.append(np.mean([(i + 1) / (row + 1) for i, row in enumerate(rows)]))
            ranks.append(rows[0])
    return {f"recall_at_{k}": np.mean(np.array(ranks) < k) for k in (1, 5, 10)} | {
        "map": np.mean(precisions)
    }


@pytest.mark.filterwarnings("ignore:.*no relevant reference")
def test_market(page):
    pixels, seen = page["pixels"], page["seen"]
    wanted = market(pixels[::9], seen[::9], pixels, seen)
    assert page["reid"] == pytest.approx(wanted, abs=1e-12)
    assert 0 < wanted["map"] < wanted["recall_at_1"] < 1
    # Without the cameras every query finds itself.
    with_itself = retrieval_metrics(pixels[::9], seen[::9, 0], pixels, seen[:, 0], ks=(1,))
    assert with_itself["recall_at_1"] > wanted["recall_at_1"]


def test_market_of_random_items():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 6, generator=generator)
    seen = torch.randint(8, (300, 2), generator=generator)
    x[:, :3] += seen[:, :1]
    task = x[:60], seen[:60], x[60:], seen[60:]
    rules = {
        "relevant": lambda a, b: a[:, None, 0] == b[:, 0],
        "ignore": lambda a, b: (a[:, None] == b).all(dim=2),
    }
    found = retrieval_metrics(*task, ks=(1, 5, 10), metrics=("recall_at_k", "map"), **rules)
    assert found == pytest.approx(market(*task), abs=1e-12)


@pytest.mark.filterwarnings("ignore:.*no relevant reference")
def test_places(page):
    """Recall@N: a query counts where one of its N nearest lies within 25 m."""
    pictures, metres = page["pictures"], page["metres"].double().tolist()
    near = [[math.dist(here, there) <= 25 for there in metres[80:]] for here in metres[:80]]
    wanted = oracle.metrics(pictures[:80], pictures[80:], near, ks=(1, 5, 10), metric="l2")
    assert page["places"] == pytest.approx({name: wanted[name] for name in page["places"]})
    assert 0 < wanted["recall_at_1"] < wanted["recall_at_10"] <= 1


def test_qrels(page):
    """nDCG@K, MRR and mAP from the grades of documents, as evaluations of text retrieval do."""
    texts = (page["embedded"](texts) for texts in ([*page["countries"]], page["documents"]))
    wanted = oracle.metrics(*texts, page["qrels"].tolist(), ks=(3, 10))
    assert page["found"] == pytest.approx({name: wanted[name] for name in page["found"]})
    assert {*page["found"]} == {"ndcg_at_3", "ndcg_at_10", "mrr", "map"}
    assert 0 < wanted["ndcg_at_3"] < 1
