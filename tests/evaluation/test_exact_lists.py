"""Lists in float64: the largest, the first of equal ones, in the order of a stable sort."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pml_gpw.evaluation.exact_lists import exact_order, exact_relevance, first_largest

VALUES = st.sampled_from([0.5, 0.25, 0.0, -1.0, -torch.inf])


def stable_order(row):
    return sorted(range(len(row)), key=lambda j: -row[j])


def jitter(similarities):
    """Roundings of the last digits, as kernels leave them."""
    generator = torch.Generator().manual_seed(0)
    return similarities + 1e-15 * torch.randn(similarities.shape, generator=generator).double()


@given(st.lists(VALUES, min_size=1, max_size=12), st.data())
def test_the_largest_and_the_first_of_equal_ones(row, data):
    length = data.draw(st.integers(0, len(row)))
    found = first_largest(jitter(torch.tensor([row], dtype=torch.float64)), length)
    assert found.tolist() == [sorted(stable_order(row)[:length])]


@given(st.lists(VALUES, min_size=1, max_size=12), st.permutations(range(12)))
def test_order_by_similarity_and_then_by_column(row, columns):
    columns = [column for column in columns if column < len(row)]
    similarities = torch.tensor([row], dtype=torch.float64)
    places = torch.tensor([columns])
    order = exact_order(jitter(similarities)[:, columns], places)
    assert places.gather(1, order).tolist() == [stable_order(row)]


def test_relevance_of_the_nearest():
    reference = torch.tensor([[0.5], [1.0], [0.5], [-1.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0])
    query = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    arguments = query, torch.tensor([0, 1]), torch.tensor([-1, 1]), 3, reference, labels
    # of 1.0: 1, 0, 2, 3; of -1.0: 3, 0, 2, and 1 is its own
    assert exact_relevance(*arguments).tolist() == [[False, True, False], [False, False, True]]
