"""The gradient of the similarities: of which losses it exists, and what it depends on."""

import copy

import pytest
import torch
from pytorch_metric_learning import distances, losses
from pytorch_metric_learning.reducers import SumReducer

from pml_gpw import GPWLoss, MSLoss, MSWeightedLoss
from pml_gpw.analysis import pair_weights
from pml_gpw.arguments import pair_batch
from pml_gpw.hosts.pml2.loss_reader import similarity_gradient
from pml_gpw.hosts.pml2.similarity import DistanceSimilarity
from pml_gpw.losses import CrossBatchMemory, PairSimilarityLoss
from pml_gpw.weightings import BinomialDeviance, LiftedStructure, Triplet

from ...cases import CASES
from ...tolerances import close
from .pml_losses import EVERY

COSINE = {"distance": distances.CosineSimilarity()}
BY_DEFAULT = """Circle Contrastive DynamicSoftMargin FastAP GeneralizedLiftedStructure Histogram
Instance IntraPairVariance LiftedStructure Margin MultiSimilarity NCA NPairs NTXent PNP SmoothAP
SupCon ThresholdConsistentMargin TripletMargin TupletMargin"""
THROUGH_PAIRS = [  # of these the gradient of the embeddings follows by the chain rule
    *(getattr(losses, f"{name}Loss")() for name in BY_DEFAULT.split()),
    losses.ContrastiveLoss(1, 0, **COSINE),
    losses.NPairsLoss(**COSINE),
    losses.RankedListLoss(0.4, 10.0),
    losses.TripletMarginLoss(swap=True, smooth_loss=True),
    losses.TripletMarginLoss(distance=distances.LpDistance(power=2)),
    PairSimilarityLoss(),
    MSLoss(),
    *(GPWLoss(case.weighting) for case in CASES),
]
OF_CLASSES = """ArcFace CosFace LargeMarginSoftmax NormalizedSoftmax ProxyAnchor ProxyNCA SoftTriple
SphereFace"""
NOT_THROUGH_PAIRS = [
    losses.AngularLoss(),
    *(getattr(losses, f"{name}Loss")(4, 6) for name in OF_CLASSES.split()),
    losses.P2SGradLoss(6, 4),
    losses.SubCenterArcFaceLoss(num_classes=4, embedding_size=6),
]


@pytest.fixture
def sixteen():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 6, generator=generator, dtype=torch.float64), torch.arange(16) // 4


def name(value):
    return type(value).__name__


@pytest.mark.parametrize("loss", THROUGH_PAIRS, ids=name)
def test_the_chain_rule_leads_to_the_gradient_of_the_embeddings(loss, sixteen):
    x, labels = sixteen
    x = x.requires_grad_()
    table = pair_weights(loss, x, labels)
    value = copy.deepcopy(loss)(x, labels)
    wanted = torch.autograd.grad(value, x)[0]
    sim = DistanceSimilarity(loss.distance).matrix(x, x)
    through = torch.autograd.grad(sim, x, table.gradient)[0]
    assert wanted.abs().sum() > 0
    close(through, wanted, 1e-8)
    close(table.loss, float(value.detach()), 1e-8)


def test_every_loss_of_pml_is_one_or_the_other():
    other = {"SignalToNoiseRatioContrastiveLoss", "ManifoldLoss", "VICRegLoss"}  # tested below
    seen = {name(loss) for loss in THROUGH_PAIRS + NOT_THROUGH_PAIRS}
    assert seen | other >= EVERY


class Preparing(losses.MultiSimilarityLoss):
    """Changes the embeddings before it compares them."""

    def __init__(self, prepare):
        super().__init__()
        self.prepare = prepare

    def compute_loss(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
        embeddings = self.prepare(embeddings)
        return super().compute_loss(embeddings, labels, indices_tuple, embeddings, labels)


CHANGES = [
    torch.nn.functional.normalize,
    lambda e: 2 * e,
    lambda e: e[:, :4],
    lambda e: e.roll(1, 0) + e,
]
WRAPPERS = [
    losses.SelfSupervisedLoss(losses.NTXentLoss()),
    CrossBatchMemory(MSLoss(), 6),
    torch.nn.Linear(2, 2),
]
NO_LABELS = [losses.ManifoldLoss(6), losses.VICRegLoss()]
REFUSED = [
    *((loss, f"similarities of pairs alone, got {name(loss)}") for loss in NOT_THROUGH_PAIRS),
    *((Preparing(c), "similarities of pairs alone, got Preparing") for c in CHANGES),
    *((loss, "not supported for this loss function") for loss in NO_LABELS),
    *((loss, f"the loss inside it\\), got {name(loss)}") for loss in WRAPPERS),
]


@pytest.mark.parametrize(("loss", "message"), REFUSED, ids=name)
def test_other_losses_are_refused(loss, message, sixteen):
    with pytest.raises(ValueError, match=message):
        pair_weights(loss, sixteen[0].float(), sixteen[1])


def test_losses_that_pick_embeddings_are_not(sixteen):
    loss = Preparing(lambda e: e[torch.arange(16)])
    close(pair_weights(loss, *sixteen).loss, float(losses.MultiSimilarityLoss()(*sixteen)))


class Gaussian(distances.BaseDistance):
    def __init__(self):
        super().__init__(is_inverted=True)

    def compute_mat(self, query, reference):
        return torch.exp(-(torch.cdist(query, reference) ** 2))


@pytest.mark.parametrize("loss", [losses.MultiSimilarityLoss, MSWeightedLoss])
def test_similarities_of_ones_own(loss, sixteen):
    distance = Gaussian()
    table = pair_weights(loss(distance=distance), *sixteen)
    close(table.similarity, distance(sixteen[0]))
    close(table.loss, float(loss(distance=distance)(*sixteen)))


@pytest.mark.parametrize(
    ("loss", "moves"),
    [
        (GPWLoss(LiftedStructure(2, 50, margin=None)), False),
        (GPWLoss(Triplet()), False),
        (losses.NCALoss(), False),
        (GPWLoss(BinomialDeviance()), True),
        (losses.CircleLoss(), True),
    ],
)
def test_shifting_a_whole_row(loss, moves):
    loss.reducer = SumReducer()
    generator = torch.Generator().manual_seed(0)
    sim = torch.rand(12, 12, generator=generator, dtype=torch.float64) - 0.5
    batch = pair_batch(torch.rand(12, 3, dtype=torch.float64), torch.arange(12) // 3)
    shifted = sim.clone()
    shifted[4] += 0.2
    before, after = (similarity_gradient(loss, s, batch)[1][4] for s in (sim, shifted))
    assert before.abs().sum() > 0
    change = (after - before).abs().max()
    assert change > 1e-3 if moves else change < 1e-10
