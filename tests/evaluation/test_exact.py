"""Float64 decides between near similarities, and the index between equal ones."""

import torch

from pml_gpw.evaluation import recall_at_k

from . import oracle
from .tasks import assert_same, close_pairs, quiet_recall


def test_float64_differences_decide(backend):
    task = close_pairs()
    wanted = oracle.recall_at_k(*task, ks=(1, 2, 5))
    assert_same(quiet_recall(*task, ks=(1, 2, 5), backend=backend), wanted)
    assert 0 < wanted[1] < 1


def test_negative_control_the_order_of_equal_references_matters(backend):
    query, reference = torch.ones(1, 2), torch.ones(3, 2)
    wanted = {0: {1: 1.0, 2: 1.0}, 1: {1: 0.0, 2: 1.0}, 2: {1: 0.0, 2: 0.0}}
    for place, recalls in wanted.items():
        labels = (torch.arange(3) != place).long()
        task = query, torch.tensor([0]), reference, labels
        assert oracle.recall_at_k(*task, ks=(1, 2)) == recalls
        assert recall_at_k(*task, ks=(1, 2), backend=backend) == recalls


def test_duplicates_of_long_vectors_tie_whatever_computed_them(backend):
    """Kernels sum edge columns in another order, so equal rows get unequal float products."""
    generator = torch.Generator().manual_seed(0)
    row = torch.randn(1, 301, generator=generator, dtype=torch.float64)
    reference = row.repeat(37, 1)
    for place in range(37):
        labels = torch.ones(37, dtype=torch.long)
        labels[place] = 0
        got = recall_at_k(
            -row, torch.tensor([0]), reference, labels, ks=range(1, 38), backend=backend
        )
        assert got == {k: float(k > place) for k in range(1, 38)}
