"""The engine as functions: values and gradients of the losses, any pairs, and no PML."""

import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.reducers import DoNothingReducer, SumReducer

from pml_gpw import GPWLoss, MSLoss, PairMiner
from pml_gpw.functional import gpw_loss, mine, ms_loss, share_a_label
from pml_gpw.mining import BatchHardMining, DistanceWeightedMining, MSMining
from pml_gpw.weightings import BinomialDeviance, MultiSimilarity

from . import oracles
from .cases import CASES, MINING_CASES
from .tolerances import close

MININGS = [None, *(case.mining for case in MINING_CASES)]


def embed(n, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) // 3
    centres = torch.randn(n, 5, generator=generator, dtype=torch.float64)[labels]
    noise = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    return (centres + 0.6 * noise).to(dtype), labels


def outcome(function, x, *args, upstream=None, **kwargs):
    torch.manual_seed(3)  # of random rules
    leaf = x.clone().requires_grad_()
    value = function(leaf, *args, **kwargs)
    return value.detach(), torch.autograd.grad(value, leaf, upstream)[0]


def same(one, other):
    for a, b in zip(one, other, strict=True):
        close(a, b)


@pytest.mark.parametrize("mining", MININGS, ids=repr)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_values_and_gradients_are_those_of_the_loss(case, mining):
    x, labels = embed(17)
    y, other = embed(23, seed=1)
    weighting = case.weighting
    for references, given in (((), {}), ((y, other), {"references": y, "reference_labels": other})):
        pml = (None, *references) if references else ()
        for reduction, reducer in (("mean", None), ("sum", SumReducer())):
            loss = GPWLoss(weighting, mining, reducer=reducer)
            ours = outcome(
                gpw_loss, x, labels, weighting, mining, reduction=reduction, chunk_size=5, **given
            )
            same(ours, outcome(loss, x, labels, *pml))
        loss = GPWLoss(weighting, mining, reducer=DoNothingReducer())
        upstream = torch.linspace(-1, 2, 17, dtype=torch.float64)
        ours = outcome(
            gpw_loss, x, labels, weighting, mining, reduction="none", upstream=upstream, **given
        )
        theirs = outcome(
            lambda e, f=loss, p=pml: f(e, labels, *p)["loss"]["losses"], x, upstream=upstream
        )
        same(ours, theirs)


def test_multi_similarity():
    x, labels = embed(20)
    same(outcome(ms_loss, x, labels), outcome(MSLoss(), x, labels))
    parameters = {"alpha": 3.0, "beta": 20.0, "base": 0.2, "epsilon": 0.4}
    same(outcome(ms_loss, x, labels, **parameters), outcome(MSLoss(**parameters), x, labels))
    unmined = GPWLoss(MultiSimilarity())
    same(outcome(ms_loss, x, labels, epsilon=None), outcome(unmined, x, labels))
    dot = MSLoss(distance=DotProductSimilarity(normalize_embeddings=False))
    same(outcome(ms_loss, x, labels, similarity="dot"), outcome(dot, x, labels))


@pytest.mark.parametrize("case", MINING_CASES, ids=lambda c: c.name)
def test_mined_pairs_are_those_of_the_miner(case):
    x, labels = embed(20)
    y, other = embed(11, seed=1)
    for refs, given in (((), {}), ((y, other), {"references": y, "reference_labels": other})):
        torch.manual_seed(0)
        expected = PairMiner(case.mining)(x, labels, *refs)
        torch.manual_seed(0)
        mined = mine(x, labels, case.mining, chunk_size=4, **given)
        assert all(a.equal(b) for a, b in zip(mined, expected, strict=True))


@pytest.mark.parametrize("mining", [None, MSMining(0.3), BatchHardMining()], ids=repr)
def test_pairs_in_every_form(mining):
    """Index pairs, one matrix, two matrices and a relation of labels say the same."""
    x, labels = embed(14)
    pos, neg = oracles.pairs_of(labels)
    expected = outcome(gpw_loss, x, labels, BinomialDeviance(), mining)
    listed = (*pos.nonzero(as_tuple=True), *neg.nonzero(as_tuple=True))
    for kwargs in (
        {"indices_tuple": listed},
        {"pairs": pos},
        {"pairs": (pos, neg)},
        {"pairs": (pos | torch.eye(14).bool(), neg)},
    ):
        same(
            outcome(gpw_loss, x, None, BinomialDeviance(), mining, chunk_size=3, **kwargs), expected
        )
    relation = {"pairs": lambda a, b: a[:, None] == b}
    ours = outcome(gpw_loss, x, labels, BinomialDeviance(), mining, chunk_size=3, **relation)
    same(ours, expected)


