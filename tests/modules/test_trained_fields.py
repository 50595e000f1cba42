"""Fields that are trained: gradients are those of the dense formula, everywhere."""

import copy
import itertools
import math
from dataclasses import dataclass, fields, replace

import pytest
import torch
from pytorch_metric_learning import distances, reducers

from pml_gpw import GPWLoss, MSLoss, weightings
from pml_gpw.engine import InnerProduct, LabelPairs
from pml_gpw.engine.plan import LAYOUTS
from pml_gpw.functional import gpw_loss
from pml_gpw.gradient_caching import GradientCache
from pml_gpw.mining import MSMining
from pml_gpw.reducers import AnchorReducer
from pml_gpw.weightings import MultiSimilarity, PairWeighting, PairWeights, RowLoss
from pml_gpw.weightings.check import check_trained
from pml_gpw.weightings.rules import twin_of

from ..cases import CASES
from ..covering import covering, named
from ..row_losses import Margin, NTXent, Sigmoid, SupCon
from ..runs import close_runs
from ..tolerances import close

TRAINED = {
    "ms": (MultiSimilarity(), ("alpha", "beta", "base")),
    "supcon": (SupCon(), ("temperature",)),
    "nt-xent": (NTXent(), ("temperature",)),
    "sigmoid": (Sigmoid(), ("t", "b")),
    "margin": (Margin(), ("beta",)),
    "margin by class": (Margin(), {"beta": 8}),
    "ms by class": (MultiSimilarity(), {"alpha": 8, "beta": 8, "base": None}),
    "deviance by class": (weightings.BinomialDeviance(), {"alpha": 8, "base": 8}),
    "lifted": (weightings.LiftedStructure(), ("alpha", "margin")),
    "deviance": (weightings.BinomialDeviance(), ("alpha", "beta", "base")),
}


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
    values = loss.values_of(labels, x.dtype)
    if sign == -1:
        weighting = weighting.for_negated_distances()
        values = {k: -v if k in weighting.levels else v for k, v in values.items()}
        mining = None if mining is None else mining.for_negated_distances()
    if mining is not None:
        pos, neg = mining(sim.detach(), pos, neg)
    return twin_of(weighting, values).losses(sim, pos, neg)


def gradients(value, loss, *leaves):
    return value.detach(), *torch.autograd.grad(value, [*leaves, *loss.parameters()])


DISTANCES = {"cosine": distances.CosineSimilarity(), "lp": distances.LpDistance()}


@pytest.mark.parametrize(
    ("name", "mining", "distance"),
    covering(TRAINED, (None, MSMining(0.3)), DISTANCES, one_in=1, quick=5),
    ids=named,
)
def test_gradients_in_every_layout(name, mining, distance):
    x, labels = batch()
    loss = made(name, mining, distance=DISTANCES[distance])
    leaf = x.clone().requires_grad_()
    expected = gradients(oracle(loss, leaf, labels).mean(), loss, leaf)
    for layout, chunk_size in itertools.product(LAYOUTS, (None, 16)):
        loss.layout, loss.chunk_size = layout, chunk_size
        close_runs(gradients(loss(leaf, labels), loss, leaf), expected)


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
        close_runs(found, expected)


@pytest.mark.parametrize(
    "name", ["ms", "margin by class", pytest.param("nt-xent", marks=pytest.mark.exhaustive)]
)
def test_fused(name, eager_backend):
    x, labels = batch()
    loss, leaf = made(name, fused=True), x.requires_grad_()
    expected = gradients(oracle(loss, leaf, labels).mean(), loss, leaf)
    for chunk_size in (None, 16):
        loss.chunk_size = chunk_size
        close_runs(gradients(loss(leaf, labels), loss, leaf), expected)


def test_gradient_caching():
    x, labels = batch()
    loss, model = made("ms", MSMining(0.1)), torch.nn.Linear(6, 4).double()
    GradientCache(model, loss, chunk_size=7)(x, labels)
    plain = torch.autograd.grad(loss(model(x), labels), list(loss.parameters()))
    close_runs([parameter.grad for parameter in loss.parameters()], plain)


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


def test_values_by_class_need_labels_of_those_classes():
    x, labels = batch()
    loss = GPWLoss(Margin(), trainable={"beta": 5})
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 5\), got 0 to 7"):
        loss(x, labels)
    with pytest.raises(ValueError, match="labels must be given"):
        loss(x, None, LabelPairs(labels, labels, torch.arange(40)).index_tuple())


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.weighting))
def test_every_number_of_every_weighting_can_be_trained(case):
    for field in fields(case.weighting):
        if case.weighting.has_loss and isinstance(getattr(case.weighting, field.name), float):
            check_trained(case.weighting, field.name)


