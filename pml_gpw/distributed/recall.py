"""Recall@K of embeddings that several processes hold shards of.

Shapes: N queries and M references of all processes, n and m of them one's own, D dims, C queries
of a block.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ..evaluation.lone import same_label, warn_of_lone
from ..evaluation.metrics import METRICS
from ..evaluation.neighbors import BACKENDS, blocks
from ..evaluation.ranks import FirstRelevant
from ..evaluation.recall import recall_at_k, recalls
from ..evaluation.retrieval import (
    Retrieval,
    checked_choice,
    checked_ks,
    checked_retrieval,
    within_depth,
)
from .exchange import agree, in_step, must_be_alike, several_processes
from .shards import GroupShards


@torch.no_grad()
def distributed_recall_at_k(
    query: Tensor | np.ndarray,
    query_labels: Tensor | np.ndarray,
    reference: Tensor | np.ndarray | None = None,
    reference_labels: Tensor | np.ndarray | None = None,
    ks: Iterable[int] = (1, 2, 4, 8),
    backend: str = "auto",
    metric: str = "cosine",
    group: dist.ProcessGroup | None = None,
) -> dict[int, float]:
    """Recall@K of the shards of all processes, as :func:`recall_at_k` of them in one.

    Each process gives its shard of the queries, and of the references where there are some; sizes
    may differ, and be 0. Every process returns what ``recall_at_k`` says of the concatenation in
    the order of ranks: float64 decides between near similarities and the index among all
    references between equal ones, queries without a relevant reference are left out, and rank 0
    warns of them.

    **How.** No process holds all references. Blocks of queries go to all processes, which search
    their own shards (with FAISS, each has an index of its shard). Recall@K needs no lists of
    neighbours, only the rank of the first relevant reference of query i, and that is a sum:

    ``rank_i = Σ_shards |{ j : s_ij > s_i* or (s_ij = s_i* and j < j*) }|``

    with s_i* the largest similarity of a relevant reference and j* the first one that has it. To
    merge the K nearest exactly, shards exchange no more than s_i*, j* and their counts.

    **Cost**, per process: N·m products. Peak memory: what ``recall_at_k`` holds for m references,
    copies of a block of queries, which are 2^25 numbers or 16 queries, and 9 bytes a query. With
    embeddings of b bytes a number it receives N·(D·b + 8) bytes of queries and labels; reductions
    carry 40 bytes a query, 24 more where float64 decides, and 8·(D + 1) in all for "l2". Each
    exchange begins with one number, which says whether all is well.

    Without a process group, or in a group of one, this is ``recall_at_k``. Every process has to
    make the call.

    Args:
        query: one's own queries (n, D).
        query_labels: their classes (n,).
        reference: one's own references (m, D). Without them on any process, the queries of all
            are searched in, and each query's own row is left out.
        reference_labels: their classes (m,).
        ks: the K to compute, each at most M, or N - 1 without references.
        backend: "torch", "faiss" or "auto", as in ``recall_at_k``.
        metric: "cosine", "dot" or "l2".
        group: the process group; None: the default one.

    Returns:
        The recall in 0..1 for each K; nan if no query has a relevant reference.

    Raises:
        ValueError: on all processes, naming the first rank at fault, for what ``recall_at_k``
            refuses of one, and any other error of one; for ``ks`` out of range, and where ranks
            differ in ``ks``, metric, dims, dtype of the queries or in having references.
    """
    if not several_processes(group):
        return recall_at_k(query, query_labels, reference, reference_labels, ks, backend, metric)
    with in_step(group):
        checked_choice("backend", backend, BACKENDS)
        checked_choice("metric", metric, METRICS)
        ks = checked_ks(ks)
        shard = checked_retrieval(query, query_labels, reference, reference_labels, least=0)
        reports = agree(group, Report.on(shard, reference is not None, ks, metric))
    must_be_alike([each.alike for each in reports])
    alone = reference is None
    _not_empty(reports, alone)
    queries = GroupShards(group, [each.queries for each in reports])
    references = GroupShards(group, [each.references for each in reports])
    within_depth(ks, sum(references.sizes) - alone)
    with in_step(group):
        search = FirstRelevant(*shard[2:4], ks, metric, backend, references)
        ranks, answerable = [], []
        for block, labels, own in _blocks_of_all(shard, queries, search.longest, alone):
            found = references.total(same_label(labels, shard.reference_labels)) > (own >= 0)
            ranks.append(search.ranks(block[found], labels[found], own[found]))
            answerable.append(found)
        result = recalls(torch.cat(ranks), ks)
        if dist.get_rank(group) == 0:
            warn_of_lone(torch.cat(answerable), stacklevel=3)
        agree(group)
    return result


class Report(NamedTuple):
    """What the other processes have to know of a shard."""

    queries: int
    references: int
    alike: dict[str, Any]

    @classmethod
    def on(cls, shard: Retrieval, given: bool, ks: tuple[int, ...], metric: str) -> "Report":
        """The report on a checked shard."""
        alike = {
            "reference": "given" if given else "None",
            "ks": ks,
            "metric": metric,
            "dims": shard.query.shape[1],
            "dtype of query": shard.query.dtype,
        }
        return cls(len(shard.query), len(shard.reference), alike)


def _not_empty(reports: list[Report], alone: bool) -> None:
    for name, sizes in (
        ("query", [each.queries for each in reports]),
        ("reference", [each.references for each in reports]),
    ):
        if not any(sizes):
            raise ValueError(f"{name} must have at least one row on some rank, got none on any")


def _blocks_of_all(
    shard: Retrieval, shards: GroupShards, longest: int, alone: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The queries (C, D) of all processes in turn, their labels and own places among references."""
    query, start = shard.query, 0
    for owner, size in enumerate(shards.sizes):
        mine = owner == dist.get_rank(shards.group)
        # No larger in numbers than its similarities with the longest shard may be.
        for rows in blocks(size, max(longest, query.shape[1])):
            places = torch.arange(start, start + size, device=query.device)[rows]
            if mine:
                block, labels = query[rows], shard.query_labels[rows]
            else:
                block, labels = query.new_empty(len(places), query.shape[1]), places
            block, labels = shards.of(owner, block, labels)
            yield block, labels, places if alone else torch.full_like(places, -1)
        start += size
