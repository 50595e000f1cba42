import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers

from pml_gpw import GPWLoss, MSMiner, MSWeightedLoss
from pml_gpw.losses import PairSimilarityLoss
from pml_gpw.reducers import PairWeightReducer
from pml_gpw.weightings import Constant, LiftedStructure, MultiSimilarity, Triplet

from ... import oracles
from ...tolerances import close


def gradient(loss, x, *args, **kwargs):
    x = x.clone().requires_grad_()
    loss(x, *args, **kwargs).backward()
    return x.grad


WEIGHTINGS = [MultiSimilarity(), LiftedStructure(), Triplet(margin=0.5), Constant()]


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=repr)
@pytest.mark.parametrize("distance", [distances.CosineSimilarity(), distances.LpDistance()])
def test_which_what_how_much_is_the_loss(batch, weighting, distance):
    x, labels = batch[0].double(), batch[1]
    indices = MSMiner(0.3, distance=distance)(x, labels)
    composed = PairSimilarityLoss(distance=distance, reducer=PairWeightReducer(weighting))
    expected = gradient(GPWLoss(weighting, distance=distance), x, labels, indices)
    close(gradient(composed, x, labels, indices), expected)
    assert expected.abs().sum() > 0


def test_with_references(batch):
    x, labels = batch
    y, ref_labels = torch.randn(30, 6), torch.arange(30) % 4
    indices = MSMiner()(x, labels, y, ref_labels)
    composed = PairSimilarityLoss(reducer=PairWeightReducer(MultiSimilarity()))
    kwargs = {"ref_emb": y, "ref_labels": ref_labels}
    close(
        gradient(composed, x, labels, indices, **kwargs),
        gradient(MSWeightedLoss(), x, labels, indices, **kwargs),
    )


def test_weighs_the_pair_losses_of_pml(batch):
    """(1/N) Σ w ℓ with ContrastiveLoss' own per-pair losses, by a loop."""
    x, labels = batch[0].double(), batch[1]
    contrastive = losses.ContrastiveLoss(
        pos_margin=1,
        neg_margin=-1,
        distance=distances.CosineSimilarity(),
        reducer=PairWeightReducer(MultiSimilarity()),
    )
    unit = torch.nn.functional.normalize(x)
    sim, (pos, neg) = unit @ unit.T, oracles.pairs_of(labels)
    weights = MultiSimilarity().weights(sim, pos, neg)
    expected = (weights.pos * (1 - sim) + weights.neg * (sim + 1)).sum() / len(x)
    close(contrastive(x, labels), expected)


def test_one_term_alone_and_regularisers(batch):
    x, labels = batch
    kwargs = {"embedding_regularizer": regularizers.LpRegularizer()}
    plain = PairSimilarityLoss(reducer=PairWeightReducer(MultiSimilarity()))
    regular = PairSimilarityLoss(reducer=PairWeightReducer(MultiSimilarity()), **kwargs)
    close(regular(x, labels), plain(x, labels) + x.norm(dim=1).mean())
    ntxent = losses.NTXentLoss(reducer=PairWeightReducer(MultiSimilarity()))
    assert ntxent(x, labels) > 0
    split = reducers.MultipleReducers({"pos_loss": PairWeightReducer(MultiSimilarity())})
    assert torch.isfinite(PairSimilarityLoss(reducer=split)(x, labels))


@pytest.mark.filterwarnings("ignore:.*no pairs to weigh")
def test_zero_losses(batch):
    x, _ = batch
    x.requires_grad_()
    composed = PairSimilarityLoss(reducer=PairWeightReducer(MultiSimilarity(), collect_stats=True))
    value = composed(x[:1], torch.tensor([0]))
    value.backward()
    assert value == 0
    assert x.grad.eq(0).all()
    composed(x, torch.arange(12) // 6)
    assert composed.reducer.losses_size == 12 * 11


def test_other_terms_are_refused(batch):
    reducer = PairWeightReducer(MultiSimilarity())
    with pytest.raises(ValueError, match="got the term 'loss' of type 'triplet'"):
        losses.TripletMarginLoss(reducer=reducer)(*batch)
    with pytest.raises(ValueError, match="got the term 'loss' of type 'element'"):
        losses.MultiSimilarityLoss(reducer=reducer)(*batch)
    for m in (30, 12):
        with pytest.raises(ValueError, match="must compare the batch with itself"):
            losses.ContrastiveLoss(reducer=reducer)(
                *batch, ref_emb=torch.randn(m, 6), ref_labels=batch[1].repeat(3)[:m]
            )


def test_pairs_listed_twice_count_once(batch):
    """Triplets list each of their pairs many times."""
    contrastive = losses.ContrastiveLoss(reducer=PairWeightReducer(MultiSimilarity()))
    triplets = miners.TripletMarginMiner(type_of_triplets="all", margin=5)(*batch)
    close(contrastive(*batch, triplets), contrastive(*batch))


@pytest.mark.parametrize(
    "name", ["MeanReducer", "SumReducer", "AvgNonZeroReducer", "DivisorReducer", "PerAnchorReducer"]
)
def test_pair_similarity_loss_in_every_reducer(batch, name):
    assert torch.isfinite(PairSimilarityLoss(reducer=getattr(reducers, name)())(*batch))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"weighting must be a PairWeighting .*, got None"):
        PairWeightReducer(None)
