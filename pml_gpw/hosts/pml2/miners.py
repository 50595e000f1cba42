"""The miners of this package as miners of PML."""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.miners import BaseMiner
from torch import Tensor
from typing_extensions import override

from ... import modules
from ...arguments import pair_batch
from ...engine import IndexPairs, PairBatch, Similarity
from ...engine.index_pairs import without_own_positives
from ...engine.pairs import IndexTuple
from .checked_parts import CheckedParts
from .records import Records
from .similarity import DistanceSimilarity, with_distance


class PairMiner(Records, modules.PairMiner, CheckedParts, BaseMiner):
    """:class:`pml_gpw.modules.PairMiner` as a miner of PML, with its distances and statistics.

    Any PML distance works: a distance D is read as S = −D. A user's own ``mine`` is respected.

    Args:
        mining: the rule.
        chunk_size: anchors per chunk; None: as many as suit the cache.
        similarity: stands for a ``distance``.
        **options: as PML's ``BaseMiner``: ``distance`` (default cosine), ``collect_stats``.

    Errors: as the plain miner.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import PairMiner
    >>> from pml_gpw.mining import BatchHardMining
    >>> from pytorch_metric_learning.distances import LpDistance
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> PairMiner(BatchHardMining(), distance=LpDistance())(embeddings, torch.tensor([0, 0, 1]))
    (tensor([0, 1]), tensor([1, 0]), tensor([0, 1]), tensor([2, 2]))
    """

    @override
    def init_module(self, similarity: str, options: Mapping[str, Any]) -> None:
        CheckedParts.__init__(self, **with_distance(similarity, options))

    @override
    def mined_of(self, batch: PairBatch) -> tuple[Tensor, ...]:
        self.reset_stats()
        mined: tuple[Tensor, ...]
        if self.mines_batches:
            mined = self.mine_batch(batch)
            if not torch.compiler.is_compiling():
                self.__dict__.update(num_pos_pairs=len(mined[0]), num_neg_pairs=len(mined[2]))
            return mined
        if isinstance(batch.pairs, IndexPairs):
            raise ValueError(
                f"indices_tuple must be None for {type(self).__name__}, whose own mine takes no "
                "candidates"
            )
        mined = self.mine(batch.anchors, batch.labels, batch.references, batch.reference_labels)
        given, places = batch.pairs.self_index_is_given, batch.pairs.self_index
        if given and places is not None:
            mined = without_own_positives(places, mined)
        self.output_assertion(mined)
        return mined

    @property
    @override
    def mines_batches(self) -> bool:
        """True where ``mine`` is this package's: a user's own sees embeddings and labels only."""
        return type(self).mine is PairMiner.mine

    @override
    def measure(self) -> Similarity:
        return DistanceSimilarity(self.distance)

    @override
    def mine(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> IndexTuple:
        arguments = labels, None, ref_emb, ref_labels, None
        return self.mine_batch(pair_batch(embeddings, *arguments, self.random_rules(), self.pairs))

    @override
    def get_default_distance(self) -> BaseDistance:
        return CosineSimilarity()


class MSMiner(modules.MSMiner, PairMiner):
    """:class:`pml_gpw.modules.MSMiner` as a miner of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import MSMiner
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> MSMiner(epsilon=0.1)(embeddings, torch.tensor([0, 0, 1]))
    (tensor([1]), tensor([0]), tensor([1]), tensor([2]))
    """
