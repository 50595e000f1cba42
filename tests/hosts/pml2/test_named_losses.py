"""Losses by the names of the field: the same values and gradients as PML's classes."""

import pytest
import torch
from pytorch_metric_learning import distances, losses, reducers
from torch.nn.functional import normalize

from pml_gpw.analysis import pair_weights, similarity_usage
from pml_gpw.hosts import pml2
from pml_gpw.hosts.pml2 import named_losses

from ...tolerances import close

TWINS = {
    "NTXentLoss": ({}, {"temperature": 0.5}),
    "SupConLoss": ({}, {"temperature": 0.5}),
    "CircleLoss": ({}, {"m": 0.25, "gamma": 128}),
    "TupletMarginLoss": ({}, {"margin": 10.0, "scale": 16}),
    "MarginLoss": ({}, {"margin": 0.4, "beta": 1.0}),
    "RankedListLoss": (
        {"margin": 0.4, "Tn": 10.0},
        {"margin": 0.3, "Tn": 2.0, "imbalance": 0.3, "alpha": 1.3, "Tp": 1.5},
    ),
    "FastAPLoss": ({}, {"num_bins": 4}),
}
ARGUMENTS = [(name, kwargs) for name, sets in TWINS.items() for kwargs in sets]
IDS = [f"{name}({', '.join(kwargs)})" for name, kwargs in ARGUMENTS]
WITH_REFERENCES = [(n, k) for n, k in ARGUMENTS if n not in ("RankedListLoss", "FastAPLoss")]
TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}
pytestmark = pytest.mark.filterwarnings("ignore:Values of Tp or Tn", "ignore:.*no pairs to weigh")


