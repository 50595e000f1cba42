"""Pair weights of PML's losses and ours: by hand, by the chain rule, and nothing is disturbed."""

import copy

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.analysis import pair_weights
from pml_gpw.weightings import BinomialDeviance, LiftedStructure, MultiSimilarity

from ..tolerances import close
from . import by_hand

COSINE = {"distance": distances.CosineSimilarity()}
BY_HAND = {
    "contrastive": (losses.ContrastiveLoss(), by_hand.contrastive),
    "triplet": (losses.TripletMarginLoss(**COSINE), by_hand.triplet),
    "lifted": (losses.GeneralizedLiftedStructureLoss(**COSINE), by_hand.generalized_lifted),
    "lifted, ours": (
        GPWLoss(LiftedStructure(alpha=1, beta=1, margin=None)),
        by_hand.lifted_structure,
    ),
    "binomial, ours": (GPWLoss(BinomialDeviance(2, 50, 0.5)), by_hand.binomial),
    "NT-Xent": (losses.NTXentLoss(), by_hand.ntxent),
    "NCA": (losses.NCALoss(), by_hand.nca),
    "circle": (losses.CircleLoss(), by_hand.circle),
    "MS": (losses.MultiSimilarityLoss(), by_hand.multi_similarity),
    "MS, ours": (MSWeightedLoss(), by_hand.multi_similarity),
}
POINTS = torch.tensor(by_hand.POINTS, dtype=torch.float64)
LABELS = torch.tensor(by_hand.LABELS)


def name(value):
    return type(value).__name__


@pytest.mark.parametrize("loss", BY_HAND)
def test_five_points_by_hand(loss):
    module, expected = BY_HAND[loss]
    table = pair_weights(module, POINTS, LABELS)
    similarity = {
        "contrastive": lambda i, j: -by_hand.distance(i, j),
        "NCA": lambda i, j: -(by_hand.distance(i, j) ** 2),
    }.get(loss, lambda i, j: by_hand.S[i][j])
    expected_similarity = [[similarity(i, j) for j in by_hand.ALL] for i in by_hand.ALL]
    apart = ~torch.eye(5).bool()  # rounding moves a point's distance to itself to 1e-8
    close(table.similarity[apart], torch.tensor(expected_similarity, dtype=torch.float64)[apart])
    close(table.weights, torch.tensor(expected(), dtype=torch.float64))
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
    with pytest.raises(ValueError, match="miner must be an object that can be called, got 'x'"):
        pair_weights(MSLoss(), *sixteen, miner="x")
    with pytest.raises(ValueError, match="indices_tuple must be None"):
        pair_weights(loss, x, labels, miner, indices_tuple=mined)


def test_nothing_is_disturbed(sixteen):
    x, labels = sixteen
    fired = []
    loss = losses.DynamicSoftMarginLoss(
        collect_stats=True, embedding_regularizer=regularizers.LpRegularizer()
    )
    miner = miners.DistanceWeightedMiner(collect_stats=True)  # draws at random
    for module in (loss, miner, loss.distance):
        module.register_forward_hook(lambda *_: fired.append(1))
        module.register_forward_pre_hook(lambda *_: fired.append(1))
    before = [copy.deepcopy(vars(module)) for module in (loss, miner, loss.distance)]
    random, x_before = torch.get_rng_state(), x.clone()
    pair_weights(loss, x.requires_grad_(), labels, miner)
    assert not fired
    assert torch.get_rng_state().equal(random)
    assert x.equal(x_before)
    assert x.grad is None
    for module, state in zip((loss, miner, loss.distance), before, strict=True):
        assert vars(module).keys() == state.keys()
        assert str({k: v for k, v in vars(module).items() if "hook" not in k}) == str(
            {k: v for k, v in state.items() if "hook" not in k}
        )
    assert type(loss.distance) is distances.LpDistance


def test_regularizers_do_not_count(sixteen):
    plain, regular = (
        losses.ContrastiveLoss(embedding_regularizer=r)
        for r in (None, regularizers.LpRegularizer())
    )
    close(pair_weights(regular, *sixteen).gradient, pair_weights(plain, *sixteen).gradient)


def test_a_reducer_must_give_a_number(sixteen):
    loss = losses.ContrastiveLoss(reducer=reducers.DoNothingReducer())
    with pytest.raises(ValueError, match="reducer that gives one number"):
        pair_weights(loss, *sixteen)


def test_weighting_of_ones_own_reducer_counts(sixteen):
    total = pair_weights(MSWeightedLoss(reducer=reducers.SumReducer()), *sixteen)
    mean = pair_weights(MSWeightedLoss(), *sixteen)
    close(total.weights, 16 * mean.weights)
    weighting = MultiSimilarity()
    x = torch.nn.functional.normalize(sixteen[0])
    closed = weighting.weights(x @ x.T, total.positives, total.negatives)
    close(total.weights, closed.pos + closed.neg)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    "loss", [losses.ContrastiveLoss(), losses.NTXentLoss(), MSWeightedLoss()], ids=name
)
def test_where_gradients_are_off(loss, context, sixteen):
    expected = pair_weights(loss, *sixteen)
    with context():
        x = sixteen[0] + 0
        close(pair_weights(loss, x, sixteen[1]).weights, expected.weights)
        mined = pair_weights(loss, x, sixteen[1], MSMiner(0.5))
    close(mined.weights, pair_weights(loss, *sixteen, MSMiner(0.5)).weights)


def test_duplicates_have_no_weight_through_the_euclidean_distance(sixteen):
    x, labels = sixteen[0].float(), sixteen[1]
    x[1] = x[0]
    loss = losses.ContrastiveLoss()
    table = pair_weights(loss, x, labels)
    close(table.loss, float(loss(x, labels)))
    assert table.weights[0, 1] == table.weights[1, 0] == 0
    exact = pair_weights(loss, x.double(), labels)
    close(table.weights, exact.weights, 1e-5)


def test_places_of_copies_are_for_losses_of_this_package(batch):
    with pytest.raises(ValueError, match="self_index must be None for a loss of another package"):
        pair_weights(losses.ContrastiveLoss(), *batch, self_index=torch.arange(12))


def test_losses_that_hold_state_of_a_step(batch):
    """Its graph is left out of the copy, and its values are kept."""
    loss = losses.DynamicSoftMarginLoss()
    loss(batch[0].clone().requires_grad_(), batch[1]).backward()
    state = loss.hist_.detach().clone()
    table = pair_weights(loss, *batch)
    assert loss.hist_.equal(state)
    assert table.loss == pytest.approx(float(loss(*batch).detach()), rel=1e-6)
    assert table.weights.sum() > 0
