"""Multi-Similarity mining as a PML miner."""

from typing import Any, ClassVar

from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.miners import BaseMiner
from torch import Tensor

from ..hyperparameters import Hyperparameters
from ..inputs import checked_inputs, full_precision
from ..mining import MSMining
from ..pairs import label_masks, reference_labels, same_embeddings
from ..similarity import similarity_matrix

IndexPairs = tuple[Tensor, Tensor, Tensor, Tensor]


class MSMiner(Hyperparameters, BaseMiner):
    """Mine the pairs that are hard relative to the anchor's pairs of the other kind (Similarity-P).

    Equation (11): keep negative ij if S_ij > min_{k ∈ P_i} S_ik − ε;
    eq (12): keep positive ij if S_ij < max_{k ∈ N_i} S_ik + ε. A larger ε keeps more pairs.

    Call it as ``miner(embeddings, labels, ref_emb=None, ref_labels=None)`` with embeddings (N, D)
    and integer labels (N,); it returns PML's index tuple (a1, p, a2, n). Any PML distance works:
    a distance D is read as S = −D. The pairs are those of PML's ``MultiSimilarityMiner``, chosen
    in at least float32 also under autocast.

    Args:
        epsilon: ε ≥ 0, in units of the distance's similarity.
        **kwargs: as PML's ``BaseMiner``: ``distance`` (default cosine), ``collect_stats``.

    Errors: ValueError for ε < 0, NaN or Inf, shapes that do not match and non-integer labels.

    Reference: Wang et al., CVPR 2019, section 4.1.
    """

    held: ClassVar[dict[str, tuple[type, ...]]] = {"mining": (MSMining,)}

    def __init__(self, epsilon: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mining = MSMining(epsilon)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> IndexPairs:
        """See the class."""
        if labels is None:
            raise ValueError("labels must be given to mine pairs, got None")
        inputs = checked_inputs(embeddings, labels, ref_emb, ref_labels)
        with full_precision(embeddings):
            return super().forward(*inputs)

    def mine(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor | None
    ) -> IndexPairs:
        """See PML's ``BaseMiner``."""
        ref_labels = reference_labels(labels, ref_emb, ref_labels)
        pos, neg = label_masks(labels, ref_labels, same_embeddings(embeddings, ref_emb))
        pos, neg = self.mining(similarity_matrix(self.distance, embeddings, ref_emb), pos, neg)
        (a1, p), (a2, n) = pos.nonzero(as_tuple=True), neg.nonzero(as_tuple=True)
        return a1, p, a2, n

    def get_default_distance(self) -> BaseDistance:
        """Cosine similarity."""
        return CosineSimilarity()