def test_multi_label_pairs():
    """Anchors share a label or not, against a loop; an anchor and itself are no pair."""
    x, _ = embed(12)
    y, _ = embed(9, seed=1)
    generator = torch.Generator().manual_seed(0)
    tags, other = (torch.rand(n, 4, generator=generator) < 0.4 for n in (12, 9))
    for references, ref_tags in ((None, tags), (y, other)):
        pos = torch.tensor(
            [
                [any(a and b for a, b in zip(s, t, strict=True)) for t in ref_tags.tolist()]
                for s in tags.tolist()
            ]
        )
        neg = ~pos
        if references is None:
            pos.fill_diagonal_(False)
            neg.fill_diagonal_(False)
        unit = torch.nn.functional.normalize(x)
        sim = unit @ (unit if references is None else torch.nn.functional.normalize(references)).T
        losses, _ = oracles.row_by_row(
            oracles.multi_similarity, MultiSimilarity(), sim, pos, neg, 0.1
        )
        given = {} if references is None else {"references": y, "reference_labels": other}
        value = ms_loss(x, tags, pairs=share_a_label, chunk_size=5, **given)
        close(value, losses.mean())


def test_pairs_that_are_neither_do_not_count():
    """Graded relevance: only the clearly relevant and the clearly irrelevant."""
    x, _ = embed(8)
    grades = torch.randint(3, (8, 8), generator=torch.Generator().manual_seed(0))
    pos, neg = grades == 2, grades == 0
    a = ms_loss(x, None, pairs=(pos, neg))
    off_diagonal = ~torch.eye(8).bool()
    listed = [m & off_diagonal for m in (pos, neg)]
    close(a, ms_loss(x, None, indices_tuple=[i for m in listed for i in m.nonzero(as_tuple=True)]))


def test_self_index():
    x, labels = embed(9)
    places = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    shuffled, moved = torch.empty_like(x), torch.empty_like(labels)
    shuffled[places], moved[places] = x, labels
    given = {"references": 2 * shuffled, "reference_labels": moved, "self_index": places}
    close(ms_loss(x, labels, **given), ms_loss(x, labels))
    close(
        ms_loss(x, labels, pairs=lambda a, b: a[:, None] == b, **given),
        ms_loss(x, labels),
    )


def test_half_precision_and_autocast():
    x, labels = embed(16, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        value, gradient = outcome(ms_loss, x, labels)
    expected = outcome(ms_loss, x.float(), labels)
    assert value.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    close(value, expected[0])
    close(gradient, expected[1], 2**-7)


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
    torch.manual_seed(0)
    values = [gpw_loss(x, labels, MultiSimilarity(), DistanceWeightedMining(5)) for _ in range(3)]
    torch.manual_seed(0)
    sizes = (2, 7, 15)
    for value, size in zip(values, sizes, strict=True):
        close(
            gpw_loss(x, labels, MultiSimilarity(), DistanceWeightedMining(5), chunk_size=size),
            value,
        )
    assert len({float(value) for value in values}) == 3


X, LABELS = embed(4)
MASK = torch.eye(4).bool()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"reduction": "avg"}, "reduction must be one of mean, sum, none, .*, got 'avg'"),
        ({"similarity": "l2"}, "similarity must be one of cosine, dot, got 'l2'"),
        ({"chunk_size": 0}, "chunk_size must be an integer > 0"),
        ({"weighting": "ms"}, "weighting must be a PairWeighting, got 'ms'"),
        ({"mining": 0.1}, "mining must be a PairMining, got 0.1"),
        ({"labels": None}, "labels or indices_tuple must be given"),
        ({"references": X[:3]}, "reference_labels must be given for 3 references"),
        ({"references": X[:, :2]}, "references must have the 5 dimensions"),
        (
            {"labels": None, "pairs": MASK[:3]},
            r"pairs must be a tensor of \(4, 4\) booleans, or of floating-point grades, got ",
        ),
        ({"labels": None, "pairs": MASK.to_sparse()}, "pairs must be a dense tensor"),
        ({"pairs": int}, "pairs must be matrices of booleans or a function, got the class int"),
        ({"pairs": share_a_label, "labels": MASK.to_sparse()}, "labels must be a dense tensor"),
        ({"chunk_size": 10**400}, "chunk_size must be at most 2.* got an integer of 1329 bits"),
        ({"labels": None, "pairs": MASK.long()}, "pairs must be a tensor of .* got torch.int64"),
        (
            {"labels": None, "pairs": (MASK, MASK)},
            "pairs must not call a pair both positive and negative",
        ),
        ({"labels": None, "pairs": (MASK,) * 3}, "pairs must be one or two matrices, got 3"),
        ({"pairs": MASK, "indices_tuple": ()}, "pairs must be None where an indices_tuple"),
        ({"pairs": MASK}, "labels must be None beside pairs that are matrices"),
        ({"pairs": lambda a, b: a}, r"pairs must return a tensor of \(4, 4\) booleans"),
        ({"pairs": share_a_label, "labels": None}, "labels must be a tensor of 4 rows"),
        (
            {"pairs": share_a_label, "references": X[:3]},
            "reference_labels must be a tensor of 3 rows",
        ),
        ({"self_index": torch.arange(4) + 1}, r"self_index must lie in \[-1, 4\)"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_arguments(kwargs, message):
    given = {"labels": LABELS, "weighting": MultiSimilarity(), **kwargs}
    with pytest.raises(ValueError, match=message):
        gpw_loss(X, given.pop("labels"), given.pop("weighting"), **given)
