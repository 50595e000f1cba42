"""Float64 decides between near similarities, and the index between equal ones."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pml_gpw.evaluation import recall_at_k
from pml_gpw.evaluation.exact import exact_order

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


def jitter(similarities):
    """Roundings of the last digits, as kernels leave them."""
    generator = torch.Generator().manual_seed(0)
    return similarities + 1e-15 * torch.randn(similarities.shape, generator=generator).double()


VALUES = st.sampled_from([0.5, 0.25, 0.0, -1.0, -torch.inf])


@given(st.lists(VALUES, min_size=1, max_size=12), st.permutations(range(12)))
def test_order_by_similarity_and_then_by_column(row, columns):
    columns = [column for column in columns if column < len(row)]
    similarities = torch.tensor([row], dtype=torch.float64)
    places = torch.tensor([columns])
    order = exact_order(jitter(similarities)[:, columns], places)
    wanted = sorted(range(len(row)), key=lambda j: -row[j])
    assert places.gather(1, order).tolist() == [wanted]
