"""The engine as functions; everywhere/test_modules.py and hosts/pml2 say that values are equal."""

from functools import partial

import pytest
import torch

from pml_gpw.functional import gpw_loss, ms_loss, share_a_label
from pml_gpw.mining import BatchHardMining, DistanceWeightedMining, MSMining
from pml_gpw.weightings import BinomialDeviance, MultiSimilarity

from . import oracles
from .engine.batches import embed as clusters
from .runs import close_runs, run
from .tolerances import close

embed = partial(clusters, seed=0, dtype=torch.float64, per_class=3)


def same_label(labels, others):
    return labels[:, None] == others


def test_multi_similarity_is_its_weighting_and_mining():
    x, labels = embed(20)
    for settings, rules in (
        ({}, (MultiSimilarity(), MSMining())),
        ({"epsilon": None}, (MultiSimilarity(), None)),
        (
            {"alpha": 3.0, "beta": 20.0, "base": 0.2, "epsilon": 0.4},
            (MultiSimilarity(3.0, 20.0, 0.2), MSMining(0.4)),
        ),
    ):
        close_runs(run(ms_loss, x, labels, **settings), run(gpw_loss, x, labels, *rules))


@pytest.mark.parametrize("mining", [None, MSMining(0.3), BatchHardMining()], ids=repr)
def test_pairs_in_every_form(mining):
    """Index pairs, one matrix, two matrices and a relation of labels say the same."""
    x, labels = embed(14)
    pos, neg = oracles.pairs_of(labels)
    rules = BinomialDeviance(), mining
    expected = run(gpw_loss, x, labels, *rules)
    listed = (*pos.nonzero(as_tuple=True), *neg.nonzero(as_tuple=True))
    for labelled, given in (
        (None, {"indices_tuple": listed}),
        (None, {"pairs": pos}),
        (None, {"pairs": (pos, neg)}),
        (None, {"pairs": (pos | torch.eye(14).bool(), neg)}),
        (labels, {"pairs": same_label}),
    ):
        close_runs(run(gpw_loss, x, labelled, *rules, chunk_size=3, **given), expected)


def test_multi_label_pairs():
    """Anchors share a label or not, against a loop; an anchor and itself are no pair."""
    x, y = embed(12)[0], embed(9, seed=1)[0]
    generator = torch.Generator().manual_seed(0)
    tags, other = (torch.rand(n, 4, generator=generator) < 0.4 for n in (12, 9))
    for references, ref_tags, given in (
        (x, tags, {}),
        (y, other, {"references": y, "reference_labels": other.float()}),
    ):
        pos = torch.tensor([[any((s & t).tolist()) for t in ref_tags] for s in tags])
        pair = torch.ones_like(pos) if given else ~torch.eye(12, dtype=torch.bool)
        sim = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(references).T
        losses, _ = oracles.row_by_row(
            oracles.multi_similarity, MultiSimilarity(), sim, pos & pair, ~pos & pair, 0.1
        )
        close(ms_loss(x, tags.long(), pairs=share_a_label, chunk_size=5, **given), losses.mean())


def test_self_index():
    x, labels = embed(9)
    places = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    shuffled, moved = torch.empty_like(x), torch.empty_like(labels)
    shuffled[places], moved[places] = x, labels
    given = {"references": 2 * shuffled, "reference_labels": moved, "self_index": places}
    for pairs in (None, same_label):
        close(ms_loss(x, labels, pairs=pairs, **given), ms_loss(x, labels))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nothing_at_all(reduction):
    x = torch.rand(0, 3, requires_grad=True)
    value = ms_loss(x, torch.rand(0).long(), reduction=reduction)
    assert value.sum() == 0
    value.sum().backward()
    no_references = {"references": x.detach(), "reference_labels": torch.rand(0).long()}
    y = torch.rand(2, 3, requires_grad=True)
    assert ms_loss(y, torch.arange(2), reduction=reduction, **no_references).sum() == 0


