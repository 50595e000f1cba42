"""Fields that are trained: gradients are those of the dense formula, everywhere."""

import copy
import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from pytorch_metric_learning import distances, losses, reducers

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.engine import InnerProduct, LabelPairs, PairBatch
from pml_gpw.gradient_caching import GradientCache
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import MSMining
from pml_gpw.weightings import (
    BinomialDeviance,
    Constant,
    LiftedStructure,
    MultiSimilarity,
    PairWeighting,
    PairWeights,
    RowLoss,
)
from pml_gpw.weightings.check import check_trained
from pml_gpw.weightings.rules import twin_of

from ..cases import CASES
from ..row_losses import Margin, NTXent, Sigmoid, SupCon
from ..tolerances import close

TRAINED = {
    "ms": (MultiSimilarity(), ("alpha", "beta", "base")),
    "ms of one": (MultiSimilarity(), ("beta",)),
    "supcon": (SupCon(), ("temperature",)),
    "nt-xent": (NTXent(), ("temperature",)),
    "sigmoid": (Sigmoid(), ("t", "b")),
    "margin": (Margin(), ("beta",)),
    "margin by class": (Margin(), {"beta": 8}),
    "lifted": (LiftedStructure(), ("alpha", "margin")),
    "deviance": (BinomialDeviance(), ("alpha", "beta", "base")),
}
LAYOUTS = ("auto", "dense", "sparse rows", "sparse batch")


def batch(n=40, dims=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dims, generator=generator, dtype=torch.float64)
    return x, torch.arange(n) // 5


def made(name, mining=None, **options):
    weighting, trainable = TRAINED[name]
    return GPWLoss(weighting, mining, trainable=trainable, **options).double()


def oracle(loss, x, labels, references=None, reference_labels=None):
    """The anchors' losses of the dense formula, all of it left to autograd."""
    sign = -1 if loss.distance.is_inverted is False else 1
    y = x if references is None else references
    own = torch.arange(len(x)) if references is None else None
    sim = sign * loss.distance(x, y)
    pairs = LabelPairs(labels, labels if references is None else reference_labels, own)
    pos, neg = pairs.masks(slice(0, len(x)))
    weighting, mining = loss.weighting, loss.mining
    values = loss.trained_values(PairBatch(x, y, pairs, labels))
    if sign == -1:
        weighting = weighting.for_negated_distances()
        values = {k: -v if k in weighting.levels else v for k, v in values.items()}
        mining = None if mining is None else mining.for_negated_distances()
    if mining is not None:
        pos, neg = mining(sim.detach(), pos, neg)
    return twin_of(weighting, values).losses(sim, pos, neg)


def gradients(value, loss, *leaves):
    return value.detach(), *torch.autograd.grad(value, [*leaves, *loss.parameters()])


@pytest.mark.parametrize("mining", [None, MSMining(0.3)], ids=repr)
@pytest.mark.parametrize("name", TRAINED)
def test_gradients_in_every_layout(name, mining):
    x, labels = batch()
    for distance in (distances.CosineSimilarity(), distances.LpDistance()):
        loss = made(name, mining, distance=distance)
        leaf = x.clone().requires_grad_()
        expected = gradients(oracle(loss, leaf, labels).mean(), loss, leaf)
        for layout, chunk_size in itertools.product(LAYOUTS, (None, 16)):
            loss.layout, loss.chunk_size = layout, chunk_size
            for ours, other in zip(
                gradients(loss(leaf, labels), loss, leaf), expected, strict=True
            ):
                close(ours, other)


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_against_references_and_below_other_reducers(name):
    (x, labels), (y, others) = batch(), batch(30, seed=1)
    loss = made(name, reducer=reducers.ThresholdReducer(low=0.01))
    leaf, other = x.clone().requires_grad_(), y.clone().requires_grad_()
    each = oracle(loss, leaf, labels, other, others)
    expected = gradients(each[each > 0.01].mean(), loss, leaf, other)
    for chunk_size in (None, 16):
        loss.chunk_size = chunk_size
        found = gradients(loss(leaf, labels, None, other, others), loss, leaf, other)
        for ours, theirs in zip(found, expected, strict=True):
            close(ours, theirs)


