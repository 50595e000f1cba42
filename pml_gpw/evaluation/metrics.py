"""Metrics of the references that each query retrieves, of embeddings.

Shapes: N queries and M references, of all processes where there are several, D dims.
"""

import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..distributed.exchange import Exchange, kind_of, must_be_alike
from .measures import MEASURES, Lists, columns_of, titles_of
from .options import DEFAULT, Options, check_ks_within
from .ranking import Ranking
from .relevance import checked_rule
from .retrieval import Array, RetrievalTask, checked_retrieval


def retrieval_metrics(
    query: Array,
    query_labels: Array | None = None,
    reference: Array | None = None,
    reference_labels: Array | None = None,
    ks: Iterable[int] = (1, 2, 4, 8),
    backend: str = "auto",
    metric: str = "cosine",
    group: Any = None,
    *,
    metrics: Sequence[str] = DEFAULT,
    relevant: Any = None,
    ignore: Any = None,
) -> dict[str, float]:
    """Recall@K, R-precision, MAP@R, mAP, MRR, nDCG@K …: how well queries retrieve what is relevant.

    Each metric is a mean over queries. A query has R relevant references, `r_i` of them among the i
    nearest; `g_i` is the grade of the i-th nearest, or 1 and 0 where there are no grades:

    ============== ========================================================================
    recall_at_k    `[r_K > 0]`, also known as CMC at rank K
    precision_at_k `r_K / K`
    r_precision    `r_R / R`
    map_at_r       `(1/R) Σ_{i=1..R} [g_i > 0] r_i / i`
    map            `(1/R) Σ_i [g_i > 0] r_i / i` over all ranks
    mrr            `1/i` of the first i with `g_i > 0`
    ndcg_at_k      `Σ_{i=1..K} g_i / log2(i + 1)`, over the largest that any order reaches
    ============== ========================================================================

    **Exact.** References are ordered by similarity, and equal similarities by index, the lower
    first, as a stable sort orders them. Similarities are compared in float64, and are equal where
    they differ by less than 1e-12 of the norms. So the result is the same for every back end and
    number of processes: a float32 search proposes, and where its rounding could change the result,
    float64 over all references decides. Queries without a relevant reference are left out of the
    mean, and a warning says how many there are.

    **Cost.** Lists of neighbours have the length that the metrics need: K, R or, for map and mrr,
    all M references. Peak memory beyond the embeddings: copies of them in float32, and in float64
    if needed, and a few blocks of 128 MiB; where ``relevant`` or ``ignore`` is given, blocks of
    their matrix as well.

    **Several processes.** With a ``group``, each process gives its own queries, and its own
    references where there are some; sizes may differ, and may be 0. Every process returns what one
    process returns for the concatenation in the order of ranks: each gathers the references of all
    and ranks them for its own queries. All processes have to make the call.

    Shapes: ``query`` (N, D), ``query_labels`` (N,), ``reference`` (M, D), ``reference_labels``
    (M,); tensors or arrays, embeddings floating point or integers, labels integers.

    Args:
        query: the embeddings to search for.
        query_labels: the labels of ``query``; not needed where ``relevant`` is given.
        reference: the embeddings to search in. Without them the queries are searched in, and each
            query's own row is left out; with them, no row is left out.
        reference_labels: the labels of ``reference``.
        ks: the K to compute, each at most M, or N - 1 without a reference.
        backend: "torch", a matrix product in blocks; "faiss", ``IndexFlatIP`` on the CPU, with
            ``pip install "pml-gpw[faiss]"``; "auto" is "faiss" where it is installed and the
            embeddings are on the CPU of a Linux machine, else "torch", which computes where the
            embeddings are. Measured on a CPU, in units of the matrix product alone: FAISS 0.9 up
            to K = 32 and 1.0 at K = 1000, torch 1.2 and 1.6.
        metric: the similarity: "cosine", "dot" (inner product) or "l2" (Euclidean distance).
        group: a process group, such as ``torch.distributed.group.WORLD``; None: this process alone.
        metrics: names of the table above.
        relevant: which references are relevant, in place of those with the label of the query. One
            of: a list of indices of references for each query, or a mapping from each index to its
            grade; a relation, that is a function from the labels (C, …) of some queries and those
            (M, …) of all references to a matrix (C, M), such as those of :mod:`pml_gpw.relations`,
            which is told indices where there are no labels; a matrix (N, M). Booleans, or grades:
            > 0 is relevant, 0 not, NaN is ignored. With a ``group``, lists and matrices are of the
            queries of this process and the references of all.
        ignore: references that a query passes over, so that they are neither a hit nor take a rank;
            given in the same ways, without grades.

    Returns:
        ``recall_at_1`` and so on for each name and K, each in 0..1; nan if no query has a relevant
        reference.

    Raises:
        ValueError: for NaN or Inf, shapes that do not fit, labels that are not integers, ``ks`` out
            of range, an unknown backend, metric or name, indices out of range, grades below 0. With
            a group on all processes, naming the first rank at fault, and where ranks differ in
            options, dims, dtypes or in having references.
        ImportError: for ``backend="faiss"`` without faiss.

    Example:
        >>> import torch
        >>> from pml_gpw.evaluation import retrieval_metrics
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> labels = torch.tensor([0, 1, 0, 1])
        >>> retrieval_metrics(embeddings, labels, ks=(1, 2), metric="l2")
        {'recall_at_1': 0.0, 'recall_at_2': 0.75, 'r_precision': 0.0, 'map_at_r': 0.0}
        >>> found = [[1], [3, 0], [0], [1]]  # what is relevant to each
        >>> retrieval_metrics(embeddings, relevant=found, metrics=("mrr",), metric="l2")
        {'mrr': 0.75}

    References: Jégou, Douze, Schmid, Product quantization for nearest neighbor search, 2011
    (Recall@K); Musgrave, Belongie, Lim, A metric learning reality check, 2020 (MAP@R); Zheng et
    al., Scalable person re-identification, 2015 (CMC and mAP); Järvelin, Kekäläinen, Cumulated
    gain-based evaluation of IR techniques, 2002 (nDCG).
    """
    exchange = Exchange(group)
    with exchange.errors():
        options = Options(ks, backend, metric, metrics, relevant, ignore)
        given = query, query_labels, reference, reference_labels
        task = checked_retrieval(*given, relevant=relevant, parts=exchange.world)
    return task_metrics(exchange, task, options)


