"""Recall@K, R-precision and MAP@R of shards are those of the concatenation, to the last bit."""

import random
import warnings
from contextlib import nullcontext
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from pml_gpw.distributed import distributed_retrieval_metrics
from pml_gpw.evaluation import ranking, retrieval_metrics

from ...evaluation.tasks import METRICS, close_pairs
from .errors import at_fault, from_last, raised_on_all, spoiled
from .recall import (
    BACKENDS,
    CASES,
    cut,
    parts,
    random_embeddings,
    references_turned,
    same,
    small_blocks,
    tied_task,
)


def both(task, sizes, **options):
    """What the processes find in their shards, and one process in all of them."""
    mine = [x for i, of in enumerate(sizes) for x in parts(of, *task[2 * i : 2 * i + 2])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return distributed_retrieval_metrics(*mine, **options), retrieval_metrics(*task, **options)


def pair_cost(number):
    """Whether single pairs are computed (0), or all references."""
    return mock.patch.object(ranking, "PAIR_COST", number)


def check_ties():
    for seed in range(CASES):
        task, sizes, ks = tied_task(seed)
        metric, backend = METRICS[seed % 3], BACKENDS[seed % 2]
        with small_blocks() if seed % 4 == 1 else nullcontext(), pair_cost(seed % 3):
            many, one = both(task, sizes, ks=ks, metric=metric, backend=backend)
        assert same(many, one), (seed, many, one)


def check_random_embeddings():
    x, labels, draw = random_embeddings()
    for metric in METRICS:
        for backend in BACKENDS:
            for task in ((x, labels), (x[:30], labels[:30], x[30:], labels[30:])):
                sizes = [cut(len(of), draw) for of in task[::2]]
                # Lists no longer than R leave doubts, which float64 settles.
                for length in (ranking.list_length, lambda needed: needed):
                    with mock.patch.object(ranking, "list_length", length):
                        many, one = both(task, sizes, ks=(1, 10), metric=metric, backend=backend)
                    assert same(many, one)
                    assert 0 < many["map_at_r"] < many["r_precision"] < 1


def check_float64_decides_across_shards():
    query, labels, reference, reference_labels = close_pairs()
    task = query, labels // 4, reference, reference_labels // 4
    draw = random.Random(2)
    for backend in BACKENDS:
        for cost in (0, 10**9):
            with pair_cost(cost):
                sizes = cut(40, draw), cut(80, draw)
                many, one = both(task, sizes, ks=(1,), backend=backend)
            assert same(many, one)
            assert 0 < one["map_at_r"] < 1


def check_order_among_equals_is_that_of_all():
    """Seven references that are all alike, two of them relevant."""
    world = dist.get_world_size()
    sizes = [0] * (world - 1) + [1], [3, 4] if world == 2 else [2, 0, 5, 0][:world]
    for places in ((0, 1), (1, 4), (0, 6), (5, 6)):
        labels = torch.ones(7, dtype=torch.long)
        labels[[*places]] = 0
        task = torch.ones(1, 2), torch.tensor([0]), torch.ones(7, 2), labels
        for backend in BACKENDS:
            for cost in (0, 10**9):
                with pair_cost(cost):
                    many, one = both(task, sizes, ks=(1,), backend=backend)
                assert same(many, one)
                assert one["r_precision"] == sum(place < 2 for place in places) / 2


def check_controls():
    """With the references in another order than that of ranks: something else."""
    x, labels, _ = random_embeddings()
    world = dist.get_world_size()
    task, sizes = (x.round(), labels), [[90 - 7 * (world - 1)] + [7] * (world - 1)]
    with pair_cost(0), small_blocks():
        assert same(*both(task, sizes))
        with references_turned():
            many, one = both(task, sizes)
    assert not same(many, one)


def check_queries_without_a_relevant_reference():
    """Left out of the means, and told once."""
    x, labels, draw = random_embeddings()
    labels = torch.cat([labels[:70], torch.arange(100, 120)])
    for of, message in ((labels, "20 of 90 queries"), (torch.arange(90), "90 of 90.* nan")):
        mine = parts(cut(90, draw), x, of)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            many = distributed_retrieval_metrics(*mine, ks=(1, 2))
        assert len(caught) == (dist.get_rank() == 0)
        with pytest.warns(UserWarning, match=message) as expected:
            one = retrieval_metrics(x, of, ks=(1, 2))
        if caught:
            assert caught[0].filename == __file__
            assert str(caught[0].message) == str(expected[0].message)
        assert same(many, one)


def check_one_bad_shard():
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) // 2
    wrong = {
        "query must be finite, got NaN": (spoiled(x), labels),
        "query_labels must have shape": (x, labels[1:]),
        "ks must be at least one integer": (x, labels, None, None, (0,)),
        "metric must be one of": (x, labels, None, None, (1,), "torch", "L2"),
    }
    for message, args in wrong.items():
        args = args if at_fault() else (x, labels)
        raised_on_all(distributed_retrieval_metrics, *args, message=from_last(message))
    everything = x.repeat(dist.get_world_size(), 1), labels.repeat(dist.get_world_size())
    mine = parts([6] * dist.get_world_size(), *everything)
    assert same(distributed_retrieval_metrics(*mine), retrieval_metrics(*everything))
