"""Relevance of pairs, several relations at once: against slow loops in float64, in all programs."""

from dataclasses import dataclass
from itertools import product

import pytest
import torch

from pml_gpw import functional, relations
from pml_gpw.engine.relation_pairs import RelationPairs
from pml_gpw.engine.weighted_pairs import WeightedPairs
from pml_gpw.functional import gpw_loss, mine
from pml_gpw.mining import BatchHardMining, DistanceWeightedMining, MSMining, PairMining
from pml_gpw.relations import (
    ByClass,
    ByDistance,
    SameLevel,
    WeightedRelations,
    jaccard,
    share_a_label,
)
from pml_gpw.weightings import MultiSimilarity, PairWeighting, PairWeights, RowLoss

from .runs import close_runs
from .tolerances import FLOAT32, close

NAN = float("nan")


@dataclass(frozen=True)
class Graded(RowLoss):
    """Σ_pos r (1 − s) + Σ_neg (1 − r) max(s, 0)², with the relevance r."""

    scale: float = 1.0

    def loss(self, pos, neg):
        near = pos.sum(pos.relevance * (1 - pos.sim)) * self.scale
        return near + neg.sum((1 - neg.relevance) * neg.sim.clamp(min=0) ** 2)


@dataclass(frozen=True)
class GradedByHand(PairWeighting):
    def weigh(self, pos, neg):
        return PairWeights(pos.relevance, (1 - neg.relevance) * 2 * neg.sim.clamp(min=0))


@dataclass(frozen=True)
class MostRelevant(PairMining):
    """Positives at least as relevant as half of the most relevant one, and the nearer negatives."""

    def select(self, pos, neg):
        most = pos.max(pos.relevance)
        return pos.relevance >= pos.expand(most) / 2, neg.sim >= neg.relevance


def graded_loss_by_loop(x, y, relevance, keep=None):
    """The losses of the anchors (N,), written pair by pair."""
    unit, others = (torch.nn.functional.normalize(e, dim=1) for e in (x, y))
    losses = [x.new_zeros(()) for _ in x]
    for i, j in product(range(len(x)), range(len(y))):
        r, s = relevance[i, j], unit[i] @ others[j]
        if not r.isnan() and (keep is None or keep[i, j]):
            losses[i] = losses[i] + (r * (1 - s) if r > 0 else (1 - r) * s.clamp(min=0) ** 2)
    return torch.stack(losses)


def random_relevance(n, m, seed=0):
    """A third negatives, some pairs that do not count, and grades in (0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    grades = torch.rand(n, m, generator=generator, dtype=torch.float64)
    kind = torch.rand(n, m, generator=generator)
    grades[kind < 0.4] = 0
    grades[kind > 0.9] = NAN
    return grades


def embeddings(n, dims=5, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, dims, generator=generator, dtype=dtype)


def outcome(loss, *tensors):
    torch.manual_seed(0)  # of random rules
    leaves = [t.clone().requires_grad_() for t in tensors]
    value = loss(*leaves)
    return value.detach(), *torch.autograd.grad(value.sum(), leaves)


OPTIONS = [{}, {"chunk_size": 3}, {"fused": True}, {"reduction": "sum"}]
POSITIVES = {"reduction": "mean_of_anchors_with_positives"}
MINED = [MSMining(0.1), DistanceWeightedMining(dim=5)]


@pytest.mark.parametrize("options", [*OPTIONS, POSITIVES], ids=str)
@pytest.mark.parametrize("weighting", [Graded(), GradedByHand()], ids=lambda w: type(w).__name__)
def test_grades_against_a_loop(options, weighting, eager_backend):
    x, y = embeddings(9), embeddings(14, seed=2)
    grades = random_relevance(9, 14)
    counted = (grades > 0).any(dim=1)

    def loop(x, y):
        losses = graded_loss_by_loop(x, y, grades)
        if options.get("reduction") == "sum":
            return losses.sum()
        return losses[counted].mean() if options.get("reduction") else losses.mean()

    def ours(x, y):
        return gpw_loss(x, None, weighting, references=y, pairs=grades, **options)

    skipped = 0 if isinstance(weighting, Graded) else 1  # eq 3 is another value
    close_runs(outcome(ours, x, y)[skipped:], outcome(loop, x, y)[skipped:])


@pytest.mark.parametrize("mining", [*MINED, MostRelevant()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
def test_grades_under_a_mining(mining, options, eager_backend):
    """The pairs that the rule keeps of the positives and negatives, with their grades."""
    x, grades = embeddings(12), random_relevance(12, 12, seed=3)
    torch.manual_seed(0)
    a1, p, a2, n = mine(x, None, mining, pairs=grades)
    keep = torch.zeros(12, 12, dtype=torch.bool)
    keep[a1, p] = keep[a2, n] = True
    keep.fill_diagonal_(False)
    close_runs(
        outcome(lambda x: gpw_loss(x, None, Graded(), mining, pairs=grades, **options), x),
        outcome(lambda x: graded_loss_by_loop(x, x, grades, keep).mean(), x),
    )


def test_a_rule_sees_the_grades():
    x, grades = embeddings(6), torch.tensor([[NAN, 1.0, 0.4, 0.6, 0.0, 0.0]]).repeat(6, 1)
    a1, p, _, _ = mine(x, None, MostRelevant(), pairs=grades, self_index=torch.full((6,), -1))
    assert {*zip(a1.tolist(), p.tolist(), strict=True)} == {*product(range(6), (1, 3))}


def test_pairs_without_grades_have_one_and_zero():
    x, labels = embeddings(12), torch.arange(12) // 3
    binary = (labels[:, None] == labels).double().fill_diagonal_(NAN)
    for chunk_size in (None, 3):
        by_labels = gpw_loss(x, labels, Graded(), chunk_size=chunk_size)
        close(by_labels, gpw_loss(x, None, Graded(), pairs=binary, chunk_size=chunk_size))


def test_few_pairs_with_grades_go_sparse(eager_backend):
    """More than a chunk's worth, with few positives and some negatives an anchor."""
    n = 400
    x = embeddings(n, dtype=torch.float32)
    near = (torch.arange(n)[:, None] - torch.arange(n)).abs()
    grades = torch.full((n, n), NAN)
    grades[near < 12] = 0
    grades[near <= 3] = 0.5
    grades.fill_diagonal_(NAN)
    sparse, fused = (
        outcome(lambda x, f=f: gpw_loss(x, None, Graded(), pairs=grades, fused=f), x)
        for f in (False, True)
    )
    for one, other in zip(sparse, fused, strict=True):
        close(one, other, 20 * FLOAT32)