def recall_at_k(query: Array, *args: Any, **options: Any) -> dict[int, float]:
    """Recall@K: the share of queries with a relevant reference among their K nearest.

    `Recall@K = (1/N) Σ_i [r_iK > 0]`

    with `r_iK` the number of relevant references among the K nearest of query i.

    Arguments and errors are those of :func:`retrieval_metrics`.

    >>> import torch
    >>> from pml_gpw.evaluation import recall_at_k
    >>> embeddings = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    >>> recall_at_k(embeddings, torch.tensor([0, 1, 0, 1]), ks=(1, 2, 3), metric="l2")
    {1: 0.0, 2: 0.75, 3: 1.0}
    """
    return by_k(retrieval_metrics(query, *args, metrics=("recall_at_k",), **options))


def by_k(found: dict[str, float]) -> dict[int, float]:
    """``{1: …}`` of ``{"recall_at_1": …}``."""
    return {int(name.rpartition("_")[2]): value for name, value in found.items()}


def map_at_r(query: Array, *args: Any, **options: Any) -> float:
    """MAP@R: the mean average precision at R, the number of relevant references of each query.

    `MAP@R = (1/N) Σ_i (1/R_i) Σ_{k=1..R_i} P_i(k)`

    with `P_i(k)` the precision of the k nearest references of query i where the k-th is relevant,
    and 0 elsewhere. Arguments and errors are those of :func:`retrieval_metrics`, without ``ks``.

    Two references are relevant, the nearest and the third: (1/1 + 0) / 2.

    >>> import torch
    >>> from pml_gpw.evaluation import map_at_r
    >>> gallery, gallery_labels = torch.tensor([[0.0], [3.0], [4.0]]), torch.tensor([0, 1, 0])
    >>> map_at_r(torch.zeros(1, 1), torch.tensor([0]), gallery, gallery_labels, metric="l2")
    0.5
    """
    return _without_ks("map_at_r", query, *args, **options)


def r_precision(query: Array, *args: Any, **options: Any) -> float:
    """R-precision: the share of relevant references among the R nearest.

    `(1/N) Σ_i r_i / R_i`

    with `R_i` the number of relevant references of query i, and `r_i` how many of them are among
    the `R_i` nearest. Where every R is 1, this is Recall@1. Arguments and errors are those of
    :func:`retrieval_metrics`, without ``ks``.

    Of the two nearest of the query, 0 and 3, one is relevant.

    >>> import torch
    >>> from pml_gpw.evaluation import r_precision
    >>> gallery, gallery_labels = torch.tensor([[0.0], [3.0], [4.0]]), torch.tensor([0, 1, 0])
    >>> r_precision(torch.zeros(1, 1), torch.tensor([0]), gallery, gallery_labels, metric="l2")
    0.5
    """
    return _without_ks("r_precision", query, *args, **options)


