"""The neighbour lists that pytorch-metric-learning's (PML) own metrics are computed from."""

from dataclasses import dataclass

import torch
from pytorch_metric_learning.utils.inference import return_results
from torch import Tensor

from ...evaluation.backends import BACKENDS, row_blocks
from ...evaluation.similarity_kinds import SIMILARITY_KINDS, to_vectors


@dataclass(frozen=True)
class SimilarityKNN:
    """A ``knn_func`` for PML that orders references as Recall@K does, up to ties."""

    metric: str
    backend: str

    def __call__(
        self, query: Tensor, k: int, reference: Tensor, ref_includes_query: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The similarities, largest first, and the indices of the k nearest references, (N, k).

        Similarities are right up to a positive factor and an offset per query (N, D). With
        ``ref_includes_query``, query i is reference i of (M, D) and is left out of its own list.
        """
        query_map, reference_map = SIMILARITY_KINDS[self.metric](reference)
        vectors = to_vectors(query_map, query, torch.float32)
        search = BACKENDS[self.backend](to_vectors(reference_map, reference, torch.float32))
        length = k + int(ref_includes_query)
        lists = [search(vectors[rows], length) for rows in row_blocks(len(query), len(reference))]
        similarities, indices = (torch.cat(parts) for parts in zip(*lists, strict=True))
        return return_results(similarities, indices, ref_includes_query)