def test_the_union_of_sides_has_both_grades():
    @dataclass(frozen=True)
    class OfUnion(RowLoss):
        def loss(self, pos, neg):
            every = pos.union(neg)
            return every.sum(every.relevance * every.sim)

    x, labels = torch.nn.functional.normalize(embeddings(80)), torch.arange(80) // 2
    pos = (labels[:, None] == labels).fill_diagonal_(False)
    for chunk_size in (None, 7):
        found = gpw_loss(x, labels, OfUnion(), chunk_size=chunk_size)
        close(found, (x @ x.T)[pos].sum() / 80)


def test_trained_fields_and_the_table():
    x, grades = embeddings(9), random_relevance(9, 9, seed=5)
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    gpw_loss(x, None, Graded(), pairs=grades, parameters={"scale": scale}).backward()
    positives = grades.nan_to_num(0).fill_diagonal_(0)
    unit = torch.nn.functional.normalize(x)
    close(scale.grad, (positives * (1 - unit @ unit.T)).sum() / 9)
    table = functional.pair_weights(x, None, Graded(), pairs=grades)
    close(table.weights[table.positives], positives[table.positives] / 9)


TAGS = torch.rand(12, 4, generator=torch.Generator().manual_seed(7)) < 0.5


def test_helpers_against_their_definitions():
    shares = jaccard(TAGS, TAGS)
    for i, j in product(range(12), range(12)):
        either, both = (TAGS[i] | TAGS[j]).sum(), (TAGS[i] & TAGS[j]).sum()
        close(shares[i, j], both / either if either else 0.0)
    places = 40 * torch.rand(12, 2, dtype=torch.float64)
    within = ByDistance(lambda metres: metres <= 25)(places, places)
    assert within.equal((places[:, None] - places).norm(dim=-1) <= 25)
    similar = torch.rand(3, 3)
    classes = torch.arange(12) % 3
    assert ByClass(similar)(classes[:2], classes)[1, 5] == similar[1, 2]


@pytest.mark.parametrize("relation", [jaccard, relations.share_a_label], ids=lambda r: r.__name__)
@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
def test_a_relation_is_its_matrix(relation, options, eager_backend):
    x, matrix = embeddings(12), relation(TAGS, TAGS)
    close_runs(
        outcome(lambda x: gpw_loss(x, TAGS, Graded(), pairs=relation, **options), x),
        outcome(lambda x: gpw_loss(x, None, Graded(), pairs=matrix, **options), x),
    )


