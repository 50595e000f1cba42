"""The three protocols of docs/evaluation.md against loops that are written from the protocols."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pml_gpw.evaluation import retrieval_metrics
from pml_gpw.hosts import host

from ..docs.blocks import run_page

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
    found = retrieval_metrics(
        x[:60],
        seen[:60],
        x[60:],
        seen[60:],
        ks=(1, 5, 10),
        metrics=("recall_at_k", "map"),
        relevant=lambda a, b: a[:, None, 0] == b[:, 0],
        ignore=lambda a, b: (a[:, None] == b).all(dim=2),
    )
    assert found == pytest.approx(market(x[:60], seen[:60], x[60:], seen[60:]), abs=1e-12)


@pytest.mark.filterwarnings("ignore:.*no relevant reference")
def test_places(page):
    """Recall@N: a query counts where one of its N nearest lies within 25 m."""
    pictures, metres = (page[name].double().numpy() for name in ("pictures", "metres"))
    hits = {k: [] for k in (1, 5, 10)}
    for i in range(80):
        near = [math.dist(metres[i], metres[j]) <= 25 for j in range(80, 400)]
        if any(near):
            scores = -np.sum((pictures[80:] - pictures[i]) ** 2, axis=1)
            nearest = order_of(scores)
            for k, found in hits.items():
                found.append(any(near[j] for j in nearest[:k]))
    wanted = {f"recall_at_{k}": np.mean(found) for k, found in hits.items()}
    assert page["places"] == pytest.approx(wanted, abs=1e-12)
    assert 0 < wanted["recall_at_1"] < wanted["recall_at_10"] <= 1


def judged(query, documents, qrels, ks):
    """nDCG@K, MRR and mAP from the grades of documents, as evaluations of text retrieval do."""
    found = {}
    for scores, grades in zip(cosines(query, documents), qrels.double().numpy(), strict=True):
        ranked = grades[order_of(scores)]
        if not (grades > 0).any():
            continue
        hits = np.flatnonzero(ranked > 0)
        values = {f"ndcg_at_{k}": dcg(ranked[:k]) / dcg(np.sort(grades)[::-1][:k]) for k in ks}
        values["mrr"] = 1 / (hits[0] + 1)
        values["map"] = np.mean([(i + 1) / (place + 1) for i, place in enumerate(hits)])
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {name: np.mean(values) for name, values in found.items()}


def dcg(grades):
    return sum(grade / math.log2(place + 2) for place, grade in enumerate(grades))


def test_qrels(page):
    embedded = page["embedded"]
    wanted = judged(
        embedded([*page["countries"]]), embedded(page["documents"]), page["qrels"], (3, 10)
    )
    assert page["found"] == pytest.approx(wanted, abs=1e-12)
    assert 0 < wanted["ndcg_at_3"] < 1
