"""The index decides between equal similarities, whatever computed them."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pml_gpw.evaluation import recall_at_k
from pml_gpw.evaluation.exact import exact_order


def test_duplicates_of_long_vectors_tie(backend):
    """Kernels sum edge columns in another order, so equal rows get unequal float products."""
    generator = torch.Generator().manual_seed(0)
    row = torch.randn(1, 301, generator=generator, dtype=torch.float64)
    reference, query_label = row.repeat(37, 1), torch.tensor([0])
    for place in range(37):
        labels = (torch.arange(37) != place).long()
        got = recall_at_k(-row, query_label, reference, labels, ks=range(1, 38), backend=backend)
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
