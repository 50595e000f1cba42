"""The one decision of the engine: which program computes a batch.

Shapes: N anchors, M references, D dims.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import checks
from ..mining import PairMining
from ..value_checks import host_can_read
from ..weightings import PairWeighting, RowLoss, Rows
from ..weightings.base import Counts, NeedsCosine, Trained, every_anchor
from ..weightings.pair_rows import RowContext
from .batch import PairBatch
from .index_pairs import IndexPairs
from .pairs import Pairs
from .reduction import NONE, Reduction
from .similarity import Similarity
from .weighted_pairs import WeightedPairs

#: Some anchors, their positive and their negative rows.
Chunk = tuple[slice, Rows, Rows]
#: The gradients of the losses of all anchors (N,), or how they follow from the losses; None: 1.
Upstream = Tensor | Counts | None

MATRIX, DENSE, SPARSE_ROWS, SPARSE_BATCH = "matrix", "dense", "sparse rows", "sparse batch"
LAYOUTS = ("auto", DENSE, SPARSE_ROWS, SPARSE_BATCH)

#: Similarities held at a time on a CPU: in float32 8 MB, as its cache holds.
CHUNK_ELEMENTS = 2**21
#: Similarities held at a time elsewhere, at most: in float32 128 MB, enough to keep it busy.
ACCELERATOR_CHUNK_ELEMENTS = 2**25
#: Memory that a dense chunk takes for each of its similarities, with all that is made of it.
CHUNK_BYTES = 32
#: Anchors per chunk at least, where each chunk adds to the gradients of all references.
LEAST_ROWS = 64
#: Weights of a batch with itself that are held until one product takes both their sides, at most:
#: in float32 64 MB. Beyond, each chunk needs a product for either.
HELD_ELEMENTS = 2**24
#: Matrices up to this size are faster as dense rows than searched for the pairs that count.
SMALL = 2**15
#: Below this share of pairs that count sparse rows are faster than dense ones (2-core CPU).
SPARSE_DENSITY = 0.08
#: Positives, and negatives, of a sparse batch: some 200 MB with what they are made into.
MOST_PAIRS = 2**21
#: Devices on which rows are compiled unless somebody says otherwise. On a CPU compiling takes
#: seconds, and a batch whose mining leaves few pairs is quicker without.
DEVICES = ("cuda", "xpu")


@dataclass(frozen=True)
class Plan:
    """The wishes of a caller for a computation.

    Args:
        chunk_size: anchors per chunk; None: as many as suit the device.
        layout: "dense": masked rows, chunk by chunk; "sparse rows": rows in the layout that suits
            their number of pairs, chunk by chunk; "sparse batch": all pairs at once, without the
            products of the others, where that is possible; "auto": what is fastest.
        fused: whether rows go through ``torch.compile``; None: where that pays.

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


def factors(upstream: Upstream, anchors: slice, *found: Tensor) -> Tensor | None:
    """The gradients (C, 1) of the losses of some anchors; None: 1 each.

    ``found``: their losses and numbers of pairs, (C,) each.
    """
    if upstream is None or upstream is every_anchor:
        return None
    some = upstream[anchors] if isinstance(upstream, Tensor) else upstream(*found)
    return some.unsqueeze(1)


class Program(NamedTuple):
    """A batch without its embeddings: its pairs, the rules for them, and how they are computed."""

    pairs: Pairs
    context: RowContext
    weighting: Any  # a PairWeighting; None: to mine alone
    mining: PairMining | None
    reduction: Reduction  # what will be made of the losses
    #: "dense", "sparse rows" or "sparse batch" as in a plan, or "matrix": by the gradient of a
    #: matrix of similarities.
    layout: str
    #: Anchors per chunk.
    chunk_size: int = 0
    #: Whether embeddings are scaled to norm 1 first.
    normalizes: bool = False
    #: Whether inner products might overflow and are looked at.
    checks_products: bool = False
    #: Whether dense rows go through ``torch.compile``.
    is_compiled: bool = False
    #: Whether it is an error where they cannot.
    is_strict: bool = False
    #: Whether normalisation and both products are in the compiled function as well.
    is_one_graph: bool = False
    #: Whether dense weights of all anchors are held, so that one product takes both their sides.
    holds_all_weights: bool = False
    #: Values in place of fields of the weighting: () each, or (N,), one for each anchor.
    trained: Mapping[str, Tensor] = MappingProxyType({})
    #: Pairs of a batch, or of a side of a matrix, that are held as lists, at most.
    most_pairs: int = 0

    def trained_at(self, anchors: slice, upstream: Upstream) -> Trained:
        """The trained values of some anchors, with the upstream gradients of all."""
        values = {name: v[anchors] if v.ndim else v for name, v in self.trained.items()}
        if isinstance(upstream, Tensor):
            upstream = upstream[anchors] if values else None
        return Trained(values, upstream, self.reduction.sums_weights)


