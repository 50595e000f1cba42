"""Losses by the names of the field: the same values and gradients as PML's classes."""

import pytest
import torch
from pytorch_metric_learning import distances, losses, reducers
from torch.nn.functional import normalize

from pml_gpw.analysis import pair_weights, similarity_usage
from pml_gpw.hosts import pml2
from pml_gpw.hosts.pml2 import named_losses

from ...covering import covering
from ...runs import close_runs, run
from ...tolerances import close

RANKED = {"margin": 0.3, "Tn": 2.0, "imbalance": 0.3, "alpha": 1.3, "Tp": 1.5}
TWINS = {
    "NTXentLoss": ({}, {"temperature": 0.5}),
    "SupConLoss": ({}, {"temperature": 0.5}),
    "CircleLoss": ({}, {"m": 0.25, "gamma": 128}),
    "TupletMarginLoss": ({}, {"margin": 10.0, "scale": 16}),
    "MarginLoss": ({}, {"margin": 0.4, "beta": 1.0}),
    "RankedListLoss": ({"margin": 0.4, "Tn": 10.0}, RANKED),
    "FastAPLoss": ({}, {"num_bins": 4}),
}
ARGUMENTS = [(name, kwargs) for name, sets in TWINS.items() for kwargs in sets]
IDS = [f"{name}({', '.join(kwargs)})" for name, kwargs in ARGUMENTS]
WITH_REFERENCES = [(n, k) for n, k in ARGUMENTS if n not in ("RankedListLoss", "FastAPLoss")]
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


def pair_of(name, kwargs, **more):
    return getattr(pml2, name)(**kwargs, **more), getattr(losses, name)(**kwargs, **more)


def same(pair, x, *arguments):
    ours, theirs = (run(loss, x, *arguments) for loss in pair)
    close_runs(ours, theirs, 1e-6)


@pytest.mark.parametrize(
    "seeds", [range(12), pytest.param(range(12, 30), marks=pytest.mark.exhaustive)], ids=str
)
@pytest.mark.parametrize(("name", "kwargs"), ARGUMENTS, ids=IDS)
def test_values_and_gradients_are_those_of_pml_in_random_batches(name, kwargs, seeds):
    for seed in seeds:
        same(pair_of(name, kwargs), *random_batch(seed))


@pytest.mark.parametrize(("name", "kwargs"), WITH_REFERENCES)
def test_references_and_tuples_of_distinct_pairs_are_read_as_by_pml(name, kwargs):
    for seed in range(1, 4):
        x, labels = random_batch(seed)
        y, y_labels = random_batch(seed + 20, n=31)
        pairs = (labels[:, None] == y_labels).nonzero(), (labels[:, None] != y_labels).nonzero()
        every_third = [rows[::3].unbind(dim=1) for rows in pairs]
        for chosen in (None, (*every_third[0], *every_third[1])):
            same(pair_of(name, kwargs), x, labels, chosen, y, y_labels)


def test_gradients_are_formed_in_forward_below_the_default_reducer():
    others = {name for name in vars(named_losses) if name.endswith("Loss")} - {*TWINS, "GPWLoss"}
    assert len(others) == 6
    for name, kwargs in (*ARGUMENTS, *((name, {}) for name in others)):
        assert getattr(pml2, name)(**kwargs).known_reduction().counts is not None, name


@pytest.mark.parametrize("num_classes", [None, 12])
def test_a_learned_beta_has_the_gradient_of_pml(num_classes):
    kwargs = {"learn_beta": True, "num_classes": num_classes}
    kwargs |= {} if num_classes else {"nu": 0.3}
    ours, theirs = (loss.double() for loss in pair_of("MarginLoss", kwargs))
    for seed in range(1, 9):
        same((ours, theirs), *random_batch(seed))
        found, expected = ours._parameters["beta"].grad.flatten(), theirs.beta.grad
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("num_classes", [None, 3])
def test_a_learned_beta_passes_between_checkpoints(num_classes):
    ours, theirs = pair_of("MarginLoss", {"learn_beta": True, "num_classes": num_classes})
    state = {name: value.view_as(theirs.beta) for name, value in ours.state_dict().items()}
    theirs.load_state_dict(state)
    theirs.beta.data.add_(0.1)
    ours.load_state_dict(theirs.state_dict())
    close(ours.beta, theirs.beta.detach().view_as(torch.as_tensor(ours.beta)))


@pytest.mark.parametrize("name", ["MarginLoss", "RankedListLoss", "FastAPLoss"])
def test_the_distance_of_pml_says_the_same_as_the_cosine(name):
    kwargs = TWINS[name][0]
    default = getattr(losses, name)(**kwargs).distance
    by_distance = getattr(pml2, name)(**kwargs, distance=default)
    close(by_distance(*random_batch(4)), getattr(pml2, name)(**kwargs)(*random_batch(4)))


@pytest.mark.parametrize(
    ("name", "distance"),
    [
        ("CircleLoss", distances.LpDistance()),
        ("TupletMarginLoss", distances.DotProductSimilarity(normalize_embeddings=False)),
        ("MarginLoss", distances.LpDistance(power=2)),
        ("MarginLoss", distances.LpDistance(normalize_embeddings=False)),
        ("RankedListLoss", distances.LpDistance(p=1)),
        ("FastAPLoss", distances.LpDistance()),
    ],
)
def test_a_distance_that_does_not_suit_is_refused_by_name(name, distance):
    loss = getattr(pml2, name)(**TWINS[name][0], distance=distance)
    with pytest.raises(ValueError, match=r"similarity \(distance\) must be the cosine"):
        loss(*random_batch(2))


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("MarginLoss", {"triplets_per_anchor": 100}, "triplets_per_anchor must be"),
        (
            "MarginLoss",
            {"nu": 0.1, "learn_beta": True, "num_classes": 3},
            "nu must be 0 beside num",
        ),
        ("NTXentLoss", {"reduction": "sum", "reducer": reducers.SumReducer()}, "reducer must be N"),
    ],
)
def test_arguments_that_are_refused(name, kwargs, message):
    with pytest.raises(ValueError, match=message):
        getattr(pml2, name)(**kwargs)


def test_a_distance_and_a_reducer_are_read_as_by_pml():
    x, labels = random_batch(5)
    same(pair_of("SupConLoss", {}, distance=distances.LpDistance()), x, labels)
    pair = pair_of("NTXentLoss", {}, reducer=reducers.SumReducer())
    same(pair, x, labels)
    mean = pml2.NTXentLoss(reduction="mean")
    assert type(mean.reducer) is reducers.MeanReducer
    close(mean(x, labels) * len(x), pair[0](x, labels))


def test_dot_products_are_the_default_of_n_pairs_alone():
    x, labels = random_batch(6)
    ours, cosine = pml2.NPairLoss(), pml2.NPairLoss(distance=distances.CosineSimilarity())
    assert not ours.distance.normalize_embeddings
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
    close((found.gradient * slope)[apart], expected.gradient[apart], 1e-6)


@pytest.mark.parametrize("name", covering(TWINS, one_in=1, quick=6))
def test_the_similarities_used_are_those_of_pml(name):
    ours, theirs = map(similarity_usage, pair_of(name, TWINS[name][0]))
    assert str(ours) == str(theirs)
