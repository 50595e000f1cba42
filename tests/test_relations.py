"""Relevance of pairs, several relations at once: against slow loops in float64, in all programs."""

from dataclasses import dataclass

import pytest
import torch

from pml_gpw import functional, relations
from pml_gpw.functional import gpw_loss, mine
from pml_gpw.mining import BatchHardMining, PairMining
from pml_gpw.relations import ByClass, ByDistance, SameLevel, WeightedRelations, jaccard
from pml_gpw.weightings import MultiSimilarity, PairWeighting, PairWeights, RowLoss

from .cases import MINING_CASES
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
    losses = []
    for i in range(len(x)):
        total = x.new_zeros(())
        for j in range(len(y)):
            r, s = relevance[i, j], unit[i] @ others[j]
            if r.isnan() or (keep is not None and not keep[i, j]):
                continue
            total = total + (r * (1 - s) if r > 0 else (1 - r) * s.clamp(min=0) ** 2)
        losses.append(total)
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
    leaves = [t.clone().requires_grad_() for t in tensors]
    value = loss(*leaves)
    return value.detach(), *torch.autograd.grad(value.sum(), leaves)


OPTIONS = [
    {},
    {"chunk_size": 3},
    {"fused": True},
    {"reduction": "sum"},
    {"reduction": "mean_of_anchors_with_positives"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("weighting", [Graded(), GradedByHand()], ids=lambda w: type(w).__name__)
def test_grades_against_a_loop(options, weighting):
    x, y = embeddings(9), embeddings(14, seed=2)
    grades = random_relevance(9, 14)
    counted = (grades > 0).any(dim=1)

    def loop(x, y):
        losses = graded_loss_by_loop(x, y, grades)
        if options.get("reduction") == "sum":
            return losses.sum()
        if options.get("reduction"):
            return losses[counted].mean()
        return losses.mean()

    def ours(x, y):
        return gpw_loss(x, None, weighting, references=y, pairs=grades, **options)

    slow, fast = outcome(loop, x, y), outcome(ours, x, y)
    if isinstance(weighting, Graded):
        close(fast[0], slow[0])
    for one, other in zip(fast[1:], slow[1:], strict=True):
        close(one, other)


@pytest.mark.parametrize("mining", [*(case.mining for case in MINING_CASES), MostRelevant()])
@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
def test_grades_under_every_mining(mining, options):
    """The pairs that the rule keeps of the positives and negatives, with their grades."""
    x, grades = embeddings(12), random_relevance(12, 12, seed=3)
    torch.manual_seed(0)
    a1, p, a2, n = mine(x, None, mining, pairs=grades)
    keep = torch.zeros(12, 12, dtype=torch.bool)
    keep[a1, p] = keep[a2, n] = True
    keep.fill_diagonal_(False)

    def loop(x):
        return graded_loss_by_loop(x, x, grades, keep).mean()

    def ours(x):
        torch.manual_seed(0)
        return gpw_loss(x, None, Graded(), mining, pairs=grades, **options)

    for one, other in zip(outcome(ours, x), outcome(loop, x), strict=True):
        close(one, other)


def test_a_rule_sees_the_grades():
    x, grades = embeddings(6), torch.tensor([[NAN, 1.0, 0.4, 0.6, 0.0, 0.0]]).repeat(6, 1)
    a1, p, _, _ = mine(x, None, MostRelevant(), pairs=grades, self_index=torch.full((6,), -1))
    assert {(int(a), int(b)) for a, b in zip(a1, p, strict=True)} == {
        (i, j) for i in range(6) for j in (1, 3)
    }


def test_pairs_without_grades_have_one_and_zero():
    x, labels = embeddings(12), torch.arange(12) // 3
    binary = (labels[:, None] == labels).double().fill_diagonal_(NAN)
    for options in OPTIONS[:3]:
        by_labels = outcome(lambda x, o=options: gpw_loss(x, labels, Graded(), **o), x)
        by_grades = outcome(lambda x, o=options: gpw_loss(x, None, Graded(), pairs=binary, **o), x)
        for one, other in zip(by_labels, by_grades, strict=True):
            close(one, other)


def test_few_pairs_with_grades_go_sparse():
    """More than a chunk's worth, with few positives and a hundred negatives an anchor."""
    n = 400
    x = embeddings(n, dtype=torch.float32)
    grades = torch.full((n, n), NAN)
    near = (torch.arange(n)[:, None] - torch.arange(n)).abs()
    grades[near <= 3] = 0.5
    grades[(near > 3) & (near < 12)] = 0
    grades.fill_diagonal_(NAN)

    def loss(options):
        return lambda x: gpw_loss(x, None, Graded(), pairs=grades, **options)

    eager, fused = outcome(loss({}), x), outcome(loss({"fused": True}), x)
    for one, other in zip(eager, fused, strict=True):
        close(one, other, 20 * FLOAT32)


def test_the_union_of_sides_has_both_grades():
    @dataclass(frozen=True)
    class OfUnion(RowLoss):
        def loss(self, pos, neg):
            every = pos.union(neg)
            return every.sum(every.relevance * every.sim)

    x, labels = embeddings(80), torch.arange(80) // 2
    unit = torch.nn.functional.normalize(x)
    pos = (labels[:, None] == labels).fill_diagonal_(False)
    expected = (unit @ unit.T)[pos].sum() / 80
    for options in ({}, {"chunk_size": 7}):
        close(gpw_loss(x, labels, OfUnion(), **options), expected)


def test_trained_fields_and_the_table():
    x, grades = embeddings(9), random_relevance(9, 9, seed=5)
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    gpw_loss(x, None, Graded(), pairs=grades, parameters={"scale": scale}).backward()
    positives = grades.nan_to_num(0).fill_diagonal_(0)
    unit = torch.nn.functional.normalize(x)
    close(scale.grad, (positives * (1 - unit @ unit.T)).sum() / 9)
    table = functional.pair_weights(x, None, Graded(), pairs=grades)
    close(table.weights[table.positives], positives[table.positives] / 9)


def test_what_is_no_relevance():
    x = embeddings(4)
    for wrong, message in (
        (-torch.ones(4, 4), "pairs must be grades >= 0 or NaN, got some below 0"),
        (torch.ones(4, 3), r"pairs must be a tensor of \(4, 4\) booleans, or of floating-point"),
        (torch.ones(4, 4).long(), "pairs must be a tensor of"),
        ((torch.ones(4, 4), torch.ones(4, 4)), r"pairs must be a tensor of \(4, 4\) booleans, got"),
        (lambda a, b: a - 1, "pairs must return a tensor of"),
    ):
        labels = torch.arange(4) if callable(wrong) else None
        with pytest.raises(ValueError, match=message):
            gpw_loss(x, labels, Graded(), pairs=wrong)


TAGS = torch.rand(12, 4, generator=torch.Generator().manual_seed(7)) < 0.5


def test_helpers_against_their_definitions():
    for i in range(12):
        for j in range(12):
            either, both = (TAGS[i] | TAGS[j]).sum(), (TAGS[i] & TAGS[j]).sum()
            expected = both / either if either else 0.0
            close(jaccard(TAGS, TAGS)[i, j], expected)
    places = 40 * torch.rand(12, 2, dtype=torch.float64)
    within = ByDistance(lambda metres: metres <= 25)(places, places)
    assert within.equal((places[:, None] - places).norm(dim=-1) <= 25)
    similar = torch.rand(3, 3)
    classes = torch.arange(12) % 3
    assert ByClass(similar)(classes[:2], classes)[1, 5] == similar[1, 2]
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 3\)"):
        ByClass(similar)(classes + 1, classes)
    with pytest.raises(ValueError, match="similarity must be"):
        ByClass(torch.rand(3, 2))


@pytest.mark.parametrize("relation", [jaccard, relations.share_a_label], ids=lambda r: r.__name__)
@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
def test_a_relation_is_its_matrix(relation, options):
    x = embeddings(12)
    by_function = outcome(lambda x: gpw_loss(x, TAGS, Graded(), pairs=relation, **options), x)
    matrix = relation(TAGS, TAGS)
    by_matrix = outcome(lambda x: gpw_loss(x, None, Graded(), pairs=matrix, **options), x)
    for one, other in zip(by_function, by_matrix, strict=True):
        close(one, other)


# --- several relations ---------------------------------------------------------------------------

TAXA = torch.stack([torch.arange(24) // 2, torch.arange(24) // 6, torch.arange(24) // 12], dim=1)
LEVELS = ((SameLevel(0), 1.0), (SameLevel(1), 0.5), (SameLevel(2), 0.25))


@pytest.mark.parametrize("mining", [None, *(case.mining for case in MINING_CASES)])
@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
@pytest.mark.parametrize("weighting", [MultiSimilarity(), Graded()], ids=lambda w: type(w).__name__)
def test_a_hierarchy_is_the_sum_of_its_levels(mining, options, weighting):
    x = embeddings(24)
    hierarchy = WeightedRelations(LEVELS)

    def at_once(x):
        torch.manual_seed(0)
        return gpw_loss(x, TAXA, weighting, mining, pairs=hierarchy, **options)

    def one_by_one(x):
        total = 0
        for level, weight in enumerate((1.0, 0.5, 0.25)):
            torch.manual_seed(0)
            total = total + weight * gpw_loss(x, TAXA[:, level], weighting, mining, **options)
        return total

    for one, other in zip(outcome(at_once, x), outcome(one_by_one, x), strict=True):
        close(one, other)


def test_products_of_a_hierarchy_are_formed_once(monkeypatch):
    calls = []
    real = torch.mm
    monkeypatch.setattr(torch, "mm", lambda *a, **k: calls.append(1) or real(*a, **k))
    gpw_loss(embeddings(24), TAXA, MultiSimilarity(), pairs=WeightedRelations(LEVELS), chunk_size=6)
    assert len(calls) == 4  # chunks, whatever the number of levels


def test_a_hierarchy_with_trained_fields_and_its_table():
    x = embeddings(24)
    base = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    hierarchy, given = WeightedRelations(LEVELS), {"parameters": {"base": base}}
    value = gpw_loss(x, TAXA, MultiSimilarity(), pairs=hierarchy, reduction="none", **given)
    (at_once,) = torch.autograd.grad(value[3], base)
    parts = [
        weight * gpw_loss(x, TAXA[:, i], MultiSimilarity(), reduction="none", **given)[3]
        for i, (_, weight) in enumerate(LEVELS)
    ]
    close(at_once, torch.autograd.grad(sum(parts), base)[0])
    table = functional.pair_weights(x, TAXA, MultiSimilarity(), pairs=hierarchy)
    close(table.loss, float(gpw_loss(x, TAXA, MultiSimilarity(), pairs=hierarchy)))
    assert table.positives.equal((TAXA[:, 2, None] == TAXA[:, 2]).fill_diagonal_(False))


def test_what_several_relations_refuse():
    x = embeddings(24)
    given = {"pairs": WeightedRelations(LEVELS), "reduction": "mean_of_nonzero"}
    with pytest.raises(ValueError, match="reduction of several relations must be one of mean"):
        gpw_loss(x, TAXA, MultiSimilarity(), **given)
    with pytest.raises(ValueError, match="pairs must be one relation to mine from"):
        mine(x, TAXA, MINING_CASES[0].mining, pairs=WeightedRelations(LEVELS))
    for wrong, message in (
        ((), "relations must be at least one pair"),
        (((SameLevel(0), 0.0),), "weight of a relation must be a finite number > 0"),
        ((("species", 1.0),), "relations must be functions of labels, got 'species'"),
    ):
        with pytest.raises(ValueError, match=message):
            WeightedRelations(wrong)


def test_the_table_of_a_mined_hierarchy():
    x = embeddings(24)
    table = functional.pair_weights(
        x, TAXA, MultiSimilarity(), BatchHardMining(), pairs=WeightedRelations(LEVELS)
    )
    assert not ((table.gradient != 0) & ~table.mined).any()


def test_coordinates_that_are_large_integers():
    places = torch.tensor([[2**25, 0], [2**25 + 1, 0]])
    assert ByDistance(lambda metres: metres)(places, places)[0, 1] == 1
    with pytest.raises(ValueError, match=r"labels must be integers, got torch\.float32"):
        ByClass(torch.eye(2))(torch.rand(2), torch.tensor([0, 1]))
