"""Relevance other than labels, and ignored references, in the parts of several processes."""

import random
import warnings

import torch
import torch.distributed as dist

from pml_gpw.evaluation import dataset_metrics, retrieval_metrics
from pml_gpw.evaluation.measures import MEASURES

from ...evaluation import loops
from ...evaluation.tasks import METRICS, assert_close
from .dataset_recall import Images, Net
from .errors import at_fault, from_last, raised_on_all
from .recall import BACKENDS, cut, parts


def quiet(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, metrics=tuple(MEASURES), **options)


def judged_task(seed):
    """Tied embeddings, grades and ignored pairs; with references or without."""
    generator, draw = torch.Generator().manual_seed(seed), random.Random(seed)
    n, m = draw.randint(1, 20), draw.randint(4, 25)
    if seed % 2:
        n = m
    query = torch.randint(-1, 2, (n, 2), generator=generator).float()
    reference = None if seed % 2 else torch.randint(-1, 2, (m, 2), generator=generator).float()
    relevant = torch.randint(-2, 4, (n, m), generator=generator).clamp(min=0).double()
    ignored = torch.rand(n, m, generator=generator) < 0.2
    return query, reference, relevant, ignored, [cut(n, draw), cut(m, draw)]


def check_every_kind():
    for seed in range(24):
        query, reference, relevant, ignored, sizes = judged_task(seed)
        (mine,) = parts(sizes[0], query)
        given, ignore = parts(sizes[0], relevant, ignored)
        kind = seed % 3
        if kind == 0:  # lists of places among the references of all
            relevant = (relevant > 0).double()
            given = [row.nonzero()[:, 0].tolist() for row in given]
            ignore = [row.nonzero()[:, 0].tolist() for row in ignore]
        elif kind == 1:  # a relation, which is told places among all
            given = lambda rows, columns, m=relevant: m[rows][:, columns]  # noqa: E731
            ignore = lambda rows, columns, m=ignored: m[rows][:, columns]  # noqa: E731
        options = {"ks": (1, 3), "metric": METRICS[seed % 3], "backend": BACKENDS[seed % 2]}
        own = None if reference is not None else 0
        gallery = None if reference is None else parts(sizes[1], reference)[0]
        found = quiet(
            retrieval_metrics,
            mine,
            reference=gallery,
            relevant=given,
            ignore=ignore,
            group=dist.group.WORLD,
            **options,
        )
        options.pop("backend")
        searched = query if reference is None else reference
        wanted = loops.metrics(
            query, searched, relevant.tolist(), ignored.tolist(), own=own, **options
        )
        assert_close({name: found[name] for name in sorted(found)}, wanted)


def check_relations_of_labels():
    """Labels of any shape travel with the references."""
    generator, draw = torch.Generator().manual_seed(0), random.Random(0)
    x = torch.randn(50, 3, generator=generator)
    seen = torch.randint(4, (50, 2), generator=generator)  # identity and camera
    rules = {
        "relevant": lambda a, b: a[:, None, 0] == b[:, 0],
        "ignore": lambda a, b: (a[:, None] == b).all(dim=2),
    }
    one = quiet(retrieval_metrics, x[:20], seen[:20], x[20:], seen[20:], **rules)
    task = parts(cut(20, draw), x[:20], seen[:20]) + parts(cut(30, draw), x[20:], seen[20:])
    many = quiet(retrieval_metrics, *task, group=dist.group.WORLD, **rules)
    assert many == one
    without = quiet(retrieval_metrics, *task, group=dist.group.WORLD, relevant=rules["relevant"])
    assert without["map"] != one["map"]


def check_a_model():
    """Lists and matrices are of all images, whoever embeds them."""
    queries, gallery = Images(13), Images(31, seed=1)
    relevant = queries.labels[:, None] == gallery.labels
    lists = [row.nonzero()[:, 0].tolist() for row in relevant]
    for given in (relevant, lists, lambda a, b: a[:, None] == b):
        args = Net(), queries, gallery
        one = quiet(dataset_metrics, *args, relevant=given, ignore=relevant & False)
        many = quiet(
            dataset_metrics, *args, relevant=given, ignore=relevant & False, group=dist.group.WORLD
        )
        assert many == one == quiet(dataset_metrics, *args)


def check_one_at_fault():
    x, options = torch.randn(6, 4), {"group": dist.group.WORLD, "ks": (1,)}
    places = 6 * dist.get_world_size()
    right = [[0]] * 6
    for wrong, message in (
        ([[places]] * 6, rf"relevant must be lists of .* \[0, {places}\), got"),
        (right[1:], "relevant must be 6 lists, one a query, got 5"),
        (torch.eye(6), r"relevant must be a tensor of \(6, "),
        (lambda a, b: a, r"relevant must return a tensor of \(6, "),
    ):
        relevant = wrong if at_fault() else right
        raised_on_all(
            retrieval_metrics, x, relevant=relevant, **options, message=from_last(message)
        )
    message = "^ignore must be the same on all ranks, got None, .*given"
    ignore = right if at_fault() else None
    raised_on_all(retrieval_metrics, x, relevant=right, ignore=ignore, **options, message=message)
    relevant = torch.eye(6 * dist.get_world_size())[torch.arange(6)].roll(1, dims=1)
    assert quiet(retrieval_metrics, x, relevant=relevant, **options)


def check_the_group_is_asked_for():
    """Without a group a process stands alone, also where there are others."""
    if at_fault():
        x, labels = torch.randn(12, 3), torch.arange(12) // 3
        assert 0 <= retrieval_metrics(x, labels, ks=(1,))["recall_at_1"] <= 1
