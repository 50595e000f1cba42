"""A whole step of a batch with itself through ``torch.compile``, where it is one chunk.

Normalisation, products, rows and the gradient of the embeddings as one function: for batches of
some hundred embeddings most of a step is the cost of calling its operations one by one.
Shapes: N embeddings, D dims.
"""

from typing import NamedTuple

from torch import Tensor

from ..mining import PairMining
from ..weightings import PairWeighting
from .chunks import StreamedBatch
from .compiled import is_to_be_fused
from .fused import call_compiled, rows_of_labels
from .label_pairs import LabelPairs
from .unit_rows import UnitRows, normalized


class FusedBatch(NamedTuple):
    """What a batch comes to."""

    losses: Tensor  # (N,)
    num_pos: Tensor  # (N,)
    num_neg: Tensor  # (N,)
    least: Tensor  # (), the least weight, which must not be negative
    gradient: Tensor  # (N, D), of the sum of the losses
    unit_rows: UnitRows


def fused_batch(streamed: StreamedBatch, weighting: PairWeighting) -> FusedBatch | None:
    """Losses and gradient of a batch with itself; None where it is not fused, or not as a whole.

    It is fused as a whole where similarities are cosines, pairs come from labels, and all anchors
    make one chunk.
    Errors: :class:`~pml_gpw.engine.compiled.CannotFuse`.

    >>> import torch
    >>> from pml_gpw.engine import LabelPairs, Plan, StreamedBatch
    >>> from pml_gpw.weightings import Constant
    >>> x, labels = torch.eye(3), torch.tensor([0, 0, 1])
    >>> pairs = LabelPairs(labels, labels, torch.arange(3))
    >>> streamed = StreamedBatch(x, x, pairs, plan=Plan(fused=False), normalized=True)
    >>> fused_batch(streamed, Constant()) is None
    True
    """
    x, pairs = streamed.x, streamed.pairs
    if not (isinstance(pairs, LabelPairs) and streamed.normalized and streamed.y is x):
        return None
    if pairs.self_index is None or min(x.shape) < 2 or streamed.chunk_size < len(x):
        return None
    if not is_to_be_fused(streamed.plan.fused, x.device):
        return None
    tensors = x, pairs.labels, pairs.reference_labels, pairs.self_index
    rules, must = (weighting, streamed.mining), streamed.plan.fused is True
    batch: FusedBatch = call_compiled(_batch_of_labels, tensors, rules, streamed.origin, 0, must)
    return batch


def _batch_of_labels(
    x: Tensor,
    labels: Tensor,
    reference_labels: Tensor,
    self_index: Tensor,
    key: Tensor | None,
    number: int,
    weighting: PairWeighting,
    mining: PairMining | None,
) -> FusedBatch:
    unit = normalized(x)
    sim = unit.rows @ unit.rows.T
    rows = rows_of_labels(sim, labels, reference_labels, self_index, key, number, weighting, mining)
    gradient = unit.gradient((rows.signed + rows.signed.T) @ unit.rows)
    return FusedBatch(rows.losses, rows.num_pos, rows.num_neg, rows.least, gradient, unit)