@pytest.mark.parametrize("name", ["ms", "margin by class", "nt-xent"])
def test_fused(name):
    x, labels = batch()
    loss, leaf = made(name, fused=True), x.requires_grad_()
    expected = gradients(oracle(loss, leaf, labels).mean(), loss, leaf)
    for chunk_size in (None, 16):
        loss.chunk_size = chunk_size
        for ours, other in zip(gradients(loss(leaf, labels), loss, leaf), expected, strict=True):
            close(ours, other)


def test_a_memory_and_gradient_caching():
    x, labels = batch()
    loss = made("ms", MSMining(0.1))
    memory = CrossBatchMemory(loss, 6, 40).double()
    leaf = x.requires_grad_()
    memory(leaf, labels)
    value = memory(leaf, labels)
    expected = gradients(
        oracle(loss, leaf, labels, memory.embedding_memory, memory.label_memory).mean(), loss
    )
    # its own copies are left out, in the first half of the oracle's pairs as self pairs
    assert all(g is not None for g in torch.autograd.grad(value, list(loss.parameters())))
    assert len(expected) == 4
    model = torch.nn.Linear(6, 4).double()
    for parameter in loss.parameters():
        parameter.grad = None
    GradientCache(model, loss, chunk_size=7)(x.detach(), labels)
    cached = [parameter.grad.clone() for parameter in loss.parameters()]
    plain = torch.autograd.grad(loss(model(x.detach()), labels), list(loss.parameters()))
    for ours, other in zip(cached, plain, strict=True):
        close(ours, other)


def test_five_steps_are_those_of_the_dense_formula():
    x, labels = batch()
    start = made("ms", MSMining(0.2))
    results = []
    for dense in (False, True):
        loss, leaf = copy.deepcopy(start), x.clone().requires_grad_()
        optimizer = torch.optim.Adam([leaf, *loss.parameters()], lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            (oracle(loss, leaf, labels).mean() if dense else loss(leaf, labels)).backward()
            optimizer.step()
        results.append((leaf.detach(), *(p.detach() for p in loss.parameters())))
    for ours, expected in zip(*results, strict=True):
        close(ours, expected)
    assert (results[0][1] - next(start.parameters())).abs() > 0.1


def test_autocast_half_precision_and_frozen_embeddings():
    x, labels = batch()
    loss = GPWLoss(NTXent(), trainable=("temperature",))
    (exact,) = torch.autograd.grad(loss(x, labels), loss.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(x.bfloat16(), labels)
    (found,) = torch.autograd.grad(value, loss.parameters())
    close(found, exact, 0.1)
    assert found.dtype == torch.float32


def test_without_pairs_the_gradient_is_zero():
    loss = made("supcon")
    for x, labels in ((batch()[0], torch.arange(40)), (torch.zeros(0, 6), torch.zeros(0).long())):
        leaf = x.double().requires_grad_()
        value = GPWLoss.forward(loss, leaf, labels)
        value.backward()
        (parameter,) = loss.parameters()
        assert parameter.grad is not None or len(x) == 0
    value = loss(*batch())
    (first,) = torch.autograd.grad(value, list(loss.parameters()), create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        first.backward()


def test_names_values_and_setting():
    loss = MSLoss(trainable=("alpha", "base"))
    assert {name for name, _ in loss.named_parameters()} == {"log_alpha", "base"}
    assert (loss.alpha, loss.base, loss.beta) == (2.0, 0.5, 50.0)
    loss.alpha, loss.base, loss.beta = 3.0, 0.25, 40.0
    assert loss.log_alpha.item() == pytest.approx(math.log(3.0))
    assert loss.weighting == MultiSimilarity(2.0, 40.0, 0.5)
    today = loss.current_weighting()
    assert (today.alpha, today.base, today.beta) == (pytest.approx(3.0), 0.25, 40.0)
    with pytest.raises(ValueError, match="alpha must be"):
        loss.alpha = -1.0
    other = MSLoss(trainable=("alpha", "base"))
    other.beta = 40.0
    other.load_state_dict(loss.state_dict())
    assert other.alpha == loss.alpha
    assert copy.deepcopy(loss).alpha == loss.alpha
    by_class = GPWLoss(Margin(), trainable={"beta": 8})
    by_class.beta = torch.linspace(0, 1, 8)
    assert by_class.beta.tolist() == torch.linspace(0, 1, 8).tolist()
    assert by_class.current_weighting().beta == pytest.approx(0.5)


def test_the_state_of_pmls_margin_loss_loads():
    for num_classes in (None, 8):
        theirs = losses.MarginLoss(learn_beta=True, num_classes=num_classes, beta=1.1)
        trainable = ("beta",) if num_classes is None else {"beta": num_classes}
        ours = GPWLoss(Margin(), trainable=trainable)
        state = {**ours.state_dict(), **theirs.state_dict()}
        ours.load_state_dict(state)
        close(torch.as_tensor(ours.beta), torch.full((num_classes or 1,), 1.1).squeeze())


@pytest.mark.parametrize(
    ("weighting", "trainable", "message"),
    [
        (Margin(), "beta", r"trainable must be names in a tuple, got the string 'beta'"),
        (Margin(), ("gamma",), r"trainable must be one of margin, beta, got 'gamma'"),
        (Margin(), {"beta": 0}, r"trainable\['beta'\] must be an integer > 0, got 0"),
        (Constant(), ("x",), "trainable must be one of"),
    ],
)
def test_bad_names(weighting, trainable, message):
    with pytest.raises(ValueError, match=message):
        GPWLoss(weighting, trainable=trainable)


def test_values_by_class_need_labels_of_those_classes():
    x, labels = batch()
    loss = GPWLoss(Margin(), trainable={"beta": 5})
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 5\), got 0 to 7"):
        loss(x, labels)
    with pytest.raises(ValueError, match="labels must be given"):
        loss(x, None, LabelPairs(labels, labels, torch.arange(40)).index_tuple())


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.weighting))
def test_every_number_of_every_weighting_can_be_trained(case):
    from dataclasses import fields

    for field in fields(case.weighting):
        if case.weighting.has_loss and isinstance(getattr(case.weighting, field.name), float):
            check_trained(case.weighting, field.name)


