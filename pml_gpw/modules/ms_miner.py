"""Multi-Similarity mining as a miner."""

from typing import Any

from ..mining import MSMining
from .pair_miner import PairMiner


class MSMiner(PairMiner):
    """Mine the pairs that are hard relative to the anchor's pairs of the other kind (Similarity-P).

    A negative stays if `S_ij > min_{k ∈ P_i} S_ik − ε` (eq 11), and a positive if
    `S_ij < max_{k ∈ N_i} S_ik + ε` (eq 12). A larger ε keeps more pairs.

    The same as ``PairMiner(MSMining(epsilon))``; the pairs are those of PML's
    ``MultiSimilarityMiner``. The call is that of :class:`PairMiner`.

    Args:
        epsilon: ε ≥ 0, in units of the distance's similarity.
        **kwargs: see :class:`PairMiner`.

    Errors: ValueError for ε < 0; see :class:`PairMiner`.

    Reference: Wang et al., CVPR 2019, section 4.1.

    >>> import torch
    >>> from pml_gpw.modules import MSMiner
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> MSMiner(epsilon=0.1)(embeddings, torch.tensor([0, 0, 1]))
    (tensor([1]), tensor([0]), tensor([1]), tensor([2]))
    """

    named_fields = ("epsilon",)
    epsilon: float

    def __init__(self, epsilon: float = 0.1, **kwargs: Any) -> None:
        super().__init__(MSMining(epsilon), **kwargs)
