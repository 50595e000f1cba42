"""The neighbours that pytorch-metric-learning's own metrics are computed from."""

from dataclasses import dataclass

import torch
from pytorch_metric_learning.utils.inference import return_results
from torch import Tensor

from .metrics import METRICS, as_vectors
from .neighbors import BACKENDS, blocks


@dataclass(frozen=True)
class MetricKNN:
    """A ``knn_func`` of pytorch-metric-learning that orders as Recall@K does, up to ties.

    Called with queries (N, D), k and references (M, D), it gives similarities (largest first, up
    to a positive factor and an offset per query) and indices, both (N, k).
    """

    metric: str
    backend: str

    def __call__(
        self, query: Tensor, k: int, reference: Tensor, ref_includes_query: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The k nearest references; with ``ref_includes_query``, query i's are without i."""
        query_vectors, reference_vectors = METRICS[self.metric](reference)
        query = as_vectors(query_vectors, query, torch.float32)
        nearest = BACKENDS[self.backend](as_vectors(reference_vectors, reference, torch.float32))
        length = k + int(ref_includes_query)
        lists = [nearest(query[rows], length) for rows in blocks(len(query), len(reference))]
        similarities, indices = (torch.cat(parts) for parts in zip(*lists, strict=True))
        return return_results(similarities, indices, ref_includes_query)
