"""Losses and miners shared by threads: no call sees the arguments of another."""

import sys
import threading
from functools import partial

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.weightings import BinomialDeviance

from ..hosts.pml2.test_same_calls import random_call

THREADS = 8


def outcomes(loss, miner):
    """What calls of every kind give, as plain numbers, when they are made one after the other."""
    calls = []
    for seed in range(24):
        x, labels, pairs, *others = random_call(seed)[2]
        calls.append(partial(loss, x, labels, pairs, *others))
        calls.append(lambda a=(x, labels, *others): torch.cat(miner(*a)).sum())
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
