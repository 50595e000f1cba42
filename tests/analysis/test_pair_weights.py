"""Pair weights of PML's losses and ours: by hand, by the chain rule, and nothing is disturbed."""

from types import SimpleNamespace

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, regularizers
from pytorch_metric_learning.reducers import DoNothingReducer, SumReducer

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.analysis import pair_weights
from pml_gpw.weightings import MultiSimilarity

from .. import oracles
from ..tolerances import close

COSINE = {"distance": distances.CosineSimilarity()}
FIVE = [[0.9, 0.3, 0.1], [0.7, -0.2, 0.5], [-0.1, 0.8, 0.4], [0.5, 0.6, -0.3], [0.2, 0.9, 0.7]]
POINTS, LABELS = torch.tensor(FIVE, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 1])
POS, NEG = oracles.pairs_of(LABELS)
UNIT = torch.nn.functional.normalize(POINTS)
S, D = UNIT @ UNIT.T, torch.cdist(UNIT, UNIT)


def by_rows(oracle, sim=S, **fields):
    """The weight of each pair by the slow loop of a formula."""
    return oracles.row_by_row(oracle, SimpleNamespace(**fields), sim, POS, NEG)[1].abs()


def nca():
    """−log Σ_pos softmax(−D²), averaged over anchors; S = −D²."""
    e = (-(D**2)).exp() * (POS | NEG)
    of_positives = e * POS / (e * POS).sum(dim=1, keepdim=True)
    return (of_positives - e / e.sum(dim=1, keepdim=True)).abs() / 5


TRIPLETS = by_rows(oracles.triplet, margin=0.05)  # averaged over the triplets above 0
NEAR = by_rows(oracles.contrastive, -D, margin=-1.0) * NEG  # [1 − D]₊, averaged over those above 0
LIFTED = by_rows(oracles.lifted_structure, alpha=1, beta=1, margin=-1)
MS = by_rows(oracles.multi_similarity, alpha=2, beta=50, base=0.5)
BY_HAND = {
    "contrastive": (losses.ContrastiveLoss(), POS / POS.sum() + NEAR / NEAR.sum()),
    "triplet": (losses.TripletMarginLoss(**COSINE), TRIPLETS / (TRIPLETS * POS).sum()),
    "lifted": (losses.GeneralizedLiftedStructureLoss(**COSINE), LIFTED / 5),
    "NT-Xent": (losses.NTXentLoss(), by_rows(oracles.nt_xent, temperature=0.07) / POS.sum()),
    "NCA": (losses.NCALoss(), nca()),
    "circle": (losses.CircleLoss(), by_rows(oracles.circle, m=0.4, gamma=80) / 5),
    "MS": (losses.MultiSimilarityLoss(), MS / 5),
    "MS, ours": (MSWeightedLoss(), MS / 5),
}


def name(value):
    return type(value).__name__


@pytest.mark.parametrize("loss", BY_HAND)
def test_five_points_by_hand(loss):
    module, expected = BY_HAND[loss]
    table = pair_weights(module, POINTS, LABELS)
    similarity = {"contrastive": -D, "NCA": -(D**2)}.get(loss, S)
    apart = ~torch.eye(5).bool()  # rounding moves a point's distance to itself to 1e-8
    close(table.similarity[apart], similarity[apart])
    close(table.weights, expected)
    assert (table.gradient[table.positives] <= 0).all()
    assert (table.gradient[table.negatives] >= 0).all()


def test_a_distance_that_is_no_function_of_the_similarity_is_negated(sixteen):
    loss = losses.SignalToNoiseRatioContrastiveLoss()
    table = pair_weights(loss, *sixteen)
    close(table.similarity, -loss.distance(sixteen[0]))
    assert table.weights.sum() > 0


@pytest.mark.parametrize("loss", [losses.MultiSimilarityLoss(), MSWeightedLoss()], ids=name)
def test_miner_tuple_and_references(loss, sixteen):
    x, labels = sixteen
    miner = MSMiner(0.2)
    table = pair_weights(loss, x, labels, miner)
    mined = miner(x, labels)
    assert table.mined.sum() == len(mined[0]) + len(mined[2])
    assert table.weights[~table.mined].eq(0).all()
    assert table.weights[table.mined].gt(0).all()
    close(pair_weights(loss, x, labels, indices_tuple=mined).gradient, table.gradient)
    same = pair_weights(MSLoss(epsilon=0.2), x, labels)
    close(same.weights, table.weights)
    refs, ref_labels = x[:6].flip(1), labels[:6]
    against = pair_weights(loss, x, labels, ref_emb=refs, ref_labels=ref_labels)
    assert against.similarity.shape == (16, 6)
    leaf = x.clone().requires_grad_()
    wanted = torch.autograd.grad(loss(leaf, labels, None, refs, ref_labels), leaf)[0]
    product = torch.nn.functional.normalize(leaf) @ torch.nn.functional.normalize(refs).T
    close(torch.autograd.grad(product, leaf, against.gradient)[0], wanted)


