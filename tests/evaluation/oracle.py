"""The metrics from their definitions: rational arithmetic, python loops and a stable sort."""

from fractions import Fraction
from math import fsum, nan


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


def recall_at_k(query, query_labels, reference=None, reference_labels=None, *, ks, metric="cosine"):
    leave_one_out = reference is None
    if leave_one_out:
        reference, reference_labels = query, query_labels
    query, reference = rows(query), rows(reference)
    query_labels, reference_labels = query_labels.tolist(), reference_labels.tolist()
    hits = {k: [] for k in ks}
    for i, label in enumerate(query_labels):
        order = nearest(query[i], reference, metric, self_index=i if leave_one_out else None)
        relevant = [reference_labels[j] == label for j in order]
        if any(relevant):
            for k in ks:
                hits[k].append(any(relevant[:k]))
    return {k: sum(found) / len(found) if found else nan for k, found in hits.items()}


def precisions(query, query_labels, reference=None, reference_labels=None, *, metric="cosine"):
    """R-precision and AP@R of each query that has a relevant reference, as lists of floats."""
    leave_one_out = reference is None
    if leave_one_out:
        reference, reference_labels = query, query_labels
    query, reference = rows(query), rows(reference)
    query_labels, reference_labels = query_labels.tolist(), reference_labels.tolist()
    r_precisions, average_precisions = [], []
    for i, label in enumerate(query_labels):
        order = nearest(query[i], reference, metric, self_index=i if leave_one_out else None)
        relevant = [reference_labels[j] == label for j in order]
        r = sum(relevant)
        if r:
            r_precisions.append(sum(relevant[:r]) / r)
            total = 0.0
            for k in range(1, r + 1):
                if relevant[k - 1]:
                    total += sum(relevant[:k]) / k
            average_precisions.append(total / r)
    return r_precisions, average_precisions


def retrieval_metrics(*task, ks, metric="cosine"):
    recalls = recall_at_k(*task, ks=ks, metric=metric)
    found = dict(zip(("r_precision", "map_at_r"), precisions(*task, metric=metric), strict=True))
    means = {name: fsum(of) / len(of) if of else nan for name, of in found.items()}
    return {f"recall_at_{k}": recall for k, recall in recalls.items()} | means
