"""On an accelerator nothing waits: tried on the meta device, and on the CPU by refusal."""

import warnings
from contextlib import nullcontext

import pytest
import torch
from pytorch_metric_learning.reducers import DoNothingReducer, MeanReducer, SumReducer

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.functional import gpw_loss
from pml_gpw.mining import MSMining
from pml_gpw.value_checks import deferred_checks
from pml_gpw.weightings import MultiSimilarity

from ..cases import EVERY_CASE, MINING_CASES
from ..covering import covering, named
from ..probes import NoWaiting, WouldWait
from ..runs import close_runs, run

MININGS = [None, *(case.mining for case in MINING_CASES)]
KINDS = ("self", "clone", "references", "places")


def batch(kind, device, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 4, generator=generator, dtype=dtype).to(device).requires_grad_()
    labels = (torch.arange(20) // 4).to(device)
    if kind == "self":
        return x, labels, {}
    if kind in ("clone", "places"):
        places = {"self_index": torch.arange(20, device=device)} if kind == "places" else {}
        return x, labels, {"references": x.clone(), "reference_labels": labels, **places}
    references = torch.randn(30, 4, generator=generator, dtype=dtype).to(device)
    others = (torch.arange(30) // 6).to(device)
    return x, labels, {"references": references, "reference_labels": others}


@pytest.mark.parametrize(
    ("case", "mining", "chunk_size", "kind", "device"),
    covering(EVERY_CASE, MININGS, (None, 11), KINDS, ("meta", "cpu"), one_in=23, quick=5),
    ids=named,
)
def test_nothing_waits(case, mining, chunk_size, kind, device):
    """On meta a look at a value raises; on a CPU, with the path of accelerators, a mode refuses
    what waits on CUDA. As a module below each reducer, and as a function."""
    rules = case.weighting, mining, chunk_size

    def step(reducer):
        x, labels, others = batch(kind, device)
        if reducer is None:
            return x, gpw_loss(x, labels, *rules[:2], chunk_size=chunk_size, **others)
        found = GPWLoss(*rules, reducer=reducer)(x, labels, None, *others.values())
        return x, found["loss"]["losses"] if isinstance(found, dict) else found

    with deferred_checks(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with NoWaiting() if device == "cpu" else nullcontext():
            for reducer in (None, MeanReducer(), SumReducer(), DoNothingReducer()):
                x, losses = step(reducer)
                losses.sum().backward()
                assert x.grad.shape == x.shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mining", [None, MSMining()], ids=repr)
def test_values_are_those_of_a_cpu(mining, kind):
    x, labels, others = batch(kind, "cpu", torch.float64)
    loss = lambda e: gpw_loss(e, labels, MultiSimilarity(), mining, **others)  # noqa: E731
    with deferred_checks():
        later = run(loss, x.detach())
    close_runs(later, run(loss, x.detach()))


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