def choose_program(
    batch: PairBatch,
    weighting: PairWeighting | None,
    mining: PairMining | None,
    similarity: Similarity,
    plan: Plan = AUTO,
    reduction: Reduction = NONE,
) -> Program:
    """The program for a batch, from facts about batch, rules and device; nobody else decides.

    ``weighting``: None where the batch is to be mined alone; ``reduction``: what will be
    made of the losses.

    >>> import torch
    >>> from pml_gpw.engine import InnerProduct, LabelPairs
    >>> from pml_gpw.weightings import Constant
    >>> x, labels = torch.eye(300), torch.arange(300)
    >>> batch = PairBatch(x, x, LabelPairs(labels, labels))
    >>> choose_program(batch, Constant(), None, InnerProduct()).layout
    'sparse rows'
    """
    rules: Any = weighting, mining
    pairs, device, same = batch.pairs, batch.anchors.device, batch.references is batch.anchors
    if weighting is not None and weighting.of_unit_rows and not similarity.may_be_cosine:
        raise NeedsCosine(weighting)
    if similarity.is_negated_distance:
        rules = [None if rule is None else rule.for_negated_distances() for rule in rules]
    context = RowContext(batch.first_anchor, batch.key, pairs.self_index)
    needs_dense = isinstance(pairs, WeightedPairs) or any(r and r.needs_dense for r in rules)
    n, m = pairs.shape
    few = min(MOST_PAIRS, int(SPARSE_DENSITY * n * m))
    program = Program(pairs, context, rules[0], rules[1], reduction, MATRIX, most_pairs=few)
    if not similarity.is_inner_product or torch.compiler.is_compiling():
        # In a user's graph a loop over chunks would be another graph for each N.
        if needs_dense or DENSE in (plan.layout, _fastest_layout(batch, mining, n)):
            return program._replace(most_pairs=0)
        return program
    normalizes = similarity.normalized
    needs_gradient = batch.references.requires_grad and torch.is_grad_enabled()
    chunk_size = plan.chunk_size or default_chunk_size(device, n, m, needs_gradient)
    if isinstance(weighting, RowLoss) and plan.chunk_size is None:
        chunk_size = max(1, 3 * chunk_size // 4)  # autograd holds more of a chunk
    is_small = n * n <= HELD_ELEMENTS and plan.chunk_size is None
    holds_all = same and needs_gradient and (is_small or chunk_size >= n)
    checks_products = not normalizes and _may_overflow(batch)
    fused = device.type in DEVICES if plan.fused is None else plan.fused
    is_compiled = weighting is not None and fused
    is_whole = normalizes and pairs.symmetric and same and chunk_size >= n >= 2
    layout = plan.layout
    if is_compiled or needs_dense:
        layout = DENSE
    elif layout == "auto":
        layout = _fastest_layout(batch, mining, chunk_size)
    if layout != DENSE and checks_products:
        layout = SPARSE_ROWS  # which forms all products
    return program._replace(
        layout=layout,
        chunk_size=chunk_size,
        normalizes=normalizes,
        checks_products=checks_products,
        is_compiled=is_compiled,
        is_strict=plan.fused is True,
        is_one_graph=is_compiled and is_whole and reduction.counts is not None,
        holds_all_weights=holds_all,
        most_pairs=MOST_PAIRS if plan.layout == SPARSE_BATCH else few,
    )


def _fastest_layout(batch: PairBatch, mining: PairMining | None, chunk_size: int) -> str:
    n, m = batch.pairs.shape
    # To search for pairs is to wait for their number.
    if n * m <= SMALL or not host_can_read(batch.anchors):
        return DENSE
    if isinstance(batch.pairs, IndexPairs):
        return SPARSE_BATCH
    return SPARSE_BATCH if batch.pairs.symmetric and mining and n > chunk_size else SPARSE_ROWS


def default_chunk_size(device: torch.device, n: int, m: int, needs_gradient: bool) -> int:
    """Anchors per chunk, where nobody asked for a number; ``needs_gradient``: of the references.

    On accelerators a matrix of more than 128 MB goes in parts that fit into half of the free
    memory, for which the driver is asked.
    """
    elements = CHUNK_ELEMENTS if device.type == "cpu" else ACCELERATOR_CHUNK_ELEMENTS
    if device.type == "cuda" and n * m > elements:
        free, _ = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        elements = min(elements, free // (2 * CHUNK_BYTES))
    return max(LEAST_ROWS if needs_gradient else 16, elements // max(1, m))


def _may_overflow(batch: PairBatch) -> bool:
    """True where an inner product of embeddings might leave the range of their dtype."""
    if not host_can_read(batch.anchors):
        return True
    sides = batch.anchors.detach(), batch.references.detach()
    bound = math.prod(side.norm(dim=1).amax().item() for side in sides if side.numel())
    return not bound < torch.finfo(batch.anchors.dtype).max
