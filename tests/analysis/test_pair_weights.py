"""Pair weights of PML's losses and ours: by hand, by the chain rule, and nothing is disturbed."""

import copy

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.analysis import pair_weights
from pml_gpw.losses import CrossBatchMemory, PairSimilarityLoss
from pml_gpw.pml import DistanceSimilarity
from pml_gpw.weightings import BinomialDeviance, LiftedStructure, MultiSimilarity

from ..cases import CASES
from ..host.pml_losses import EVERY
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

# Losses of PML that act through pairs; with them the gradient of the embeddings follows by the
# chain rule from that of the similarities.
THROUGH_PAIRS = [
    losses.CircleLoss(),
    losses.ContrastiveLoss(),
    losses.ContrastiveLoss(1, 0, **COSINE),
    losses.DynamicSoftMarginLoss(),
    losses.FastAPLoss(),
    losses.GeneralizedLiftedStructureLoss(),
    losses.HistogramLoss(),
    losses.InstanceLoss(),
    losses.IntraPairVarianceLoss(),
    losses.LiftedStructureLoss(),
    losses.MarginLoss(),
    losses.MultiSimilarityLoss(),
    losses.NCALoss(),
    losses.NPairsLoss(),
    losses.NPairsLoss(**COSINE),
    losses.NTXentLoss(),
    losses.PNPLoss(),
    losses.RankedListLoss(0.4, 10.0),
    losses.SmoothAPLoss(),
    losses.SupConLoss(),
    losses.ThresholdConsistentMarginLoss(),
    losses.TripletMarginLoss(),
    losses.TripletMarginLoss(swap=True, smooth_loss=True),
    losses.TripletMarginLoss(distance=distances.LpDistance(power=2)),
    losses.TupletMarginLoss(),
    PairSimilarityLoss(),
    MSLoss(),
    *(GPWLoss(case.weighting) for case in CASES),
]
NOT_THROUGH_PAIRS = [
    losses.AngularLoss(),
    losses.ArcFaceLoss(4, 6),
    losses.CosFaceLoss(4, 6),
    losses.LargeMarginSoftmaxLoss(4, 6),
    losses.NormalizedSoftmaxLoss(4, 6),
    losses.P2SGradLoss(6, 4),
    losses.ProxyAnchorLoss(4, 6),
    losses.ProxyNCALoss(4, 6),
    losses.SoftTripleLoss(4, 6),
    losses.SphereFaceLoss(4, 6),
    losses.SubCenterArcFaceLoss(num_classes=4, embedding_size=6),
]


def name(value):
    return type(value).__name__


@pytest.fixture
def sixteen():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(16, 6, generator=generator, dtype=torch.float64)
    return x, torch.arange(16) // 4


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


@pytest.mark.parametrize("loss", THROUGH_PAIRS, ids=name)
def test_the_chain_rule_leads_to_the_gradient_of_the_embeddings(loss, sixteen):
    x, labels = sixteen
    x = x.requires_grad_()
    table = pair_weights(loss, x, labels)
    wanted = torch.autograd.grad(copy.deepcopy(loss)(x, labels), x)[0]
    sim = DistanceSimilarity(loss.distance).matrix(x, x)
    through = torch.autograd.grad(sim, x, table.gradient)[0]
    assert wanted.abs().sum() > 0
    close(through, wanted, 1e-8)
    close(table.loss, float(copy.deepcopy(loss)(x, labels).detach()), 1e-8)


@pytest.mark.parametrize("loss", NOT_THROUGH_PAIRS, ids=name)
def test_other_losses_are_refused(loss, sixteen):
    with pytest.raises(ValueError, match=f"similarities of pairs alone, got {name(loss)}"):
        pair_weights(loss, *(t.float() if t.is_floating_point() else t for t in sixteen))


