"""The pairs of all anchors, chunk by chunk, so that no large N×M matrix is held.

Shapes: N anchors, M references, D dims, C rows of a chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import checks
from ..mining import PairMining
from ..mining.base import mine_rows
from ..value_checks import may_look
from ..weightings import DenseRows, Rows
from ..weightings.pair_rows import WHOLE, Origin
from ..weightings.sparse_rows import SPARSE_DENSITY
from .index_pairs import IndexPairs
from .label_pairs import LabelPairs
from .pairs import Pairs
from .sparse import listed_rows, sparse_limit
from .symmetric import mined_within_batch
from .unit_rows import unit_rows

CHUNK_ELEMENTS = 2**21
"""Similarities held at a time on a CPU: in float32 8 MB, as its cache holds."""

ACCELERATOR_CHUNK_ELEMENTS = 2**25
"""Similarities held at a time elsewhere, at most: in float32 128 MB, enough to keep it busy."""

HELD_ELEMENTS = 2**24
"""Weights of a batch with itself that are held until one product takes both their sides, at most:
in float32 64 MB. Beyond, each chunk needs a product for either."""

CHUNK_BYTES = 32
"""Memory that a dense chunk takes for each of its similarities, with all that is made of it."""

LEAST_ROWS = 64
"""Anchors per chunk at least, where each chunk adds to the gradients of all references."""

SMALL = 2**15
"""Matrices up to this size are faster masked than searched for the pairs that count."""

LAYOUTS = ("auto", "dense", "searched", "sparse")
Chunk = tuple[slice, Rows, Rows]


@dataclass(frozen=True)
class Plan:
    """How the engine goes through the anchors.

    Args:
        chunk_size: anchors per chunk; None: as many as suit the device.
        fused: whether rows go through ``torch.compile``; None: where that pays, see
            :mod:`~pml_gpw.engine.fused`.
        layout: "dense": masked rows, chunk by chunk; "searched": rows in the layout that suits
            their number of pairs, chunk by chunk; "sparse": all pairs at once, without the products
            of the others, where that is possible; "auto": what is fastest.

    Errors: ValueError for another layout.

    >>> Plan(chunk_size=256)
    Plan(chunk_size=256, layout='auto', fused=None)
    """

    chunk_size: int | None = None
    layout: str = "auto"
    fused: bool | None = None

    def __post_init__(self) -> None:
        checks.one_of("layout", self.layout, LAYOUTS)


AUTO = Plan()


@dataclass(frozen=True, eq=False)
class StreamedBatch:
    """What is streamed: inner products of anchors and references, their pairs, and which are kept.

    Args:
        x: (N, D).
        y: (M, D); ``y is x`` in self-comparison.
        pairs: positives and negatives before mining.
        mining: which of them are kept.
        origin: of the first anchor.
        plan: how to go through them.
        normalized: whether the rows of ``x`` and ``y`` are scaled to norm 1 first.
        needs_gradient: whether gradients are formed of the references.

    >>> import torch
    >>> from pml_gpw.engine import LabelPairs
    >>> labels = torch.tensor([0, 0, 1])
    >>> x, pairs = torch.eye(3), LabelPairs(labels, labels)
    >>> StreamedBatch(x, x, pairs, plan=Plan(2)).chunk_size
    2
    """

    x: Tensor
    y: Tensor
    pairs: Pairs
    mining: PairMining | None = None
    origin: Origin = WHOLE
    plan: Plan = AUTO
    normalized: bool = False
    needs_gradient: bool = False

    @property
    def may_hold_all_weights(self) -> bool:
        """Whether the weights of all anchors may be held at once, which saves a product."""
        is_small = self.y is self.x and len(self.x) ** 2 <= HELD_ELEMENTS
        return self.needs_gradient and self.plan.chunk_size is None and is_small

    @property
    def chunk_size(self) -> int:
        """The anchors per chunk."""
        if self.plan.chunk_size is not None:
            return self.plan.chunk_size
        least = LEAST_ROWS if self.needs_gradient else 16
        most = chunk_elements(self.y.device, len(self.x) * len(self.y))
        return max(least, most // max(1, len(self.y)))

    def of(self, x: Tensor, y: Tensor, normalized: bool = False) -> "StreamedBatch":
        """The same pairs of other matrices."""
        rules = self.pairs, self.mining, self.origin, self.plan
        return StreamedBatch(x, y, *rules, normalized, self.needs_gradient)

    def with_unit_rows(self) -> "StreamedBatch":
        """The same inner products of rows that are scaled already."""
        if not self.normalized:
            return self
        x = unit_rows(self.x)
        return self.of(x, x if self.y is self.x else unit_rows(self.y))


def chunk_elements(device: torch.device, all_elements: int) -> int:
    """How many similarities to hold at a time.

    On accelerators a matrix of more than 128 MB goes in parts that fit into half of the free
    memory, for which the driver is asked.
    """
    if device.type == "cpu":
        return CHUNK_ELEMENTS
    if device.type != "cuda" or all_elements <= ACCELERATOR_CHUNK_ELEMENTS:
        return ACCELERATOR_CHUNK_ELEMENTS
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(ACCELERATOR_CHUNK_ELEMENTS, free // (2 * CHUNK_BYTES))


def iter_products(
    streamed: StreamedBatch, whole: Tensor | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """The anchors and similarities (C, M) of each chunk, in one buffer: valid until the next.

    ``whole`` (N, M): where they stand side by side, and stay valid.
    """
    x, y = streamed.x, streamed.y
    n, m = x.shape[0], y.shape[0]
    size = max(1, min(streamed.chunk_size, n))
    buffer = x.new_empty((size, m)) if whole is None else whole
    for start in range(0, n, size):
        anchors = slice(start, min(start + size, n))
        place = slice(0, anchors.stop - start) if whole is None else anchors
        if size == n:
            yield anchors, torch.mm(x, y.T, out=buffer)
        else:
            yield anchors, torch.mm(x[anchors], y.T, out=buffer[place])


def iter_chunks(streamed: StreamedBatch, needs_dense: bool = False) -> Iterator[Chunk]:
    """The anchors, positive rows and negative rows of each chunk, valid until the next one.

    ``needs_dense``: rows come masked, whatever their number of pairs.

    >>> import torch
    >>> from pml_gpw.engine import LabelPairs
    >>> labels = torch.tensor([0, 0, 1])
    >>> x, pairs = torch.eye(3), LabelPairs(labels, labels)
    >>> streamed = StreamedBatch(x, x, pairs, plan=Plan(2))
    >>> [(anchors, neg.count().tolist()) for anchors, pos, neg in iter_chunks(streamed)]
    [(slice(0, 2, None), [1.0, 1.0]), (slice(2, 3, None), [2.0])]
    """
    streamed = streamed.with_unit_rows()
    x, y, plan = streamed.x, streamed.y, streamed.plan
    needs_dense = needs_dense or plan.layout == "dense"
    if streamed.mining is not None and streamed.mining.needs_dense:
        needs_dense = True
    n, m = x.shape[0], y.shape[0]
    if plan.layout == "auto" and (n * m <= SMALL or not may_look(x)):
        needs_dense = True  # to search for pairs is to wait for their number
    if not needs_dense and plan.layout != "searched":
        rows = _all_at_once(streamed)
        if rows is not None:
            yield slice(0, n), *_mined(*rows, slice(0, n), streamed)
            return
    for anchors, sim in iter_products(streamed):
        rows = _masked(sim, anchors, streamed) if needs_dense else _searched(sim, anchors, streamed)
        yield anchors, *_mined(*rows, anchors, streamed)


def _all_at_once(streamed: StreamedBatch) -> tuple[Rows, Rows] | None:
    """The candidate rows of all anchors, where they are few and quicker than all products."""
    x, y, pairs = streamed.x, streamed.y, streamed.pairs
    density = 1.0 if streamed.plan.layout == "sparse" else SPARSE_DENSITY
    most = sparse_limit(len(x), len(y), density)
    if isinstance(pairs, IndexPairs):
        if sum(len(places) for places in pairs.places) > most:
            return None
        return listed_rows(x, y, pairs)
    if (
        not (isinstance(pairs, LabelPairs) and pairs.symmetric and y is x)
        or streamed.mining is None
    ):
        return None
    if streamed.plan.layout == "auto" and len(x) <= streamed.chunk_size:
        return None
    return mined_within_batch(x, pairs, streamed.mining, streamed.chunk_size, most)


def _masked(sim: Tensor, anchors: slice, streamed: StreamedBatch) -> tuple[Rows, Rows]:
    pos, neg = streamed.pairs.masks(anchors)
    return DenseRows(sim, pos), DenseRows(sim, neg)


def _searched(sim: Tensor, anchors: slice, streamed: StreamedBatch) -> tuple[Rows, Rows]:
    return streamed.pairs.rows(sim, anchors, streamed.mining)


def _mined(pos: Rows, neg: Rows, anchors: slice, streamed: StreamedBatch) -> tuple[Rows, Rows]:
    origin = streamed.origin.at(anchors)
    return mine_rows(pos.with_origin(origin), neg.with_origin(origin), streamed.mining)
