"""The metrics from their definitions: rational arithmetic, python loops and a stable sort."""

from fractions import Fraction
from math import fsum, log2, nan


def similarity(query, reference, metric):
    """A number that orders references for one query as the metric does, without rounding."""
    product = sum(q * r for q, r in zip(query, reference, strict=True))
    if metric == "dot":
        return product
    if metric == "l2":
        return -sum((q - r) ** 2 for q, r in zip(query, reference, strict=True))
    squares = sum(r * r for r in reference)
    return product * abs(product) / squares if squares else Fraction(0)


def rows(tensor):
    return [[Fraction(value) for value in row] for row in tensor.double().tolist()]


def nearest(query, reference, metric, self_index=None):
    """Indices of references, most similar first, the lower index first where similarities tie."""
    order = sorted(range(len(reference)), key=lambda j: -similarity(query, reference[j], metric))
    return [j for j in order if j != self_index]


def by_query(query, reference, relevant, ignored=None, *, ks=(), metric="cosine"):
    """The metrics of each query that has a relevant reference, by name.

    From grades ``relevant[i][j]`` and pairs ``ignored[i][j]``; the queries are the references, and
    their own rows left out, where ``reference`` is None.
    """
    is_self = reference is None
    query, reference = rows(query), rows(query if is_self else reference)
    for i, vector in enumerate(query):
        order = nearest(vector, reference, metric, i if is_self else None)
        kept = (relevant[i][j] for j in order if ignored is None or not ignored[i][j])
        grades = [float(grade) for grade in kept if grade == grade]
        if any(grade > 0 for grade in grades):
            yield of_one_query(grades, ks)


def of_one_query(grades, ks):
    hits = [grade > 0 for grade in grades]
    total, best = sum(hits), sorted(grades, reverse=True)
    precisions = [sum(hits[:k]) / k if hits[k - 1] else 0.0 for k in range(1, len(hits) + 1)]
    found = {
        "r_precision": sum(hits[:total]) / total,
        "map_at_r": fsum(precisions[:total]) / total,
        "map": fsum(precisions) / total,
        "mrr": 1 / (hits.index(True) + 1),
    }
    for k in ks:
        found[f"recall_at_{k}"] = float(any(hits[:k]))
        found[f"precision_at_{k}"] = sum(hits[:k]) / k
        found[f"ndcg_at_{k}"] = dcg(grades[:k]) / dcg(best[:k])
    return found


def dcg(grades):
    return fsum(grade / log2(place + 1) for place, grade in enumerate(grades, start=1))


def metrics(*task, ks, metric="cosine"):
    """The mean of each metric over queries, sorted by name; arguments of :func:`by_query`."""
    found = [*by_query(*task, ks=ks, metric=metric)]
    names = sorted(of_one_query([1.0], ks))
    return {name: fsum(of[name] for of in found) / len(found) if found else nan for name in names}


def graded(query, query_labels, reference=None, reference_labels=None):
    """The task of equal labels in grades."""
    others = query_labels if reference is None else reference_labels
    return query, reference, (query_labels[:, None] == others).tolist()


def retrieval_metrics(*task, ks, metric="cosine"):
    found = metrics(*graded(*task), ks=ks, metric=metric)
    names = [*(f"recall_at_{k}" for k in ks), "r_precision", "map_at_r"]
    return {name: found[name] for name in names}


def precisions(*task, metric="cosine"):
    """R-precision and AP@R of each query that has a relevant reference, as lists of floats."""
    found = [*by_query(*graded(*task), metric=metric)]
    return tuple([of[name] for of in found] for name in ("r_precision", "map_at_r"))