LOST = {  # formulas whose gradient of the field would be lost
    "float": lambda t, sim: sim * float(t),
    "math": lambda t, sim: sim * math.log(t),
    "new_tensor": lambda t, sim: sim * sim.new_tensor(t),
}
FORMULAS = LOST | {"unexpanded": lambda t, sim: torch.relu(sim - t)}  # wrong where N is M


@dataclass(frozen=True)
class Formula(RowLoss):
    how: str
    t: float = 0.3

    def loss(self, pos, neg):
        return neg.sum(FORMULAS[self.how](self.t, neg.sim))


@dataclass(frozen=True)
class WeighsAlone(PairWeighting):
    t: float = 0.3

    def weigh(self, pos, neg):
        return PairWeights(self.t * torch.ones_like(pos.sim), torch.ones_like(neg.sim))


@dataclass(frozen=True)
class NegatesItself(Margin):
    def for_negated_distances(self):
        return replace(self, beta=-self.beta)


@dataclass(frozen=True)
class Clash(RowLoss):
    layout: float = 0.3

    def loss(self, pos, neg):
        return neg.sum(neg.sim * self.layout)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("weighting", "trainable", "message"),
    [
        (Margin(), "beta", r"trainable must be names in a tuple, got the string 'beta'"),
        (Margin(), ("gamma",), r"trainable must be one of margin, beta, got 'gamma'"),
        (Margin(), {"beta": 0}, r"trainable\['beta'\] must be an integer > 0, got 0"),
        (weightings.Constant(), ("x",), "trainable must be one of"),
        (Formula("unexpanded"), {"t": 8}, r"Formula with a tensor as t .*expand"),
        (NegatesItself(), ("beta",), "NegatesItself, whose own for_negated_distances"),
        (Clash(), ("layout",), "GPWLoss has an attribute layout of its own"),
        (WeighsAlone(), ("t",), "WeighsAlone, which overrides weigh alone"),
        (SupCon(torch.nn.Parameter(torch.tensor(0.1))), (), "trainable"),
        *((Formula(how), ("t",), "'t' of Formula, whose gradient is 0 where") for how in LOST),
    ],
    ids=repr,
)
def test_what_cannot_be_trained(weighting, trainable, message):
    with pytest.raises(ValueError, match=message):
        GPWLoss(weighting, trainable=trainable)


def test_a_formula_without_expand_can_have_one_value_for_all():
    GPWLoss(Formula("unexpanded"), trainable=("t",))
    given = {"t": torch.full((40,), 0.3, dtype=torch.float64)}
    with pytest.raises(ValueError, match="expand"):
        gpw_loss(*batch(), Formula("unexpanded"), parameters=given)


def test_parameters_of_the_function():
    x, labels = batch()
    beta = torch.linspace(0.2, 0.6, 40, dtype=torch.float64, requires_grad=True)
    value = gpw_loss(x, labels, Margin(), parameters={"beta": beta})
    (found,) = torch.autograd.grad(value, beta)
    sim = InnerProduct().matrix(x, x)
    masks = LabelPairs(labels, labels, torch.arange(40)).masks(slice(0, 40))
    expected = twin_of(Margin(), {"beta": beta}).losses(sim, *masks).mean()
    close(value, expected)
    close(found, torch.autograd.grad(expected, beta)[0])
    for bad, message in (
        ({"gamma": beta}, "parameters must be one of margin, beta, got 'gamma'"),
        ({"beta": 0.3}, r"parameters\['beta'\] must be a floating-point tensor, got float"),
        ({"beta": beta[:5]}, r"must be of shape \(\) or \(40,\), got \(5,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            gpw_loss(x, labels, Margin(), parameters=bad)


def test_no_gradient_is_asked_for_under_no_grad():
    x, labels = batch()
    loss = made("supcon")
    with torch.no_grad():
        assert not loss(x, labels).requires_grad
    close(loss(x, labels), GPWLoss(SupCon())(x, labels), 1e-6)


@pytest.mark.parametrize(
    ("weighting", "trainable", "reducer"),
    [
        (MultiSimilarity(), {"base": 6}, None),
        (SupCon(), ("temperature",), AnchorReducer("mean_of_nonzero")),
        pytest.param(NTXent(), ("temperature",), None, marks=pytest.mark.exhaustive),
    ],
    ids=repr,
)
def test_inside_a_users_graph(weighting, trainable, reducer):
    """Formulas, trained fields and their gradients in one graph of ``torch.compile``."""
    x, labels = batch(24)
    leaf = x.float().requires_grad_()
    loss = GPWLoss(weighting, trainable=trainable, reducer=reducer)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    close_runs(*(gradients(function(leaf, labels), loss, leaf) for function in (compiled, loss)))


def test_a_value_that_is_kept_in_one_dimension_as_pml_does_is_loaded():
    loss = GPWLoss(NTXent(), trainable=("temperature",))
    loss.load_state_dict({"log_temperature": torch.tensor([0.5])})
    assert loss.log_temperature.item() == 0.5
