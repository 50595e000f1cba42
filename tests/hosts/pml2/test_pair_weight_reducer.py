import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers

from pml_gpw import GPWLoss, MSMiner, MSWeightedLoss
from pml_gpw.losses import PairSimilarityLoss
from pml_gpw.reducers import PairWeightReducer
from pml_gpw.weightings import Constant, LiftedStructure, MultiSimilarity, Triplet

from ... import oracles
from ...runs import run
from ...tolerances import close

WEIGHTINGS = [MultiSimilarity(), LiftedStructure(), Triplet(margin=0.5), Constant()]


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=repr)
@pytest.mark.parametrize("distance", [distances.CosineSimilarity(), distances.LpDistance()])
def test_which_what_how_much_is_the_loss(batch, weighting, distance):
    """A miner, the losses of pairs and their weights have the gradient of the loss in one."""
    x, labels = batch[0].double(), batch[1]
    indices = MSMiner(0.3, distance=distance)(x, labels)
    composed = PairSimilarityLoss(distance=distance, reducer=PairWeightReducer(weighting))
    _, expected = run(GPWLoss(weighting, distance=distance), x, labels, indices)
    close(run(composed, x, labels, indices)[1], expected)
    assert expected.abs().sum() > 0


def test_with_references(batch):
    x, labels = batch
    y, ref_labels = torch.randn(30, 6), torch.arange(30) % 4
    arguments = labels, MSMiner()(x, labels, y, ref_labels), y, ref_labels
    composed = PairSimilarityLoss(reducer=PairWeightReducer(MultiSimilarity()))
    close(run(composed, x, *arguments)[1], run(MSWeightedLoss(), x, *arguments)[1])


def test_weighs_the_pair_losses_of_pml(batch):
    """(1/N) Σ w ℓ with ContrastiveLoss' own per-pair losses, by a loop; pairs that are listed
    twice, as by triplets, count once."""
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
    triplets = miners.TripletMarginMiner(type_of_triplets="all", margin=5)(x, labels)
    close(contrastive(x, labels, triplets), expected)


def test_one_term_alone_and_regularisers(batch):
    x, labels = batch
    reducer = PairWeightReducer(MultiSimilarity())
    regular = {"embedding_regularizer": regularizers.LpRegularizer()}
    plain = PairSimilarityLoss(reducer=reducer)(x, labels)
    close(PairSimilarityLoss(reducer=reducer, **regular)(x, labels), plain + x.norm(dim=1).mean())
    assert losses.NTXentLoss(reducer=reducer)(x, labels) > 0
    split = reducers.MultipleReducers({"pos_loss": reducer})
    assert torch.isfinite(PairSimilarityLoss(reducer=split)(x, labels))


@pytest.mark.filterwarnings("ignore:.*no pairs to weigh")
def test_zero_losses(batch):
    composed = PairSimilarityLoss(reducer=PairWeightReducer(MultiSimilarity(), collect_stats=True))
    value, gradient = run(composed, batch[0][:1], torch.tensor([0]))
    assert value == 0
    assert gradient.eq(0).all()
    composed(batch[0], torch.arange(12) // 6)
    assert composed.reducer.losses_size == 12 * 11


OTHERS = {"ref_emb": torch.randn(30, 6), "ref_labels": torch.arange(30) % 4}


@pytest.mark.parametrize(
    ("loss", "references", "message"),
    [
        (losses.TripletMarginLoss, None, "got the term 'loss' of type 'triplet'"),
        (losses.MultiSimilarityLoss, None, "got the term 'loss' of type 'element'"),
        (losses.ContrastiveLoss, 30, "must compare the batch with itself"),
        (losses.ContrastiveLoss, 12, "must compare the batch with itself"),
    ],
)
def test_other_terms_are_refused(batch, loss, references, message):
    given = {name: value[:references] for name, value in OTHERS.items()} if references else {}
    with pytest.raises(ValueError, match=message):
        loss(reducer=PairWeightReducer(MultiSimilarity()))(*batch, **given)
    with pytest.raises(ValueError, match=r"weighting must be a PairWeighting .*, got None"):
        PairWeightReducer(None)
