"""On an accelerator nothing waits: tried on the meta device, and on the CPU by refusal."""

import warnings

import pytest
import torch
from pytorch_metric_learning.reducers import DoNothingReducer, MeanReducer, SumReducer

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.functional import gpw_loss, ms_loss
from pml_gpw.mining import BatchHardMining, MSMining
from pml_gpw.value_checks import deferred_checks
from pml_gpw.weightings import MultiSimilarity

from ..cases import CASES, FIELD_CASES, MINING_CASES
from ..probes import NoWaiting, WouldWait
from ..tolerances import close

MININGS = [None, *(case.mining for case in MINING_CASES)]
RULES = [
    *((case.weighting, mining) for case in CASES for mining in MININGS),
    *((case.weighting, mining) for case in FIELD_CASES for mining in (None, MSMining())),
]
KINDS = ("self", "clone", "references")
REDUCERS = {"mean": MeanReducer(), "sum": SumReducer(), "none": DoNothingReducer()}


def batch(kind, device, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 4, generator=generator, dtype=dtype).to(device).requires_grad_()
    labels = (torch.arange(20) // 4).to(device)
    if kind == "self":
        return x, labels, {}
    if kind == "clone":
        return x, labels, {"references": x.clone(), "reference_labels": labels}
    references = torch.randn(30, 4, generator=generator, dtype=dtype).to(device)
    others = (torch.arange(30) // 6).to(device)
    return x, labels, {"references": references, "reference_labels": others}


def steps(weighting, mining, chunk_size, device):
    """Each way to call for a loss, as the losses of the anchors or less, with backward."""
    for kind in KINDS:
        for reduction, reducer in REDUCERS.items():
            x, labels, others = batch(kind, device)
            loss = GPWLoss(weighting, mining, chunk_size, reducer=reducer)
            found = loss(x, labels, None, *others.values())
            yield x, found["loss"]["losses"] if isinstance(found, dict) else found
            x, labels, others = batch(kind, device)
            chosen = {"reduction": reduction, "chunk_size": chunk_size}
            yield x, gpw_loss(x, labels, weighting, mining, **others, **chosen)


@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize(("weighting", "mining"), RULES, ids=repr)
def test_nothing_looks_at_values(weighting, mining, chunk_size):
    """On meta a look at a value raises."""
    for x, losses in steps(weighting, mining, chunk_size, "meta"):
        losses.sum().backward()
        assert x.grad.shape == x.shape


@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize(("weighting", "mining"), RULES, ids=repr)
def test_nothing_waits(weighting, mining, chunk_size):
    """On a CPU, with the path of accelerators, under a mode that refuses what waits on CUDA."""
    with deferred_checks(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with NoWaiting():
            for _, losses in steps(weighting, mining, chunk_size, "cpu"):
                losses.sum().backward()


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_a_cpu(kind):
    for mining in (None, MSMining()):
        results = []
        for context in (deferred_checks(), torch.enable_grad()):
            x, labels, others = batch(kind, "cpu", torch.float64)
            with context:
                loss = gpw_loss(x, labels, MultiSimilarity(), mining, **others)
                loss.backward()
            results.append((loss, x.grad))
        close(results[0][0], results[1][0])
        close(results[0][1], results[1][1])


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: torch.tensor([1.0]) + x,
        lambda x: bool(x.sum() > 0),
        lambda x: x.index_put((x > 0,), x.new_zeros(())),
    ],
)
def test_the_mode_refuses_what_waits(wait):
    with NoWaiting(), pytest.raises(WouldWait):
        wait(torch.randn(3))


def test_index_tuples_do_wait():
    """As the documentation says: which pairs are named is a question of values."""
    x, labels, _ = batch("self", "cpu")
    pairs = torch.tensor([0]), torch.tensor([1]), torch.tensor([2])
    with deferred_checks(), NoWaiting(), pytest.raises(WouldWait):
        MSLoss()(x, labels, pairs)


def test_normalized_rows_and_self_index():
    x, labels, others = batch("clone", "meta")
    place = torch.arange(20, device="meta")
    ms_loss(x, labels, **others, self_index=place).backward()
    loss = GPWLoss(MultiSimilarity(), BatchHardMining())
    loss(x, labels, None, *others.values(), self_index=place).backward()
    assert x.grad.shape == x.shape
