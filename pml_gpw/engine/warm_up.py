"""Compiling before the first step."""

import torch

from ..mining import PairMining
from ..weightings import PairWeighting
from .anchor_losses import anchor_losses
from .batch import PairBatch
from .label_pairs import LabelPairs
from .plan import Plan
from .similarity import InnerProduct, Similarity

COSINE = InnerProduct()


@torch.enable_grad()
def warm_up(
    weighting: PairWeighting,
    mining: PairMining | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    similarity: Similarity = COSINE,
) -> None:
    """Compile the rows of pairs by labels now, some seconds, rather than in the first step.

    A batch with itself, a square chunk and another one: afterwards no size makes a graph.
    Errors: :class:`CannotFuse` where ``torch.compile`` does not take them or does not work.

    >>> from pml_gpw.mining import MSMining
    >>> from pml_gpw.weightings import MultiSimilarity
    >>> warm_up(MultiSimilarity(), MSMining())  # doctest: +SKIP
    """
    key = torch.zeros((), dtype=torch.int64, device=device)
    x = torch.arange(320 * 64, device=device, dtype=dtype).sin().view(320, 64)
    labels = torch.arange(320, device=device) // 4
    anchors = x[:128].requires_grad_()
    for rows, references in ((anchors, anchors), (anchors, x[:128]), (anchors[:64], x)):
        (n, m), itself = (len(rows), len(references)), torch.arange(len(rows), device=device)
        pairs = LabelPairs(labels[:n], labels[:m], itself)
        batch = PairBatch(rows, references, pairs, key=key)
        anchor_losses(batch, weighting, mining, similarity, Plan(fused=True), True)
