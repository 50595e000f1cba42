"""The metrics of lists against loops, whatever else is in the lists."""

import pytest
import torch

from pml_gpw.evaluation.measures import (
    Lists,
    average_precision,
    r_precision,
    titles_of,
)


def loops(relevant, r):
    total = 0.0
    for k in range(1, r + 1):
        if relevant[k - 1]:
            total += sum(relevant[:k]) / k
    return sum(relevant[:r]) / r, total / r


def precision_at_r(relevant, num_relevant):
    lists = Lists(relevant.float(), num_relevant)
    return r_precision(lists), average_precision(lists, at_r=True)


@pytest.fixture
def lists():
    generator = torch.Generator().manual_seed(0)
    relevant = torch.rand(200, 60, generator=generator) < torch.rand(200, 1, generator=generator)
    return relevant, torch.randint(1, 61, (200,), generator=generator)


def test_equal_to_loops_to_the_last_digit(lists):
    relevant, counts = lists
    found = torch.stack(precision_at_r(relevant, counts), dim=1)
    wanted = [loops(row, r) for row, r in zip(relevant.tolist(), counts.tolist(), strict=True)]
    assert found.tolist() == [[*pair] for pair in wanted]
    assert found.dtype == torch.float64


def test_what_follows_the_r_nearest_changes_no_digit(lists):
    relevant, counts = lists
    wanted = precision_at_r(relevant, counts)
    longer = torch.cat([relevant, torch.ones(200, 37, dtype=torch.bool)], dim=1)
    assert all(map(torch.equal, precision_at_r(longer, counts), wanted))
    for rows in torch.arange(200).split(3):
        block = precision_at_r(longer[rows], counts[rows])
        assert all(
            torch.equal(got, all_rows[rows]) for got, all_rows in zip(block, wanted, strict=True)
        )


def test_negative_control_average_precision_over_all_is_another_number(lists):
    relevant, counts = lists
    _, got = precision_at_r(relevant, counts)
    over_all = average_precision(Lists(relevant.float(), counts))
    assert (got - over_all).abs().max() > 0.1


def test_titles():
    assert titles_of(("map",)) == "mAP"
    assert titles_of(("recall_at_k", "map", "mrr")) == "Recall@K, mAP and MRR"
