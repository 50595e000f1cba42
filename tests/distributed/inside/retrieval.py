"""Metrics of shards are those of the concatenation, to the last bit, whatever is relevant."""

import random
import sys
import warnings
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from pml_gpw.distributed import distributed_recall_at_k, distributed_retrieval_metrics
from pml_gpw.evaluation import recall_at_k, retrieval_metrics
from pml_gpw.evaluation.measures import MEASURES

from ...evaluation.tasks import METRICS, close_pairs, quiet, same
from .faults import at_fault, from_last, raised_on_all, spoiled

BACKENDS = ("torch", "faiss")
EVERY = tuple(MEASURES)


def parts(sizes, *tensors):
    """This process's rows of each."""
    start = sum(sizes[: dist.get_rank()])
    return [x[start : start + sizes[dist.get_rank()]] for x in tensors]


def cut(total, draw):
    """Sizes of shards, some of them often empty."""
    bounds = sorted(draw.randint(0, total) for _ in range(dist.get_world_size() - 1))
    return [b - a for a, b in zip([0, *bounds], [*bounds, total], strict=True)]


def both(task, sizes, metrics=EVERY, **options):
    """What the processes find in their shards, and one process in all of them."""
    mine = [x for i, of in enumerate(sizes) for x in parts(of, *task[2 * i : 2 * i + 2])]
    many = quiet(distributed_retrieval_metrics, *mine, metrics=metrics, **options)
    return many, quiet(retrieval_metrics, *task, metrics=metrics, **options)


def random_embeddings():
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(90, 3, generator=generator) + 0.3
    return x, torch.randint(12, (90,), generator=generator)


def check_shards():
    (x, labels), draw, world = random_embeddings(), random.Random(1), dist.get_world_size()
    apart = [30] + [0] * (world - 1), [0] * (world - 1) + [60]
    for number, metric in enumerate(METRICS):
        for y in (x, x.round().half(), x.double() * (1, 1e-200, 1e200)[number]):
            gallery = y[:30], labels[:30], y[30:], labels[30:]
            for task in ((y, labels), gallery):
                sizes = [cut(len(of), draw) for of in task[::2]]
                backend = BACKENDS[(number + len(task)) % 2]
                many, one = both(task, sizes, ks=(1, 3, 29), metric=metric, backend=backend)
                assert same(many, one)
                assert 0 < many["map_at_r"] < many["map"] < 1
            assert same(*both(gallery, apart, ks=(1, 3), metric=metric))
    mine = parts(cut(90, draw), x, labels)
    assert distributed_recall_at_k(*mine, ks=(1, 89)) == recall_at_k(x, labels, ks=(1, 89))


def check_float64_decides_across_shards():
    draw = random.Random(2)
    for backend in BACKENDS:
        many, one = both(close_pairs(), (cut(40, draw), cut(80, draw)), ks=(1, 5), backend=backend)
        assert same(many, one)
        assert 0 < one["recall_at_1"] < 1


def check_order_among_equals_is_that_of_all():
    """Seven references that are all alike, of which one is relevant, in the order of ranks."""
    world, found = dist.get_world_size(), []
    sizes = [0] * (world - 1) + [1], [3, 4] if world == 2 else [2, 0, 5, 0][:world]
    for place in range(7):
        labels = (torch.arange(7) != place).long()
        task = torch.ones(1, 2), torch.tensor([0]), torch.ones(7, 2), labels
        options = {"ks": range(1, 8), "metrics": ("recall_at_k",)}
        many, one = both(task, sizes, backend=BACKENDS[place % 2], **options)
        assert many == one == {f"recall_at_{k}": float(k > place) for k in range(1, 8)}
        found.append(many != both((*task[:3], labels.flip(0)), sizes, **options)[1])
    assert found == [True, True, True, False, True, True, True], "any order would do"


def check_queries_without_a_relevant_reference():
    """Left out of the mean, and told once, at the line of the caller."""
    (x, labels), draw = random_embeddings(), random.Random(1)
    labels = torch.cat([labels[:70], torch.arange(100, 120)])
    for of, message in ((labels, "20 of 90 queries"), (torch.arange(90), "90 of 90.* nan")):
        mine = parts(cut(90, draw), x, of)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            many = distributed_retrieval_metrics(*mine, ks=(1, 2))
        with pytest.warns(UserWarning, match=message) as expected:
            one = retrieval_metrics(x, of, ks=(1, 2))
        first = [(str(expected[0].message), __file__)] * (dist.get_rank() == 0)
        assert [(str(each.message), each.filename) for each in caught] == first
        assert same(many, one)