@dataclass(frozen=True)
class ByFloat(RowLoss):
    t: float = 0.3

    def loss(self, pos, neg):
        return neg.sum(neg.sim * float(self.t))


@dataclass(frozen=True)
class ByMath(RowLoss):
    t: float = 0.3

    def loss(self, pos, neg):
        return neg.sum(neg.sim * math.log(self.t))


@dataclass(frozen=True)
class ByNewTensor(RowLoss):
    t: float = 0.3

    def loss(self, pos, neg):
        return neg.sum(neg.sim * neg.sim.new_tensor(self.t))


@dataclass(frozen=True)
class Derived(RowLoss):
    t: float = 0.3

    def __post_init__(self):
        object.__setattr__(self, "twice", 2 * self.t)

    def loss(self, pos, neg):
        return neg.sum(neg.sim * self.twice)


@dataclass(frozen=True)
class WeighsAlone(PairWeighting):
    t: float = 0.3

    def weigh(self, pos, neg):
        return PairWeights(self.t * torch.ones_like(pos.sim), torch.ones_like(neg.sim))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("weighting", [ByFloat(), ByMath(), ByNewTensor(), Derived()], ids=repr)
def test_a_gradient_that_would_be_lost_is_refused(weighting):
    with pytest.raises(ValueError, match=r"'t' of \w+, whose gradient is 0 where the losses"):
        GPWLoss(weighting, trainable=("t",))


def test_weights_without_a_loss_are_refused():
    with pytest.raises(ValueError, match="WeighsAlone, which overrides weigh alone"):
        GPWLoss(WeighsAlone(), trainable=("t",))


def test_a_tensor_as_a_field_is_still_refused():
    with pytest.raises(ValueError, match="trainable"):
        GPWLoss(SupCon(torch.nn.Parameter(torch.tensor(0.1))))


def test_no_gradient_is_asked_for_under_no_grad():
    x, labels = batch()
    loss = made("supcon")
    with torch.no_grad():
        assert not loss(x, labels).requires_grad
    close(loss(x, labels), GPWLoss(SupCon())(x, labels), 1e-6)
    assert InnerProduct().normalized
