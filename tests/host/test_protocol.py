"""PML's calling conventions: reducers, regularisers, distances, references and tuples."""

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.mining import MSMining
from pml_gpw.weightings import (
    BinomialDeviance,
    Contrastive,
    LiftedStructure,
    MultiSimilarity,
)

from .. import oracles
from ..tolerances import close
from .runs import close_runs, run

REDUCERS = {
    "mean": (reducers.MeanReducer(), lambda v, y: v.mean()),
    "sum": (reducers.SumReducer(), lambda v, y: v.sum()),
    "avg_non_zero": (reducers.AvgNonZeroReducer(), lambda v, y: v[v > 0].mean()),
    "threshold": (reducers.ThresholdReducer(low=0.2), lambda v, y: v[v > 0.2].mean()),
    "class_weighted": (
        reducers.ClassWeightedReducer(torch.tensor([1.0, 2.0, 3.0, 4.0])),
        lambda v, y: (v * (1.0 + y)).mean(),
    ),
    "divisor": (reducers.DivisorReducer(), lambda v, y: v.sum() / (v > 0).sum()),
    "per_anchor": (reducers.PerAnchorReducer(), lambda v, y: v.mean()),
    "multiple": (
        reducers.MultipleReducers({"loss": reducers.SumReducer()}),
        lambda v, y: v.sum(),
    ),
}


@pytest.mark.parametrize("name", REDUCERS)
@pytest.mark.parametrize("collect_stats", [False, True])
def test_every_reducer(batch, name, collect_stats):
    x, labels = batch[0].double(), batch[1]
    reducer, expected = REDUCERS[name]
    reducer.collect_stats = collect_stats
    unit = torch.nn.functional.normalize(x)
    pos, neg = MSMining(0.1)(unit @ unit.T, *oracles.pairs_of(labels))
    per_anchor = MultiSimilarity().losses(unit @ unit.T, pos, neg)
    loss = MSLoss(reducer=reducer, collect_stats=collect_stats)
    close(loss(x, labels), expected(per_anchor, labels))


def test_no_reduction(batch):
    terms = MSLoss(reducer=reducers.DoNothingReducer())(*batch)
    assert terms["loss"]["losses"].shape == (12,)
    assert terms["loss"]["reduction_type"] == "element"
    assert terms["loss"]["indices"].tolist() == list(range(12))


def test_embedding_regularizer(batch):
    kwargs = {"embedding_regularizer": regularizers.LpRegularizer(), "embedding_reg_weight": 0.3}
    close_runs(
        run(MSWeightedLoss(**kwargs), *batch), run(losses.MultiSimilarityLoss(**kwargs), *batch)
    )


DISTANCES = {
    "cosine": distances.CosineSimilarity(),
    "dot": distances.DotProductSimilarity(normalize_embeddings=False),
    "euclidean": distances.LpDistance(),
    "squared": distances.LpDistance(power=2),
    "manhattan": distances.LpDistance(p=1, normalize_embeddings=False),
    "snr": distances.SNRDistance(),
}


@pytest.mark.parametrize("name", DISTANCES)
def test_every_distance(batch, name):
    distance = DISTANCES[name]
    mine, theirs = MSMiner(distance=distance), miners.MultiSimilarityMiner(distance=distance)
    assert _pairs(mine(*batch)) == _pairs(theirs(*batch))
    expected = run(losses.MultiSimilarityLoss(distance=distance), *batch, theirs(*batch))
    close_runs(run(MSWeightedLoss(distance=distance), *batch, mine(*batch)), expected)
    close_runs(run(MSLoss(distance=distance), *batch), expected)


def _pairs(indices):
    a1, p, a2, n = (i.tolist() for i in indices)
    return set(zip(a1, p, strict=True)), set(zip(a2, n, strict=True))


@pytest.mark.parametrize(
    ("weighting", "theirs"),
    [
        (LiftedStructure(margin=1.0), losses.GeneralizedLiftedStructureLoss),
        (Contrastive(margin=1.0), losses.ContrastiveLoss),
    ],
)
def test_other_weightings_read_distances_as_pml_does(batch, weighting, theirs):
    """Relative margins stay, levels change sign: the gradient is that of PML's own loss."""
    kwargs = {"neg_margin": 1, "pos_margin": 0, "distance": distances.LpDistance()}
    ours = run(
        GPWLoss(weighting, distance=distances.LpDistance(), reducer=reducers.SumReducer()), *batch
    )
    pml = run(theirs(reducer=reducers.SumReducer(), **kwargs), *batch)
    close(ours[1], pml[1])


def test_levels_change_sign_on_distances():
    assert MultiSimilarity(base=0.3).for_negated_distances().base == -0.3
    assert BinomialDeviance(base=0.3).for_negated_distances().base == -0.3
    assert Contrastive(margin=0.3).for_negated_distances().margin == -0.3
    assert LiftedStructure(margin=0.3).for_negated_distances().margin == 0.3


@pytest.fixture
def references():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(9, 6, generator=generator), torch.arange(9) % 4


def test_references(batch, references):
    ours = run(MSLoss(), *batch, ref_emb=references[0], ref_labels=references[1])
    indices = miners.MultiSimilarityMiner()(*batch, *references)
    close_runs(ours, run(losses.MultiSimilarityLoss(), *batch, indices, *references))
    assert _pairs(MSMiner()(*batch, *references)) == _pairs(indices)


@pytest.mark.parametrize("as_triplets", [False, True])
@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("with_references", [False, True])
def test_tuples(batch, references, as_triplets, with_labels, with_references):
    x, labels = batch
    refs = references if with_references else (None, None)
    miner = miners.TripletMarginMiner() if as_triplets else miners.PairMarginMiner(0.2, 0.8)
    indices = miner(x, labels, *refs)
    args = (labels if with_labels else None, indices, refs[0])  # references without their labels
    close_runs(run(MSWeightedLoss(), x, *args), run(losses.MultiSimilarityLoss(), x, *args))


def test_own_mining_refines_a_tuple(batch):
    indices = miners.PairMarginMiner(0.2, 0.8)(*batch)
    both = run(MSLoss(), *batch, indices)
    pos, neg = (torch.zeros(12, 12, dtype=torch.bool) for _ in range(2))
    pos[indices[0], indices[1]], neg[indices[2], indices[3]] = True, True
    unit = torch.nn.functional.normalize(batch[0])
    pos, neg = MSMining(0.1)(unit @ unit.T, pos, neg)
    refined = (*pos.nonzero(as_tuple=True), *neg.nonzero(as_tuple=True))
    close_runs(both, run(MSWeightedLoss(), *batch, refined))


def test_references_without_labels_carry_those_of_the_anchors(batch):
    x, labels = batch
    other = x + 1
    close(MSLoss()(x, labels, ref_emb=other), MSLoss()(x, labels, ref_emb=other, ref_labels=labels))
