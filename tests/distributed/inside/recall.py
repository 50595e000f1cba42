"""Recall@K of shards is that of the concatenation, to the last bit."""

import math
import random
import warnings
from contextlib import contextmanager, nullcontext
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from pml_gpw.distributed import distributed_recall_at_k
from pml_gpw.distributed.exchange import Exchange
from pml_gpw.evaluation import backends, ranking, recall_at_k

from ...evaluation.tasks import DTYPES, METRICS, close_pairs

BACKENDS = ("torch", "faiss")
CASES = 20


def parts(sizes, *tensors):
    """This process's rows of each."""
    start = sum(sizes[: dist.get_rank()])
    return [x[start : start + sizes[dist.get_rank()]] for x in tensors]


def cut(total, generator):
    """Sizes of shards, some of them often empty."""
    world = dist.get_world_size()
    bounds = sorted(generator.randint(0, total) for _ in range(world - 1))
    return [b - a for a, b in zip([0, *bounds], [*bounds, total], strict=True)]


def both(task, sizes, **options):
    """What the processes find in their shards, and one process in all of them."""
    mine = [x for i, of in enumerate(sizes) for x in parts(of, *task[2 * i : 2 * i + 2])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return distributed_recall_at_k(*mine, **options), recall_at_k(*task, **options)


def same(many, one):
    return list(many) == list(one) and all(
        many[k] == one[k] or (math.isnan(many[k]) and math.isnan(one[k])) for k in one
    )


def tied_task(seed):
    """Small integers as embeddings: duplicates, zero rows, single labels, and ties everywhere."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    dims, highest, labels = draw.randint(1, 3), draw.randint(0, 3), draw.randint(1, 7)

    def side(least):
        n, dtype = draw.randint(least, 30), draw.choice(DTYPES)
        x = torch.randint(-highest, highest + 1, (n, dims), generator=generator).to(dtype)
        return [x, torch.randint(labels, (n,), generator=generator)]

    task = side(1) + side(1) if draw.random() < 0.5 else side(2)
    sizes = [cut(len(x), draw) for x in task[::2]]
    depth = len(task[-1]) - (len(task) == 2)
    ks = draw.sample(range(1, depth + 1), min(depth, draw.randint(1, 4)))
    return task, sizes, ks


@contextmanager
def small_blocks():
    with (
        mock.patch.object(ranking, "FLOAT64_BLOCK_SIZE", 1),
        mock.patch.object(backends, "BLOCK_SIZE", 1),
    ):
        yield


def check_ties():
    for seed in range(CASES):
        task, sizes, ks = tied_task(seed)
        metric, backend = METRICS[seed % 3], BACKENDS[seed % 2]
        with small_blocks() if seed % 4 == 1 else nullcontext():
            many, one = both(task, sizes, ks=ks, metric=metric, backend=backend)
        assert same(many, one), (seed, many, one)


def random_embeddings():
    """Embeddings without ties, in shards that are uneven or empty."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(90, 3, generator=generator) + 0.3
    labels = torch.randint(12, (90,), generator=generator)
    return x, labels, random.Random(1)


def check_random_embeddings():
    x, labels, draw = random_embeddings()
    for metric in METRICS:
        for backend in BACKENDS:
            for task in ((x, labels), (x[:30], labels[:30], x[30:], labels[30:])):
                sizes = [cut(len(of), draw) for of in task[::2]]
                # Lists no longer than K leave doubts, which float64 settles.
                with mock.patch.object(ranking, "list_length", lambda needed: needed):
                    many, one = both(task, sizes, ks=(1, 3, 10, 39), metric=metric, backend=backend)
                assert same(many, one)
                assert 0 < many[1] < many[39] <= 1


def check_extreme_shards():
    """All queries in one process and all references in another, and scales beyond float32."""
    world = dist.get_world_size()
    x, labels, _ = random_embeddings()
    first, last = [30] + [0] * (world - 1), [0] * (world - 1) + [60]
    for metric in METRICS:
        for backend in BACKENDS:
            for scale in (1, 1e-200, 1e200):
                y = x.double() * scale
                task = y[:30], labels[:30], y[30:], labels[30:]
                assert same(*both(task, (first, last), metric=metric, backend=backend))


def check_float64_decides_across_shards():
    task = close_pairs()
    draw = random.Random(2)
    for backend in BACKENDS:
        many, one = both(task, (cut(40, draw), cut(80, draw)), ks=(1, 2, 5), backend=backend)
        assert same(many, one)
        assert 0 < one[1] < 1


def equal_references(place, backend="torch"):
    """Seven references that are all alike, the relevant one of them at a place."""
    labels = (torch.arange(7) != place).long()
    task = torch.ones(1, 2), torch.tensor([0]), torch.ones(7, 2), labels
    world = dist.get_world_size()
    sizes = [0] * (world - 1) + [1], [3, 4] if world == 2 else [2, 0, 5, 0][:world]
    return both(task, sizes, ks=range(1, 8), backend=backend)


def check_order_among_equals_is_that_of_all():
    for backend in BACKENDS:
        for place in range(7):
            many, one = equal_references(place, backend)
            assert many == one == {k: float(k > place) for k in range(1, 8)}


def references_turned():
    real = Exchange.gather

    def turned(self, *parts):
        found = real(self, *parts)
        return [rows.flip(0) for rows in found] if self.world > 1 else found

    return mock.patch.object(Exchange, "gather", turned)


def check_controls():
    """With the references in another order than that of ranks: something else."""
    with references_turned():
        found = [equal_references(place) for place in range(7)]
    assert not all(same(many, one) for many, one in found)


def check_queries_without_a_relevant_reference():
    """Left out of the mean, and told once."""
    x, labels, draw = random_embeddings()
    labels = torch.cat([labels[:70], torch.arange(100, 120)])
    for of, message in ((labels, "20 of 90 queries"), (torch.arange(90), "90 of 90.* nan")):
        mine = parts(cut(90, draw), x, of)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            many = distributed_recall_at_k(*mine, ks=(1, 2))
        assert len(caught) == (dist.get_rank() == 0)
        if caught:
            assert caught[0].filename == __file__
            with pytest.warns(UserWarning, match=message) as expected:
                one = recall_at_k(x, of, ks=(1, 2))
            assert str(caught[0].message) == str(expected[0].message)
            assert same(many, one)
        assert math.isnan(many[1]) == ("nan" in message)


def check_largest_k():
    x, labels, draw = random_embeddings()
    for backend in BACKENDS:
        mine = parts(cut(90, draw), x, labels)
        gallery = parts(cut(40, draw), x[:40], labels[:40])
        assert distributed_recall_at_k(*mine, ks=(89,), backend=backend) == {89: 1.0}
        assert distributed_recall_at_k(*mine, *gallery, ks=(40,), backend=backend) == {40: 1.0}
        for arguments, ks, largest in ((mine, (1, 90), 89), (mine + gallery, (41,), 40)):
            with pytest.raises(ValueError, match=f"^ks must be at most {largest}, "):
                distributed_recall_at_k(*arguments, ks=ks, backend=backend)
