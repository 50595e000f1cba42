"""Multi-Similarity mining as a PML miner."""

from typing import Any, ClassVar

import torch
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.miners import BaseMiner
from torch import Tensor

from ..engine import Labelled, Pairing, default_chunk_size, mined_pairs
from ..hyperparameters import Hyperparameters
from ..inputs import checked_inputs, full_precision
from ..mining import MSMining
from ..pairs import label_masks, own_columns, reference_labels
from ..similarity import is_inner_product, normalized, similarity_matrix

IndexTuple = tuple[Tensor, Tensor, Tensor, Tensor]


class MSMiner(Hyperparameters, BaseMiner):
    """Mine the pairs that are hard relative to the anchor's pairs of the other kind (Similarity-P).

    Equation (11): keep negative ij if S_ij > min_{k ∈ P_i} S_ik − ε;
    eq (12): keep positive ij if S_ij < max_{k ∈ N_i} S_ik + ε. A larger ε keeps more pairs.

    Call it as ``miner(embeddings, labels, ref_emb=None, ref_labels=None, own=None)`` with
    embeddings (N, D) and integer labels (N,); it returns PML's index tuple (a1, p, a2, n).
    ``own`` (N,) says at which place among the references each anchor has a copy of itself (−1:
    nowhere), which then is no positive. Any PML distance works: a distance D is read as S = −D.
    The pairs are those of PML's ``MultiSimilarityMiner``, chosen in at least float32 also under
    autocast. With cosine or dot product similarity no N×M matrix is held.

    Args:
        epsilon: ε ≥ 0, in units of the distance's similarity.
        **kwargs: as PML's ``BaseMiner``: ``distance`` (default cosine), ``collect_stats``.

    Errors: ValueError for ε < 0, NaN or Inf, shapes that do not match and non-integer labels.

    Reference: Wang et al., CVPR 2019, section 4.1.
    """

    held: ClassVar[dict[str, tuple[type, ...]]] = {"mining": (MSMining,)}
    _own: Tensor | None = None  # for the time of a call
    _anchors: slice | None = None  # likewise: those to mine, where processes share them

    def __init__(self, epsilon: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mining = MSMining(epsilon)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        own: Tensor | None = None,
    ) -> IndexTuple:
        """See the class."""
        if labels is None:
            raise ValueError("labels must be given to mine pairs, got None")
        inputs = checked_inputs(embeddings, labels, ref_emb, ref_labels)
        self._own = own
        try:
            with full_precision(embeddings):
                return super().forward(*inputs)
        finally:
            self._own = None

    def mine(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor | None
    ) -> IndexTuple:
        """See PML's ``BaseMiner``."""
        ref_labels = reference_labels(labels, ref_emb, ref_labels)
        own = own_columns(embeddings, labels, ref_emb, ref_labels, self._own)
        if self._anchors is None:
            return self._mined(embeddings, labels, ref_emb, ref_labels, own)
        here = self._anchors
        own = None if own is None else own[here]
        a1, p, a2, n = self._mined(embeddings[here], labels[here], ref_emb, ref_labels, own)
        return a1 + here.start, p, a2 + here.start, n

    def _mined(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor,
        ref_labels: Tensor,
        own: Tensor | None,
    ) -> IndexTuple:
        pairs = labels, ref_labels, own
        # Which pairs are kept is known only from values, which a traced graph cannot follow.
        if is_inner_product(self.distance) and not torch.compiler.is_compiling():
            pairing = Pairing(Labelled(*pairs), self.mining, default_chunk_size(ref_emb))
            return mined_pairs(*normalized(self.distance, embeddings, ref_emb), pairing)
        pos, neg = label_masks(*pairs)
        pos, neg = self.mining(similarity_matrix(self.distance, embeddings, ref_emb), pos, neg)
        (a1, p), (a2, n) = pos.nonzero(as_tuple=True), neg.nonzero(as_tuple=True)
        return a1, p, a2, n

    def get_default_distance(self) -> BaseDistance:
        """Cosine similarity."""
        return CosineSimilarity()
