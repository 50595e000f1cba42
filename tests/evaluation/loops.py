"""The metrics from their definitions, for relevance and ignored references of any kind: loops."""

from math import fsum, log2, nan

from . import oracle


def dcg(grades):
    return fsum(grade / log2(place + 1) for place, grade in enumerate(grades, start=1))


def metrics(query, reference, relevant, ignored, *, ks, metric="cosine", own=None):
    """Each metric by name, from grades ``relevant[i][j]`` and pairs ``ignored[i][j]``.

    ``own``: the place of query 0 among the references, where its own row is left out.
    """
    query, reference = oracle.rows(query), oracle.rows(reference)
    values = {}
    for i, vector in enumerate(query):
        order = oracle.nearest(vector, reference, metric, None if own is None else own + i)
        order = [j for j in order if not ignored[i][j] and relevant[i][j] == relevant[i][j]]
        grades = [float(relevant[i][j]) for j in order]
        hits = [grade > 0 for grade in grades]
        if any(hits):
            for name, value in of_one_query(grades, hits, ks).items():
                values.setdefault(name, []).append(value)
    names = of_one_query([1.0], [True], ks)
    return {
        name: fsum(values[name]) / len(values[name]) if values else nan for name in sorted(names)
    }


def of_one_query(grades, hits, ks):
    total = sum(hits)
    precisions = [
        sum(hits[: place + 1]) / (place + 1) if hit else 0.0 for place, hit in enumerate(hits)
    ]
    best = sorted(grades, reverse=True)
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