def test_random_rules_draw_one_key_a_call():
    x, labels = embed(15)
    rules = MultiSimilarity(), DistanceWeightedMining(5)
    torch.manual_seed(0)
    values = [gpw_loss(x, labels, *rules) for _ in range(3)]
    torch.manual_seed(0)
    for value, size in zip(values, (2, 7, 15), strict=True):
        close(gpw_loss(x, labels, *rules, chunk_size=size), value)
    assert len({float(value) for value in values}) == 3


X, LABELS = embed(4)
META, MASK, TAGS = LABELS.to("meta"), torch.eye(4).bool(), torch.eye(4).long()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"reduction": "avg"}, "reduction must be one of mean, sum, none, .*, got 'avg'"),
        ({"similarity": "l2"}, "similarity must be one of cosine, dot, got 'l2'"),
        ({"chunk_size": 0}, "chunk_size must be an integer > 0"),
        ({"weighting": "ms"}, "weighting must be a PairWeighting, got 'ms'"),
        ({"mining": 0.1}, "mining must be a PairMining, got 0.1"),
        ({"labels": None}, "labels or indices_tuple must be given"),
        ({"labels": META}, "labels must hold values for embeddings on cpu, got a meta"),
        ({"references": X[:3]}, "reference_labels must be given for 3 references"),
        ({"references": X[:, :2]}, "references must have the 6 dimensions"),
        ({"references": X, "reference_labels": META}, "reference_labels must hold values for emb"),
        ({"reference_labels": LABELS}, "reference_labels must be None without references"),
        ({"self_index": torch.arange(4) + 1}, r"self_index must lie in \[-1, 4\)"),
        ({"pairs": MASK, "indices_tuple": ()}, "pairs must be None where an indices_tuple"),
        ({"pairs": MASK}, "labels must be None beside pairs that are matrices"),
        ({"pairs": int}, "pairs must be matrices of booleans or a function, got the class int"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_arguments(kwargs, message):
    given = {"labels": LABELS, "weighting": MultiSimilarity(), **kwargs}
    with pytest.raises(ValueError, match=message):
        gpw_loss(X, given.pop("labels"), given.pop("weighting"), **given)


@pytest.mark.parametrize(
    ("labels", "pairs", "message"),
    [
        (None, MASK[:3], r"of \(4, 4\) booleans, or of floating-point grades, got "),
        (None, MASK.to_sparse(), "pairs must be a dense tensor"),
        (None, MASK.long(), "pairs must be a tensor of .* got torch.int64"),
        (None, MASK.to("meta"), "pairs must hold values for embeddings on cpu"),
        (None, (MASK, MASK), "pairs must not call a pair both positive and negative"),
        (None, (MASK,) * 3, "pairs must be one or two matrices, got 3"),
        (None, share_a_label, "labels must be a tensor of 4 rows"),
        (LABELS, lambda a, b: a, r"pairs must return a tensor of \(4, 4\) booleans"),
        (META, same_label, "labels must hold values for embeddings on cpu"),
        (LABELS, share_a_label, r"labels must be multi-hot, .*got torch.int64 \(4,\)"),
        (TAGS - 1, share_a_label, "labels must be multi-hot, of 0 and 1 only"),
        (MASK.to_sparse(), share_a_label, "labels must be a dense tensor"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_is_no_relation(labels, pairs, message):
    with pytest.raises(ValueError, match=message):
        gpw_loss(X, labels, MultiSimilarity(), pairs=pairs)


@pytest.mark.parametrize("tags", [None, 2 * TAGS])
def test_labels_of_references_in_a_relation(tags):
    given = {"references": X[:3], "reference_labels": tags, "pairs": share_a_label}
    with pytest.raises(ValueError, match="reference_labels must be "):
        gpw_loss(X, TAGS, MultiSimilarity(), **given)
