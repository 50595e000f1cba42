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
    for n, m in ((128, 128), (64, 320)):
        anchors = x[:n].requires_grad_()
        itself = torch.arange(n, device=device)
        for references in (anchors, x[:m]) if n == m else (x[:m],):
            pairs = LabelPairs(labels[:n], labels[:m], itself)
            batch = PairBatch(anchors, references, pairs, key=key)
            with torch.enable_grad():
                anchor_losses(batch, weighting, mining, similarity, Plan(fused=True), True)
