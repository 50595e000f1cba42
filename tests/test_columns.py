"""Columns of queries and documents against slow loops, in every program, cached, as a module."""

import pytest
import torch

from pml_gpw import modules
from pml_gpw.columns import DIRECTIONS
from pml_gpw.functional import column_loss
from pml_gpw.gradient_caching import GradientCache
from pml_gpw.mining import HardestNegatives
from pml_gpw.weightings import LiftedStructure, MultiSimilarity

from .cases import MINING_CASES
from .row_losses import NTXent
from .tolerances import close

N, DIMS = 10, 5
BOTH = DIRECTIONS
OPTIONS = [{}, {"chunk_size": 3}, {"fused": True}, {"reduction": "sum"}]


def columns(negatives=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(N, DIMS, generator=generator, dtype=torch.float64) for _ in range(2 + negatives)
    ]


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


def ntxent(sim, pos, temperature=0.1):
    """Each anchor's loss: the mean over its positives of −s/τ + log Σ_every other e^(s/τ) + own."""
    losses = []
    for row, mask in zip(sim / temperature, pos, strict=True):
        total = row.new_zeros(())
        for j in mask.nonzero()[:, 0]:
            others = torch.cat([row[j : j + 1], row[~mask]])
            total = total + torch.logsumexp(others, 0) - row[j]
        losses.append(total / max(1, int(mask.sum())))
    return torch.stack(losses)


def positives(ids):
    """Which documents (N, M) are positives of which query, pair by pair."""
    query_ids = ids.get("query_ids")
    doc_ids = None if "doc_ids" not in ids else torch.cat(ids["doc_ids"])
    mask = torch.zeros(N, 3 * N, dtype=torch.bool)
    for i in range(N):
        for j in range(3 * N):
            same_row = i == j
            if query_ids is not None and j < N:
                same_row |= bool(query_ids[i] == query_ids[j])
            same_doc = doc_ids is not None and bool(doc_ids[j] == doc_ids[i])
            mask[i, j] = same_row or same_doc
    return mask


def by_loop(weighting, ids, directions):
    def loss(*given):
        unit = [torch.nn.functional.normalize(column) for column in given]
        sim = unit[0] @ torch.cat(unit[1:]).T
        pos = positives(ids)
        sides = {"query_to_doc": (sim, pos), "doc_to_query": (sim[:, :N].T, pos[:, :N].T)}
        found = [weighting.losses(s, p, ~p) for s, p in (sides[name] for name in directions)]
        return torch.stack(found).mean(dim=0)

    return loss


def outcome(loss, given):
    leaves = [column.clone().requires_grad_() for column in given]
    value = loss(*leaves)
    return [value.detach(), *torch.autograd.grad(value.sum(), leaves, allow_unused=True)]


def compare(one, other):
    for a, b in zip(one, other, strict=True):
        if a is None or b is None:  # columns that a direction does not see
            assert a is None or not a.any()
            assert b is None or not b.any()
        else:
            close(a, b)


@pytest.mark.parametrize("ids", IDS.values(), ids=list(IDS))
@pytest.mark.parametrize("directions", [BOTH[:1], BOTH[1:], BOTH], ids="-".join)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_against_a_loop(ids, directions, options):
    weighting = LiftedStructure()

    def slow(*given):
        losses = by_loop(weighting, ids, directions)(*given)
        return losses.sum() if options.get("reduction") == "sum" else losses.mean()

    def ours(*given):
        return column_loss(given, weighting, directions=directions, **ids, **options)

    compare(outcome(ours, columns()), outcome(slow, columns()))


def test_nt_xent_is_the_softmax_over_documents():
    given = columns()
    rows = column_loss(given, NTXent(0.1), reduction="none")
    unit = [torch.nn.functional.normalize(column) for column in given]
    sim = unit[0] @ torch.cat(unit[1:]).T
    close(rows, ntxent(sim, positives({})))
    close(rows, torch.nn.functional.cross_entropy(sim / 0.1, torch.arange(N), reduction="none"))