def random_batch(seed, n=24, dims=8):
    """Unequal classes, or one image a class where the seed is a multiple of ten."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2 + seed % 9, (n,), generator=generator)
    if seed % 10 == 0:
        labels = torch.arange(n)
    spread = 0.2 + seed % 3
    centres = torch.randn(n, dims, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, dims, generator=generator, dtype=torch.float64)
    return centres[labels] + spread * noise, labels


def value_and_gradient(loss, x, *arguments, **more):
    x = x.clone().requires_grad_()
    value = loss(x, *arguments, **more)
    (gradient,) = torch.autograd.grad(value, x, allow_unused=True)
    return value.detach(), torch.zeros_like(x) if gradient is None else gradient


def pair_of(name, kwargs, **more):
    return getattr(pml2, name)(**kwargs, **more), getattr(losses, name)(**kwargs, **more)


@pytest.mark.parametrize(("name", "kwargs"), ARGUMENTS, ids=IDS)
def test_values_and_gradients_are_those_of_pml_in_fifty_random_batches(name, kwargs):
    ours, theirs = pair_of(name, kwargs)
    for seed in range(50):
        x, labels = random_batch(seed)
        for found, expected in zip(
            value_and_gradient(ours, x, labels), value_and_gradient(theirs, x, labels), strict=True
        ):
            torch.testing.assert_close(found, expected, **TOLERANCE, check_dtype=False)


@pytest.mark.parametrize(("name", "kwargs"), WITH_REFERENCES)
def test_references_and_tuples_of_distinct_pairs_are_read_as_by_pml(name, kwargs):
    ours, theirs = pair_of(name, kwargs)
    for seed in range(1, 6):
        x, labels = random_batch(seed)
        y, y_labels = random_batch(seed + 20, n=31)
        pairs = (labels[:, None] == y_labels).nonzero(), (labels[:, None] != y_labels).nonzero()
        every_third = [rows[::3].unbind(dim=1) for rows in pairs]
        chosen = (*every_third[0], *every_third[1])
        for arguments in ((labels, None, y, y_labels), (labels, chosen, y, y_labels)):
            found = value_and_gradient(ours, x, *arguments)
            expected = value_and_gradient(theirs, x, *arguments)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, **TOLERANCE, check_dtype=False)


@pytest.mark.parametrize(("name", "kwargs"), ARGUMENTS, ids=IDS)
def test_gradients_are_formed_in_forward_below_the_default_reducer(name, kwargs):
    ours, _ = pair_of(name, kwargs)
    assert ours.known_reduction().counts is not None


def test_so_they_are_where_pml_has_no_class():
    others = {name for name in vars(named_losses) if name.endswith("Loss")} - {*TWINS, "GPWLoss"}
    assert len(others) == 6
    for name in others:
        assert getattr(pml2, name)().known_reduction().counts is not None, name


@pytest.mark.parametrize("name", ["NTXentLoss", "SupConLoss"])
def test_a_distance_is_read_as_by_pml(name):
    ours, theirs = pair_of(name, {"temperature": 0.7}, distance=distances.LpDistance())
    x, labels = random_batch(3)
    for one, other in zip(
        value_and_gradient(ours, x, labels), value_and_gradient(theirs, x, labels), strict=True
    ):
        torch.testing.assert_close(one, other, **TOLERANCE)


@pytest.mark.parametrize("num_classes", [None, 12])
def test_a_learned_beta_has_the_gradient_of_pml(num_classes):
    nu = {} if num_classes else {"nu": 0.3}
    ours, theirs = pair_of("MarginLoss", {"learn_beta": True, "num_classes": num_classes, **nu})
    for loss in (ours, theirs):
        loss.double()
    for seed in range(1, 9):
        x, labels = random_batch(seed)
        for one, other in zip(
            value_and_gradient(ours, x, labels), value_and_gradient(theirs, x, labels), strict=True
        ):
            torch.testing.assert_close(one, other, **TOLERANCE)
        ours(x, labels).backward()
        theirs(x, labels).backward()
        torch.testing.assert_close(ours._parameters["beta"].grad.flatten(), theirs.beta.grad)


def test_a_learned_beta_passes_between_checkpoints():
    ours, theirs = pair_of("MarginLoss", {"learn_beta": True, "num_classes": 3})
    theirs.load_state_dict(ours.state_dict())
    theirs.beta.data.add_(0.1)
    ours.load_state_dict(theirs.state_dict())
    close(ours.beta, theirs.beta.detach())


@pytest.mark.parametrize("name", ["MarginLoss", "RankedListLoss", "FastAPLoss"])
def test_the_distance_of_pml_says_the_same_as_the_cosine(name):
    kwargs = TWINS[name][0]
    default = getattr(losses, name)(**kwargs).distance
    x, labels = random_batch(4)
    close(
        getattr(pml2, name)(**kwargs, distance=default)(x, labels),
        getattr(pml2, name)(**kwargs)(x, labels),
    )


UNSUITED = [
    ("CircleLoss", distances.LpDistance()),
    ("TupletMarginLoss", distances.DotProductSimilarity(normalize_embeddings=False)),
    ("MarginLoss", distances.LpDistance(power=2)),
    ("MarginLoss", distances.LpDistance(normalize_embeddings=False)),
    ("RankedListLoss", distances.LpDistance(p=1)),
    ("FastAPLoss", distances.LpDistance()),
]


@pytest.mark.parametrize(("name", "distance"), UNSUITED)
def test_a_distance_that_does_not_suit_is_refused_by_name(name, distance):
    loss = getattr(pml2, name)(**TWINS[name][0], distance=distance)
    with pytest.raises(ValueError, match=r"similarity \(distance\) must be the cosine"):
        loss(*random_batch(2))


def test_sampled_triplets_are_refused_by_name():
    with pytest.raises(ValueError, match="triplets_per_anchor must be"):
        pml2.MarginLoss(triplets_per_anchor=100)
    with pytest.raises(ValueError, match="nu must be 0 beside num_classes=3, got"):
        pml2.MarginLoss(nu=0.1, learn_beta=True, num_classes=3)


def test_a_reducer_takes_the_place_of_the_mean():
    x, labels = random_batch(5)
    ours, theirs = pair_of("NTXentLoss", {}, reducer=reducers.SumReducer())
    torch.testing.assert_close(ours(x, labels), theirs(x, labels), **TOLERANCE)
    mean = pml2.NTXentLoss(reduction="mean")
    assert type(mean.reducer) is reducers.MeanReducer
    close(mean(x, labels) * len(x), ours(x, labels))
    with pytest.raises(ValueError, match="reducer must be None beside reduction="):
        pml2.NTXentLoss(reduction="sum", reducer=reducers.SumReducer())


def test_dot_products_are_the_default_of_n_pairs_alone():
    x, labels = random_batch(6)
    ours = pml2.NPairLoss()
    assert not ours.distance.normalize_embeddings
    cosine = pml2.NPairLoss(distance=distances.CosineSimilarity())
    close(cosine(x, labels), ours(normalize(x), labels))
    assert abs(cosine(x, labels) - ours(x, labels)) > 0.01


@pytest.mark.parametrize(("name", "kwargs"), ARGUMENTS, ids=IDS)
def test_pair_weights_are_those_of_pml_through_autograd(name, kwargs):
    """PML's losses of distances are read as functions of −D or −D²: the chain rule is between."""
    ours, theirs = pair_of(name, kwargs)
    x, labels = random_batch(4)
    found, expected = (pair_weights(loss, x, labels) for loss in (ours, theirs))
    slope = torch.ones_like(found.similarity)  # of S with PML's similarity
    if not theirs.distance.is_inverted:
        slope = (2 - 2 * found.similarity).clamp(min=0).sqrt()
        slope = slope if theirs.distance.power == 1 else slope.new_tensor(0.5)
    apart = ~torch.eye(len(x), dtype=torch.bool)
    gradient = (found.gradient * slope)[apart]
    torch.testing.assert_close(gradient, expected.gradient[apart], **TOLERANCE)


@pytest.mark.parametrize("name", TWINS)
def test_the_similarities_used_are_those_of_pml(name):
    ours, theirs = pair_of(name, TWINS[name][0])
    assert str(similarity_usage(ours)) == str(similarity_usage(theirs))