PLAIN, NO_NUMBER = losses.ContrastiveLoss(), losses.ContrastiveLoss(reducer=DoNothingReducer())


@pytest.mark.parametrize(
    ("loss", "arguments", "said"),
    [
        (MSLoss(), {"miner": "x"}, "miner must be an object that can be called, got 'x'"),
        (MSLoss(), {"miner": MSMiner(), "indices_tuple": ()}, "indices_tuple must be None"),
        (PLAIN, {"self_index": torch.arange(16)}, "self_index must be None for a loss of another"),
        (NO_NUMBER, {}, "reducer that gives one number"),
    ],
)
def test_arguments_that_cannot_be(sixteen, loss, arguments, said):
    with pytest.raises(ValueError, match=said):
        pair_weights(loss, *sixteen, **arguments)


def state_of(module):
    return str({name: value for name, value in vars(module).items() if "hook" not in name})


def test_nothing_is_disturbed_and_regularizers_do_not_count(sixteen):
    x, labels = sixteen
    fired = []
    regularizer = regularizers.LpRegularizer()
    loss = losses.DynamicSoftMarginLoss(collect_stats=True, embedding_regularizer=regularizer)
    miner = miners.DistanceWeightedMiner(collect_stats=True)  # draws at random
    modules = (loss, miner, loss.distance)
    for module in modules:
        module.register_forward_hook(lambda *_: fired.append(1))
        module.register_forward_pre_hook(lambda *_: fired.append(1))
    before = [state_of(module) for module in modules]
    random, x_before = torch.get_rng_state(), x.clone()
    table = pair_weights(loss, x.requires_grad_(), labels, miner)
    assert not fired
    assert torch.get_rng_state().equal(random)
    assert x.equal(x_before)
    assert x.grad is None
    assert [state_of(module) for module in modules] == before
    assert type(loss.distance) is distances.LpDistance
    plain = pair_weights(losses.DynamicSoftMarginLoss(), x, labels, miner)
    close(table.gradient, plain.gradient)


def test_weighting_of_ones_own_reducer_counts(sixteen):
    total = pair_weights(MSWeightedLoss(reducer=SumReducer()), *sixteen)
    mean = pair_weights(MSWeightedLoss(), *sixteen)
    close(total.weights, 16 * mean.weights)
    weighting = MultiSimilarity()
    x = torch.nn.functional.normalize(sixteen[0])
    closed = weighting.weights(x @ x.T, total.positives, total.negatives)
    close(total.weights, closed.pos + closed.neg)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("loss", [losses.ContrastiveLoss(), MSWeightedLoss()], ids=name)
def test_where_gradients_are_off(loss, context, sixteen):
    expected = pair_weights(loss, *sixteen, MSMiner(0.5))
    with context():
        mined = pair_weights(loss, sixteen[0] + 0, sixteen[1], MSMiner(0.5))
    close(mined.weights, expected.weights)


def test_duplicates_have_no_weight_through_the_euclidean_distance(sixteen):
    x, labels = sixteen[0].float(), sixteen[1]
    x[1] = x[0]
    loss = losses.ContrastiveLoss()
    table = pair_weights(loss, x, labels)
    close(table.loss, float(loss(x, labels)))
    assert table.weights[0, 1] == table.weights[1, 0] == 0
    exact = pair_weights(loss, x.double(), labels)
    close(table.weights, exact.weights, 1e-5)


def test_losses_that_hold_state_of_a_step(batch):
    """Its graph is left out of the copy, and its values are kept."""
    loss = losses.DynamicSoftMarginLoss()
    loss(batch[0].clone().requires_grad_(), batch[1]).backward()
    state = loss.hist_.detach().clone()
    table = pair_weights(loss, *batch)
    assert loss.hist_.equal(state)
    assert table.loss == pytest.approx(float(loss(*batch).detach()), rel=1e-6)
    assert table.weights.sum() > 0
