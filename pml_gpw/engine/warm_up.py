"""Compiling before the first step."""

from collections.abc import Mapping
from itertools import product
from types import MappingProxyType

import torch
from torch import Tensor

from ..mining import PairMining
from ..weightings import PairWeighting
from .anchor_losses import anchor_losses
from .batch import PairBatch
from .label_pairs import LabelPairs
from .plan import Plan
from .reduction import MEAN, NONE, Reduction
from .similarity import InnerProduct, Similarity

COSINE = InnerProduct()


@torch.enable_grad()
def warm_up(
    weighting: PairWeighting,
    mining: PairMining | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    similarity: Similarity = COSINE,
    trained: Mapping[str, Tensor] = MappingProxyType({}),
    reduction: Reduction = MEAN,
) -> None:
    """Compile the rows of pairs by labels now, some seconds, rather than in the first step.

    A batch with itself as one graph, and square and other chunks of it and of other references:
    afterwards no size makes a graph. ``trained``: values in place of fields, () each, or (128,) for
    those that have one an anchor.
    Errors: :class:`CannotFuse` where ``torch.compile`` does not take them or does not work.

    >>> from pml_gpw.mining import MSMining
    >>> from pml_gpw.weightings import MultiSimilarity
    >>> warm_up(MultiSimilarity(), MSMining())  # doctest: +SKIP
    """
    key = torch.zeros((), dtype=torch.int64, device=device)
    x = torch.arange(128 * 64, device=device, dtype=dtype).sin().view(128, 64).requires_grad_()
    index = torch.arange(128, device=device)
    for references, size, reduced in product((x, x.detach()), (None, 64), (reduction, NONE)):
        pairs = LabelPairs(index // 4, index // 4, index, symmetric=references is x)
        batch, plan = PairBatch(x, references, pairs, key=key), Plan(size, fused=True)
        anchor_losses(batch, weighting, mining, similarity, plan, reduced, trained)
