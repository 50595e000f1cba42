"""Columns of queries and documents against slow loops, in every program, and as a module."""

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from pml_gpw import modules
from pml_gpw.columns import DIRECTIONS
from pml_gpw.functional import column_loss
from pml_gpw.mining import HardestNegatives
from pml_gpw.weightings import LiftedStructure

from .row_losses import NTXent
from .runs import close_runs
from .tolerances import close

N, DIMS = 10, 5
OPTIONS = [{}, {"chunk_size": 3}, {"fused": True}, {"reduction": "sum"}]
QUERY_IDS = torch.tensor([0, 1, 2, 3, 0, 5, 6, 7, 8, 5])
DOC_IDS = [torch.arange(N), torch.arange(N) + 20, torch.arange(N) + 40]
DOC_IDS[0][3] = 1  # the same document for the queries 1 and 3
DOC_IDS[1][0] = 7  # a negative that is the document of query 7
IDS = {
    "none": {},
    "queries": {"query_ids": QUERY_IDS},
    "documents": {"doc_ids": DOC_IDS},
    "both": {"query_ids": QUERY_IDS, "doc_ids": DOC_IDS},
}


def columns(negatives=2):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(N, DIMS, generator=generator, dtype=torch.float64) for _ in range(2 + negatives)
    ]


def similarities(given):
    queries, *documents = (normalize(column) for column in given)
    return queries @ torch.cat(documents).T


def positives(ids):
    """Which documents (N, M) are positives of which query, pair by pair."""
    queries = torch.cat([ids.get("query_ids", torch.arange(N)), torch.full((2 * N,), -1)])
    docs = torch.cat(ids.get("doc_ids", [torch.arange(3 * N)]))
    return torch.tensor(
        [
            [bool(queries[i] == queries[j] or docs[i] == docs[j]) for j in range(3 * N)]
            for i in range(N)
        ]
    )


def outcome(loss, given):
    leaves = [column.clone().requires_grad_() for column in given]
    value = loss(*leaves)
    gradients = torch.autograd.grad(value.sum(), leaves, materialize_grads=True)
    return [value.detach(), *gradients]


@pytest.mark.parametrize("ids", IDS.values(), ids=list(IDS))
@pytest.mark.parametrize("directions", [DIRECTIONS[:1], DIRECTIONS[1:], DIRECTIONS], ids="-".join)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_against_a_loop(ids, directions, options, eager_backend):
    weighting = LiftedStructure()

    def slow(*given):
        sim, pos = similarities(given), positives(ids)
        sides = {"query_to_doc": (sim, pos), "doc_to_query": (sim[:, :N].T, pos[:, :N].T)}
        found = [weighting.losses(s, p, ~p) for s, p in (sides[name] for name in directions)]
        losses = torch.stack(found).mean(dim=0)
        return losses.sum() if options.get("reduction") == "sum" else losses.mean()

    def ours(*given):
        return column_loss(given, weighting, directions=directions, **ids, **options)

    close_runs(outcome(ours, columns()), outcome(slow, columns()))


def test_nt_xent_is_the_softmax_over_documents():
    given = columns()
    rows = column_loss(given, NTXent(0.1), reduction="none")
    close(rows, cross_entropy(similarities(given) / 0.1, torch.arange(N), reduction="none"))


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_the_hardest_negatives_alone(chunk_size):
    given, pos = columns(), positives({})
    sim = similarities(given)
    hardest = sim.masked_fill(pos, -torch.inf).topk(4, dim=1).indices
    neg = torch.zeros_like(pos).scatter_(1, hardest, True)
    mined = column_loss(given, NTXent(0.1), HardestNegatives(4), chunk_size=chunk_size)
    close(mined, NTXent(0.1).losses(sim, pos, neg).mean())


@pytest.mark.parametrize("ids", [{}, IDS["both"]], ids=["none", "both"])
def test_the_module_is_the_function(ids):
    loss = modules.ColumnLoss(modules.GPWLoss(NTXent(0.1)), directions=DIRECTIONS)
    given = {"directions": DIRECTIONS, **ids}
    function = outcome(lambda *c: column_loss(c, NTXent(0.1), **given), columns())
    close_runs(outcome(lambda *c: loss(*c, **ids), columns()), function)


def test_equal_columns_are_pairs_all_the_same():
    (queries,) = columns(negatives=-1)
    expected = cross_entropy(similarities((queries, queries)) / 0.1, torch.arange(N))
    close(column_loss((queries, queries), NTXent(0.1)), expected)
    module = modules.ColumnLoss(modules.GPWLoss(NTXent(0.1)))
    close(module(queries, queries.clone()), expected)


TWO = columns(0)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (TWO[:1], {}, "columns must be queries and documents, two tensors or more, got 1"),
        ((TWO[0], TWO[1][1:]), {}, "a document for each of 10 queries, got 9"),
        (TWO, {"directions": "query_to_doc"}, "directions must be names out of"),
        (TWO, {"directions": ("query_to_query",)}, "query_to_query has none"),
        (TWO, {"directions": ("doc_to_doc",)}, "doc_to_doc has none"),
        (TWO, {"directions": ("joint",)}, "directions must be one of query_to_doc, doc_to_query"),
        (TWO, {"directions": DIRECTIONS * 2}, "directions must be different ones"),
        (TWO, {"query_ids": torch.arange(3)}, r"query_ids must have shape \(10,\)"),
        (TWO, {"query_ids": -torch.ones(N).long()}, "query_ids must lie in"),
        (columns(1), {"doc_ids": torch.arange(N)}, "doc_ids must be a tensor for each of 2 col"),
    ],
)
def test_bad_columns(given, options, message):
    with pytest.raises(ValueError, match=message):
        column_loss(given, NTXent(0.1), **options)
