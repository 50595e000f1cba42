"""Queries without a relevant reference are left out of Recall@K, and a warning counts them."""

import math

import pytest
import torch

from pml_gpw.evaluation import recall_at_k


def test_queries_without_a_relevant_reference_are_left_out_and_counted():
    query = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    with pytest.warns(UserWarning, match="1 of 3 queries") as caught:
        assert recall_at_k(query, torch.tensor([0, 0, 1]), ks=(1,)) == {1: 1.0}
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="3 of 3 queries.* nan") as caught:
        got = recall_at_k(query, torch.arange(3), ks=(1, 2))
    assert [*got] == [1, 2]
    assert all(map(math.isnan, got.values()))
    assert len(caught) == 1


def test_no_warning_without_queries_without_a_relevant_reference(recwarn):
    assert recall_at_k(torch.randn(6, 2), torch.arange(6) // 2, ks=(5,)) == {5: 1.0}
    assert not recwarn.list