def check_relevance_of_every_kind():
    for seed, kind in enumerate(("lists", "relation", "matrix") * 2):
        generator, draw = torch.Generator().manual_seed(seed), random.Random(seed)
        m = draw.randint(4, 25)
        n = m if seed % 2 else draw.randint(1, 20)
        x = torch.randint(-1, 2, (n + m, 2), generator=generator).float()
        query, reference = x.split([n, m])
        grades = torch.randint(-2, 4, (n, m), generator=generator).clamp(min=0).double()
        rules = {"relevant": grades, "ignore": torch.rand(n, m, generator=generator) < 0.2}
        if kind == "lists":
            rules["relevant"] = grades.clamp(max=1)
        options = {"ks": (1, 3), "metric": METRICS[seed % 3], "metrics": EVERY}
        options["reference"] = None if seed % 2 else reference
        one = quiet(retrieval_metrics, query, **options, **rules)
        sizes, of_references = cut(n, draw), cut(m, draw)
        for name, matrix in rules.items():
            (rules[name],) = parts(sizes, matrix)
            if kind == "lists":
                rules[name] = [row.nonzero()[:, 0].tolist() for row in rules[name]]
            elif kind == "relation":
                rules[name] = lambda rows, columns, m=matrix: m[rows][:, columns]
        if not seed % 2:
            (options["reference"],) = parts(of_references, reference)
        (mine,) = parts(sizes, query)
        many = quiet(retrieval_metrics, mine, group=dist.group.WORLD, **options, **rules)
        assert same(many, one)


def check_relations_of_labels():
    """Labels of any shape travel with the references."""
    generator, draw = torch.Generator().manual_seed(0), random.Random(0)
    x = torch.randn(50, 3, generator=generator)
    seen = torch.randint(4, (50, 2), generator=generator)  # identity and camera
    rules = {
        "relevant": lambda a, b: a[:, None, 0] == b[:, 0],
        "ignore": lambda a, b: (a[:, None] == b).all(dim=2),
    }
    task, sizes = (x[:20], seen[:20], x[20:], seen[20:]), (cut(20, draw), cut(30, draw))
    many, one = both(task, sizes, **rules)
    assert same(many, one)
    assert both(task, sizes, relevant=rules["relevant"])[0]["map"] != one["map"]


def fails(*_):
    raise MemoryError("no room")


def check_one_at_fault():
    x, world = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dist.get_world_size()
    labels, places = torch.arange(6) // 2, 6 * world
    task, lists = (x, labels), [[0]] * 6
    gallery = {"reference": x, "reference_labels": labels}
    for args, options, message in (
        ((spoiled(x), labels), {}, "query must be finite, got NaN"),
        ((x[:, :0], labels), {}, "query must have at least one row and column"),
        (task, gallery | {"reference": spoiled(x)}, "reference must be finite"),
        (task, gallery | {"reference_labels": None}, "reference and reference_labels must come"),
        (task, {"ks": (0,)}, "ks must be at least one integer"),
        (task, {"relevant": [[places]] * 6}, rf"relevant must be lists of .* \[0, {places}\)"),
        (task, {"relevant": torch.eye(6)}, r"relevant must be a tensor of \(6, "),
        (task, {"relevant": lambda a, b: a}, r"relevant must return a tensor of \(6, "),
        (task, {"relevant": fails}, "no room"),
        (task, {"backend": "faiss"}, 'backend="faiss" needs'),
    ):
        right = {name: lists if name == "relevant" else gallery.get(name) for name in options}
        right |= {"ks": (1, 2), "metric": "cosine", "backend": "torch"}
        kind = RuntimeError if message in ("no room", 'backend="faiss" needs') else ValueError
        args, options = (args, right | options) if at_fault() else (task, right)
        with mock.patch.dict(sys.modules, {"faiss": None}):
            said = {"message": from_last(message), "kind": kind}
            raised_on_all(retrieval_metrics, *args, group=dist.group.WORLD, **options, **said)
    assert same(*both(task, [[6] + [0] * (world - 1)], ks=(1, 2)))


def check_shards_that_do_not_fit():
    x, labels = torch.randn(6, 4), torch.arange(6) // 2
    gallery, lists = {"reference": x, "reference_labels": labels}, [[0]] * 6
    for name, args, options in (
        ("query", (x[:, 1:], labels), {}),
        ("query", (x.double(), labels), {}),
        ("reference", (x, labels), gallery),
        ("ks", (x, labels), {"ks": (1,)}),
        ("metric", (x, labels), {"metric": "l2"}),
        ("ignore", (x, labels), {"ignore": lists}),
    ):
        args, options = (args, options) if at_fault() else ((x, labels), {})
        message = f"^{name} must be the same on all ranks, got .*, "
        options = {"ks": (1, 2)} | options
        raised_on_all(distributed_retrieval_metrics, *args, **options, message=message)
    nothing = x[:0], labels[:0]
    for name, args in (("query", nothing), ("reference", (x, labels, *nothing))):
        message = f"^{name} must have at least one row on some rank"
        raised_on_all(distributed_retrieval_metrics, *args, message=message)
    with pytest.raises(ValueError, match=f"^ks must be at most {6 * dist.get_world_size() - 1}, "):
        distributed_recall_at_k(x, labels, ks=(6 * dist.get_world_size(),))


def check_groups():
    """The processes of a group stand for themselves, whatever their ranks; alone without one."""
    world = dist.get_world_size()
    last = dist.new_group([world - 2, world - 1])
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(9) // 3
    if at_fault():
        assert 0 <= retrieval_metrics(x, labels, ks=(1,))["recall_at_1"] <= 1
    if dist.get_rank() < world - 2:
        with pytest.raises(ValueError, match="group must have this process as a member"):
            distributed_recall_at_k(x, labels, group=last)
        return
    mine = slice(5) if dist.get_rank(last) == 0 else slice(5, 9)
    many = distributed_recall_at_k(x[mine], labels[mine], group=last)
    assert many == recall_at_k(x, labels)
