"""Losses and miners shared by threads: no call sees the arguments of another."""

import sys
import threading

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.weightings import BinomialDeviance

THREADS = 8


def arguments(seed):
    """Calls of every kind, other ones for each seed."""
    generator = torch.Generator().manual_seed(seed)
    n = 5 + seed % 3
    x, refs = (torch.randn(k, 3, generator=generator) for k in (n, n + 2))
    labels = torch.randint(2, (n,), generator=generator)
    both = torch.cat([labels, labels[:2]])
    a, p = (labels[:, None] == labels).nonzero(as_tuple=True)
    b, q = (labels[:, None] != labels).nonzero(as_tuple=True)
    yield (x, labels), {}
    yield (x, labels, None, refs, both), {}
    place = torch.randperm(n, generator=generator)
    shuffled, moved = torch.empty_like(x), torch.empty_like(labels)
    shuffled[place], moved[place] = x, labels
    yield (x, labels, None, shuffled * 2, moved), {"self_index": place}
    yield (x, labels, (a[a != p], p[a != p], b, q)), {}


def outcomes(loss, miner):
    """What each call gives, as plain numbers, for calls made one after the other."""
    calls = []
    for seed in range(6):
        for args, kwargs in arguments(seed):
            calls.append((lambda a=args, k=kwargs: loss(*a, **k)))
            if len(args) != 3:
                given = args[:2] + args[3:]
                calls.append(lambda a=given, k=kwargs: torch.cat(miner(*a, **k)).sum())
    return [(call, call().item()) for call in calls]


@pytest.mark.filterwarnings("ignore:.*no pairs")
@pytest.mark.parametrize("calls", [2_000, pytest.param(10_000, marks=pytest.mark.exhaustive)])
def test_every_call_gets_its_own_value(calls):
    shared = [
        *outcomes(MSLoss(), MSMiner(0.2)),
        *outcomes(GPWLoss(BinomialDeviance(), distance=LpDistance()), MSMiner(0.3)),
        *outcomes(MSWeightedLoss(), MSMiner(0.5, distance=LpDistance())),
    ]
    wrong, barrier = [], threading.Barrier(THREADS)

    def work(offset):
        barrier.wait()
        for i in range(calls // THREADS):
            call, expected = shared[(offset * 7 + i) % len(shared)]
            if (found := call().item()) != expected:
                wrong.append((found, expected))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
    assert len({expected for _, expected in shared}) > 30, "all calls look alike"