def _without_ks(name: str, *args: Any, **options: Any) -> float:
    options |= zip(("backend", "metric", "group"), args[4:], strict=False)
    return retrieval_metrics(*args[:4], metrics=(name,), **options)[name]


@torch.no_grad()
def task_metrics(exchange: Exchange, task: RetrievalTask, options: Options) -> dict[str, float]:
    """The metrics of the parts of all processes, from the checked task of this one."""
    is_self = task.self_index is not None
    alike = vars(options) | {
        "query": kind_of(task.query),
        "reference": "None" if is_self else kind_of(task.reference),
        "query_labels": kind_of(task.query_labels),
    }
    for name in ("relevant", "ignore"):
        alike[name] = "None" if alike[name] is None else "given"
    parts = exchange.tell((len(task.query), len(task.reference), alike))
    must_be_alike([each for _, _, each in parts])
    queries, references = (tuple(part[side] for part in parts) for side in (0, 1))
    for name, sizes in (("query", queries), ("reference", references)):
        if not any(sizes):
            raise ValueError(f"{name} must have at least one row on some rank, got none on any")
    check_ks_within(options.ks, sum(references) - is_self)
    with exchange.errors():
        task = task.gathered(exchange, (queries, references))
        names = columns_of(options.metrics, options.ks)
        like = task.query.new_empty((0, len(names)), dtype=torch.float64)
        values = exchange.expect((queries, like))
        for name in ("relevant", "ignore"):
            if (rule := getattr(options, name)) is not None:
                labels = task.query_labels, task.reference_labels
                checked: Any = {name: checked_rule(name, rule, labels)}
                task = replace(task, **checked)
        (every,) = values.send(query_values(task, options))
    has_relevant = ~every[:, 0].isnan()
    if exchange.rank == 0:
        warn_without_relevant(has_relevant, options.metrics)
    means = (column.contiguous().mean().item() for column in every[has_relevant].unbind(dim=1))
    return dict(zip(names, means, strict=True))


def query_values(task: RetrievalTask, options: Options) -> Tensor:
    """The value of each metric and K of each query, (N, ·) in float64, or NaN."""
    num_relevant, left_out = task.counts()
    num_compared = len(task.reference) - left_out
    largest_k = torch.full_like(left_out, max(options.ks, default=0))
    looks_at = {"k": largest_k, "r": num_relevant, "all": num_compared}
    depths = torch.stack([looks_at[MEASURES[name].depth] for name in options.metrics]).amax(dim=0)
    depths = depths.minimum(num_compared).masked_fill(num_relevant == 0, 0)
    columns = columns_of(options.metrics, options.ks)
    values = task.query.new_full((len(task.query), len(columns)), torch.nan, dtype=torch.float64)
    ranking = Ranking(task, options.metric, options.backend)
    for rows, grades in ranking.lists(depths, left_out):
        ideal = None
        if "ndcg_at_k" in options.metrics:
            ideal = task.grades(rows).nan_to_num(0.0).topk(max(options.ks), dim=1).values
        lists = Lists(grades, num_relevant[rows], ideal)
        values[rows] = torch.stack([of(lists) for of in columns.values()], dim=1)
    return values


def warn_without_relevant(has_relevant: Tensor, names: Sequence[str]) -> None:
    """Warn of the queries that ``has_relevant`` (N,) leaves out of the mean, if any.

    ``names``: of the metrics. The warning points at the first caller outside of this package.
    """
    count = int((~has_relevant).sum())
    if not count:
        return
    titles, consequence = titles_of(names), ""
    if count == len(has_relevant):
        consequence = f", which leaves none: {titles} {'are' if ' and ' in titles else 'is'} nan"
    inside, level, frame = ("pml_gpw.", "torch.", "pytorch_metric_learning."), 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(inside):
        level, frame = level + 1, frame.f_back
    warnings.warn(
        f"{count} of {len(has_relevant)} queries have no relevant reference and are left out "
        f"of {titles}{consequence}",
        stacklevel=level,
    )