@pytest.mark.parametrize("mining", [case.mining for case in MINING_CASES], ids=repr)
def test_mined(mining):
    """What is mined of the matrix of all pairs is what is mined in chunks."""
    torch.manual_seed(0)
    whole = outcome(lambda *c: column_loss(c, MultiSimilarity(), mining), columns())
    torch.manual_seed(0)
    parts = outcome(lambda *c: column_loss(c, MultiSimilarity(), mining, chunk_size=3), columns())
    compare(whole, parts)


def test_the_hardest_negatives_alone():
    given = columns()
    unit = [torch.nn.functional.normalize(column) for column in given]
    sim = unit[0] @ torch.cat(unit[1:]).T
    pos = positives({})
    hardest = sim.masked_fill(pos, -torch.inf).topk(4, dim=1).indices
    neg = torch.zeros_like(pos).scatter_(1, hardest, True)
    expected = NTXent(0.1).losses(sim, pos, neg).mean()
    close(column_loss(given, NTXent(0.1), HardestNegatives(4)), expected)


@pytest.mark.parametrize("ids", IDS.values(), ids=list(IDS))
def test_the_module_is_the_function(ids):
    loss = modules.ColumnLoss(modules.GPWLoss(NTXent(0.1)), directions=BOTH)
    function = outcome(lambda *c: column_loss(c, NTXent(0.1), directions=BOTH, **ids), columns())
    compare(outcome(lambda *c: loss(*c, **ids), columns()), function)


def test_equal_columns_are_pairs_all_the_same():
    (queries,) = columns(negatives=-1)
    sim = torch.nn.functional.normalize(queries)
    expected = torch.nn.functional.cross_entropy(sim @ sim.T / 0.1, torch.arange(N))
    close(column_loss((queries, queries), NTXent(0.1)), expected)
    module = modules.ColumnLoss(modules.GPWLoss(NTXent(0.1)))
    close(module(queries, queries.clone()), expected)


def test_through_a_gradient_cache():
    """Queries and documents are rows of one batch of the network."""
    inputs = torch.cat(columns(negatives=0))
    network = torch.nn.Linear(DIMS, 4).double()
    loss = modules.ColumnLoss(modules.GPWLoss(NTXent(0.1)), directions=BOTH)

    def of_rows(embeddings, labels):
        return loss(*embeddings.chunk(2))

    GradientCache(network, of_rows, chunk_size=3)(inputs, torch.arange(2 * N))
    cached = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    of_rows(network(inputs), None).backward()
    for one, parameter in zip(cached, network.parameters(), strict=True):
        close(one, parameter.grad)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (1, {}, "columns must be queries and documents, two tensors or more, got 1"),
        (2, {"directions": "query_to_doc"}, "directions must be names out of"),
        (2, {"directions": ("query_to_query",)}, "query_to_query has none"),
        (2, {"directions": ("doc_to_doc",)}, "doc_to_doc has none"),
        (2, {"directions": ("joint",)}, "directions must be one of query_to_doc, doc_to_query"),
        (2, {"directions": BOTH * 2}, "directions must be different ones"),
        (2, {"query_ids": torch.arange(3)}, r"query_ids must have shape \(10,\)"),
        (2, {"query_ids": -torch.ones(N).long()}, "query_ids must lie in"),
        (3, {"doc_ids": torch.arange(N)}, "doc_ids must be a tensor for each of 2 columns"),
    ],
)
def test_bad_columns(given, options, message):
    with pytest.raises(ValueError, match=message):
        column_loss(columns()[:given], NTXent(0.1), **options)


def test_a_document_is_missing():
    queries, documents, *_ = columns()
    with pytest.raises(ValueError, match="a document for each of 10 queries, got 9"):
        column_loss((queries, documents[1:]), NTXent(0.1))
    with pytest.raises(ValueError, match="loss must be a GPWLoss without a relation, or a"):
        modules.ColumnLoss(torch.nn.Identity())