TAXA = torch.stack([torch.arange(24) // 2, torch.arange(24) // 6, torch.arange(24) // 12], dim=1)
LEVELS = ((SameLevel(0), 1.0), (SameLevel(1), 0.5), (SameLevel(2), 0.25))
HIERARCHY = WeightedRelations(LEVELS)


COMPILED = pytest.param({"fused": True}, marks=pytest.mark.exhaustive)


@pytest.mark.parametrize("mining", [None, *MINED], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("options", [{}, {"chunk_size": 3, "reduction": "sum"}, COMPILED], ids=str)
@pytest.mark.parametrize("weighting", [MultiSimilarity(), Graded()], ids=lambda w: type(w).__name__)
def test_a_hierarchy_is_the_sum_of_its_levels(mining, options, weighting, eager_backend):
    def at_once(x):
        return gpw_loss(x, TAXA, weighting, mining, pairs=HIERARCHY, **options)

    def one_by_one(x):
        total = 0
        for level, (_, weight) in enumerate(LEVELS):
            torch.manual_seed(0)
            total = total + weight * gpw_loss(x, TAXA[:, level], weighting, mining, **options)
        return total

    close_runs(outcome(at_once, embeddings(24)), outcome(one_by_one, embeddings(24)))


def test_a_positive_of_one_level_is_no_negative_of_another():
    own = torch.arange(24)
    every = [(RelationPairs(TAXA, TAXA, level, None, own), weight) for level, weight in LEVELS]
    pos, neg = WeightedPairs(tuple(every)).masks(slice(0, 24))
    same = TAXA[:, 2:] == TAXA[:, 2]
    assert pos.equal(same & (own != own[:, None]))
    assert neg.equal(~same)


def test_products_of_a_hierarchy_are_formed_once(monkeypatch):
    calls = []
    real = torch.mm
    monkeypatch.setattr(torch, "mm", lambda *a, **k: calls.append(1) or real(*a, **k))
    gpw_loss(embeddings(24), TAXA, MultiSimilarity(), pairs=HIERARCHY, chunk_size=6)
    assert len(calls) == 4  # chunks, whatever the number of levels


def test_a_hierarchy_with_trained_fields():
    base = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)

    def loss(labels, **pairs):
        given = {"reduction": "none", "parameters": {"base": base}}
        return gpw_loss(embeddings(24), labels, MultiSimilarity(), **pairs, **given)[3]

    parts = [weight * loss(TAXA[:, level]) for level, (_, weight) in enumerate(LEVELS)]
    at_once = torch.autograd.grad(loss(TAXA, pairs=HIERARCHY), base)
    close_runs(at_once, torch.autograd.grad(sum(parts), base))


def test_the_table_of_a_hierarchy():
    x, given = embeddings(24), {"pairs": HIERARCHY}
    table = functional.pair_weights(x, TAXA, MultiSimilarity(), **given)
    close(table.loss, float(gpw_loss(x, TAXA, MultiSimilarity(), **given)))
    assert table.positives.equal((TAXA[:, 2, None] == TAXA[:, 2]).fill_diagonal_(False))
    mined = functional.pair_weights(x, TAXA, MultiSimilarity(), BatchHardMining(), **given)
    assert not ((mined.gradient != 0) & ~mined.mined).any()


X, ONES, CLASSES = embeddings(4), torch.ones(4, 4), torch.arange(4)


def graded(pairs, labels=None, **options):
    return gpw_loss(X, labels, Graded(), pairs=pairs, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: graded(-ONES), "pairs must be grades >= 0 or NaN, got some below 0"),
        (lambda: graded(HIERARCHY, TAXA, **POSITIVES), "reduction of several relations must be"),
        (lambda: mine(X, TAXA, MINED[0], pairs=HIERARCHY), "pairs must be one relation to mine"),
        (lambda: ByClass(ONES)(CLASSES + 1, CLASSES), r"labels must lie in \[0, 4\)"),
        (lambda: ByClass(ONES)(X[:, 0], CLASSES), "labels must be integers, got torch.float64"),
        (lambda: ByClass(ONES[:, :3]), "similarity must be"),
        (
            lambda: share_a_label(TAGS, -TAGS.long()),
            "reference_labels must be multi-hot, of 0 and 1",
        ),
        (lambda: WeightedRelations(()), "relations must be at least one pair"),
        (lambda: WeightedRelations(((jaccard, 0.0),)), "weight of a relation must be a finite num"),
        (lambda: WeightedRelations((("a", 1.0),)), "relations must be functions of labels, got"),
    ],
)
def test_what_is_no_relation(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_coordinates_that_are_large_integers():
    places = torch.tensor([[2**25, 0], [2**25 + 1, 0]])
    assert ByDistance(lambda metres: metres)(places, places)[0, 1] == 1
