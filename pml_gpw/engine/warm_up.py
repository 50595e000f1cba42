"""Compiling before the first step."""

import torch

from ..mining import PairMining
from ..weightings import PairWeighting
from ..weightings.pair_rows import Origin
from .chunks import Plan, StreamedBatch
from .fused import fused_rows
from .fused_batch import fused_batch
from .label_pairs import LabelPairs

SIZES = ((128, 128), (64, 320))
"""A square chunk and another one: afterwards no size makes a graph."""


def warm_up(
    weighting: PairWeighting,
    mining: PairMining | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Compile the rows of pairs by labels now, some seconds, rather than in the first step.

    Errors: :class:`CannotFuse` where ``torch.compile`` does not take them or does not work.

    >>> from pml_gpw.mining import MSMining
    >>> from pml_gpw.weightings import MultiSimilarity
    >>> warm_up(MultiSimilarity(), MSMining())  # doctest: +SKIP
    """
    for n, m in SIZES:
        labels = torch.arange(m, device=device) // 4
        pairs = LabelPairs(labels[:n], labels, torch.arange(n, device=device))
        rows = fused_rows(weighting, mining, pairs, True, labels.device)
        assert rows is not None
        key = torch.zeros((), dtype=torch.int64, device=device)
        sim = torch.arange(n * m, device=device, dtype=dtype).sin().view(n, m)
        origin = Origin(0, key, pairs.self_index)
        with torch.no_grad():
            rows(sim, slice(0, n), origin)
            if n == m:
                x = sim[:, : n // 2].contiguous()
                plan = Plan(fused=True)
                batch = StreamedBatch(x, x, pairs, mining, origin, plan, normalized=True)
                fused_batch(batch, weighting)
