"""The metrics by name: each a number of a query, from the grades of its nearest references.

Shapes: C queries of a block, L references of the list of a query.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor


class Lists(NamedTuple):
    """The nearest references of some queries, the nearest first.

    ``grades`` (C, L): how relevant each is, > 0 or not; ``num_relevant`` (C,): R, how many of all
    references are relevant, at least 1; ``ideal`` (C, ≥ K): the largest grades of all references.
    """

    grades: Tensor
    num_relevant: Tensor
    ideal: Tensor | None = None

    def hits(self, at_r: bool = False) -> Tensor:
        """True where one of the nearest, or of the R nearest, is relevant, (C, L)."""
        hits = self.grades > 0
        return hits & (self.places() <= self.num_relevant[:, None]) if at_r else hits

    def places(self) -> Tensor:
        """1, 2, 3, …, (L,)."""
        return torch.arange(1, self.grades.shape[1] + 1, device=self.grades.device)


def recall(lists: Lists, k: int) -> Tensor:
    """1 where one of the K nearest is relevant, else 0."""
    return lists.hits()[:, :k].any(dim=1).double()


def precision(lists: Lists, k: int) -> Tensor:
    """The share of relevant ones among the K nearest."""
    return lists.hits()[:, :k].double().sum(dim=1) / k


def ndcg(lists: Lists, k: int) -> Tensor:
    """DCG@K, ``Σ_{i=1..K} g_i / log2(i + 1)`` of the grades, over that of the best order."""
    assert lists.ideal is not None
    return _dcg(lists.grades[:, :k]) / _dcg(lists.ideal[:, :k])


def _dcg(grades: Tensor) -> Tensor:
    places = torch.arange(1, grades.shape[1] + 1, dtype=torch.float64, device=grades.device)
    return (grades / torch.log2(places + 1)).cumsum(dim=1)[:, -1]


def r_precision(lists: Lists) -> Tensor:
    """The share of relevant ones among the R nearest."""
    return lists.hits(at_r=True).sum(dim=1) / lists.num_relevant.double()


def average_precision(lists: Lists, at_r: bool = False) -> Tensor:
    """``(1/R) Σ_i [i-th is relevant] r_i / i``, r_i relevant among the i nearest, or i ≤ R."""
    hits = lists.hits(at_r)
    precisions = (hits.cumsum(dim=1) / lists.places().double()).masked_fill_(~hits, 0.0)
    # Unlike sum, in the order of the list: neither its length nor the size of blocks changes a
    # digit.
    return precisions.cumsum(dim=1)[:, -1] / lists.num_relevant


def reciprocal_rank(lists: Lists) -> Tensor:
    """One over the rank of the first relevant reference."""
    return 1.0 / (lists.hits().byte().argmax(dim=1) + 1).double()


class Measure(NamedTuple):
    """A metric: its name in texts, its function, and how many of the nearest it looks at."""

    title: str
    of: Callable[..., Tensor]
    depth: str  # "k", "r" or "all"


MEASURES = {
    "recall_at_k": Measure("Recall@K", recall, "k"),
    "precision_at_k": Measure("precision@K", precision, "k"),
    "ndcg_at_k": Measure("nDCG@K", ndcg, "k"),
    "r_precision": Measure("R-precision", r_precision, "r"),
    "map_at_r": Measure("MAP@R", partial(average_precision, at_r=True), "r"),
    "map": Measure("mAP", average_precision, "all"),
    "mrr": Measure("MRR", reciprocal_rank, "all"),
}


def columns_of(names: Iterable[str], ks: Iterable[int]) -> dict[str, Callable[[Lists], Tensor]]:
    """The function of each value: ``recall_at_1``, …, for the names of metrics and the K."""
    columns: dict[str, Callable[[Lists], Tensor]] = {}
    for name in names:
        measure = MEASURES[name]
        if measure.depth == "k":
            columns |= {name.removesuffix("k") + str(k): partial(measure.of, k=k) for k in ks}
        else:
            columns[name] = measure.of
    return columns


def titles_of(names: Iterable[str]) -> str:
    """The metrics as a text says them: ``Recall@K, R-precision and MAP@R``."""
    *first, last = [MEASURES[name].title for name in names]
    return f"{', '.join(first)} and {last}" if first else last
