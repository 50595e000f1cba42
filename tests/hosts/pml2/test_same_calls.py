"""Random calls: plain modules, objects of PML and functions are the same loss, and PML's own."""

import random

import pytest
import torch
from pytorch_metric_learning import losses, miners

from pml_gpw import functional, modules
from pml_gpw.hosts import pml2
from pml_gpw.mining import MSMining

from ...cases import CASES, MINING_CASES
from ...covering import covering
from ...runs import close_runs, pairs_of_tuple

REDUCTIONS = ("mean", "sum", "mean_of_anchors_with_pairs", "mean_of_nonzero", "none")
seeds = pytest.mark.parametrize("seed", covering(range(200), one_in=1, quick=3))


def random_call(seed):
    """The rules, the options and the arguments of a call, references by the names of functions."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    n, classes = draw.randint(4, 40), draw.randint(1, 6)
    dtype = draw.choice([torch.float32, torch.float64])
    x = torch.randn(n, 5, generator=generator, dtype=dtype)
    x[draw.randrange(n)] = x[draw.randrange(n)]  # exact duplicates
    labels = torch.randint(classes, (n,), generator=generator)
    mined_by = [None, *(case.mining for case in MINING_CASES)]
    rules = draw.choice(CASES).weighting, draw.choice(mined_by)
    options = {
        "reduction": draw.choice(REDUCTIONS),
        "similarity": draw.choice(["cosine", "dot"]),
        "chunk_size": draw.choice([None, 3, 100]),
    }
    if options["similarity"] == "dot":
        x = x / 4
    ref = ref_labels = pairs = self_index = None
    if draw.random() < 0.5:
        m = draw.randint(3, 50)
        ref = torch.randn(m, 5, generator=generator, dtype=dtype)
        ref_labels = torch.randint(classes, (m,), generator=generator)
    if ref is not None and draw.random() < 0.3:
        self_index = torch.randint(-1, len(ref), (n,), generator=generator)
    elif draw.random() < 0.4:
        miner = modules.MSMiner(draw.choice([0.1, 1.0]))
        pairs = miner(x, labels, ref_emb=ref, ref_labels=ref_labels)
    return rules, options, (x, labels, pairs, ref, ref_labels, self_index)


def outcome(loss, x, *arguments, **options):
    """Value and gradient of a call, with the random numbers that it begins with."""
    torch.manual_seed(0)
    leaf = x.clone().requires_grad_()
    value = loss(leaf, *arguments, **options)
    value.sum().backward()
    return value.detach(), leaf.grad


@pytest.mark.filterwarnings("ignore:.*no pairs to weigh")
@seeds
def test_values_and_gradients(seed):
    rules, options, (x, labels, pairs, ref, ref_labels, self_index) = random_call(seed)
    arguments = labels, pairs, ref, ref_labels, self_index
    plain = outcome(modules.GPWLoss(*rules, **options), x, *arguments)
    close_runs(outcome(pml2.GPWLoss(*rules, **options), x, *arguments), plain)
    named = {"indices_tuple": pairs, "references": ref, "reference_labels": ref_labels}
    options |= named | {"self_index": self_index}
    close_runs(outcome(functional.gpw_loss, x, labels, *rules, **options), plain)


@seeds
def test_pairs(seed):
    (_, mining), options, (x, labels, pairs, ref, ref_labels, self_index) = random_call(seed)
    mining = mining or MSMining()
    options.pop("reduction")
    given = {"indices_tuple": pairs, "self_index": self_index}
    mined = []
    for make in (modules.PairMiner, pml2.PairMiner):
        torch.manual_seed(0)
        mined.append(make(mining, **options)(x, labels, ref, ref_labels, **given))
    torch.manual_seed(0)
    given |= {"references": ref, "reference_labels": ref_labels}
    expected = functional.mine(x, labels, mining, **given, **options)
    for found in mined:
        close_runs(found, expected)


@pytest.mark.filterwarnings("ignore:.*no pairs to weigh")
@seeds
def test_the_pair_of_pml(seed):
    """Its miner and its loss, ours, and both in one loss; pairs, values and gradients."""
    draw, (_, _, (x, labels, _, ref, ref_labels, _)) = random.Random(-seed), random_call(seed)
    epsilon = draw.choice([0, 0.1, 1, draw.random()])
    parameters = draw.choice([(2, 50, 0.5), (2, 50, 1), (17.97, 75.66, 0.77)])
    mined, theirs = (
        make(epsilon)(x, labels, ref, ref_labels)
        for make in (pml2.MSMiner, miners.MultiSimilarityMiner)
    )
    assert pairs_of_tuple(mined) == pairs_of_tuple(theirs)
    expected = outcome(pml2.MSLoss(*parameters, epsilon), x, labels, None, ref, ref_labels)
    arguments = x, labels, mined, ref, ref_labels
    close_runs(outcome(pml2.MSWeightedLoss(*parameters), *arguments), expected)
    if any(len(index) > 1 for index in theirs):  # PML gives 0 for a lone pair of each kind
        close_runs(outcome(losses.MultiSimilarityLoss(*parameters), *arguments), expected)


def test_the_comparison_can_fail():
    _, _, (x, labels, *_) = random_call(3)
    right, wrong = (outcome(pml2.MSLoss(beta=beta), x, labels) for beta in (50, 50.01))
    with pytest.raises(AssertionError):
        close_runs(right, wrong)