def test_every_loss_of_pml_is_one_or_the_other():
    other = {"SignalToNoiseRatioContrastiveLoss", "ManifoldLoss", "VICRegLoss"}  # tested below
    seen = {name(loss) for loss in THROUGH_PAIRS + NOT_THROUGH_PAIRS}
    assert seen | other >= EVERY


def test_losses_without_labels_say_so_themselves(sixteen):
    for loss in (losses.ManifoldLoss(6), losses.VICRegLoss()):
        with pytest.raises(ValueError, match="not supported for this loss function"):
            pair_weights(loss, *sixteen)


def test_a_distance_that_is_no_function_of_the_similarity_is_negated(sixteen):
    loss = losses.SignalToNoiseRatioContrastiveLoss()
    table = pair_weights(loss, *sixteen)
    close(table.similarity, -loss.distance(sixteen[0]))
    assert table.weights.sum() > 0


def test_wrappers_are_refused(sixteen):
    for wrapper in (
        losses.SelfSupervisedLoss(losses.NTXentLoss()),
        CrossBatchMemory(MSLoss(), 6),
        torch.nn.Linear(2, 2),
    ):
        with pytest.raises(ValueError, match=f"the loss inside it\\), got {name(wrapper)}"):
            pair_weights(wrapper, *sixteen)


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


def test_frame(sixteen):
    x, labels = sixteen
    table = pair_weights(losses.ContrastiveLoss(), x, labels, MSMiner())
    frame = table.to_frame()
    assert list(frame) == ["anchor", "other", "relation", "similarity", "weight", "mined"]
    assert len(frame) == 16 * 15
    assert (frame["anchor"] != frame["other"]).all()
    row = frame.iloc[37]
    i, j = row["anchor"], row["other"]
    assert row["relation"] == ("positive" if labels[i] == labels[j] else "negative")
    assert row["weight"] == table.weights[i, j]
    assert row["similarity"] == table.similarity[i, j]
    assert row["mined"] == table.mined[i, j]
    assert frame["weight"].sum() == pytest.approx(table.summary()["total"])


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


class Gaussian(distances.BaseDistance):
    def __init__(self):
        super().__init__(is_inverted=True)

    def compute_mat(self, query, reference):
        return torch.exp(-(torch.cdist(query, reference) ** 2))


class Sharp(distances.CosineSimilarity):
    def compute_mat(self, query, reference):
        return 3 * super().compute_mat(query, reference)


@pytest.mark.parametrize("distance", [Gaussian(), Sharp()], ids=name)
@pytest.mark.parametrize("loss", [losses.MultiSimilarityLoss, MSWeightedLoss])
def test_similarities_of_ones_own(loss, distance, sixteen):
    table = pair_weights(loss(distance=distance), *sixteen)
    close(table.similarity, distance(sixteen[0]))
    close(table.loss, float(loss(distance=distance)(*sixteen)))


class Preparing(losses.MultiSimilarityLoss):
    """Changes the embeddings before it compares them."""

    def __init__(self, prepare):
        super().__init__()
        self.prepare = prepare

    def compute_loss(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
        embeddings = self.prepare(embeddings)
        return super().compute_loss(embeddings, labels, indices_tuple, embeddings, labels)


@pytest.mark.parametrize(
    "prepare",
    [
        torch.nn.functional.normalize,
        lambda e: e + 0.01,
        lambda e: 2 * e,
        lambda e: e[:, :4],
        lambda e: e.roll(1, 0) + e,
    ],
)
def test_losses_that_change_embeddings_first_are_refused(prepare, sixteen):
    with pytest.raises(ValueError, match="similarities of pairs alone, got Preparing"):
        pair_weights(Preparing(prepare), *sixteen)


def test_losses_that_pick_embeddings_are_not(sixteen):
    x, labels = sixteen
    loss = Preparing(lambda e: e[torch.arange(16)])
    close(pair_weights(loss, x, labels).loss, float(losses.MultiSimilarityLoss()(x, labels)))
