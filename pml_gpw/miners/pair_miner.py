"""Any pair mining as a PML miner."""

from functools import partial
from typing import Any, ClassVar

import torch
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.miners import BaseMiner
from torch import Tensor
from typing_extensions import override

from .. import checks
from ..engine import PairBatch, Plan, mined_pairs
from ..engine.index_pairs import without_own_positives
from ..engine.pairs import IndexTuple
from ..engine.plan import AUTO, LAYOUTS
from ..mining import PairMining
from ..pml import (
    CheckedAttribute,
    CheckedParts,
    ConfigFields,
    DistanceSimilarity,
    one_of_both,
    pair_batch,
)
from ..precision import full_precision


class PairMiner(ConfigFields, CheckedParts, BaseMiner):
    """Mine the pairs that a :class:`~pml_gpw.mining.PairMining` keeps.

    Call it as ``miner(embeddings, labels, ref_emb=None, ref_labels=None, self_index=None)`` with
    embeddings (N, D) and integer labels (N,), or with a :class:`~pml_gpw.engine.PairBatch`; it
    returns PML's index tuple (a1, p, a2, n), each pair once, row by row. ``self_index`` (N,) says
    at which place among the references each anchor itself is (−1: nowhere), which then is no
    positive. Any PML distance works: a distance D is read as S = −D. Pairs are chosen in at least
    float32 also under autocast. With cosine or dot product similarity no N×M matrix is held.

    Args:
        mining: the rule.
        chunk_size: anchors per chunk; None: as many as suit the cache.
        **kwargs: as PML's ``BaseMiner``: ``distance`` (default cosine), ``collect_stats``.

    Errors: ValueError for NaN or Inf, shapes that do not match and non-integer labels.

    >>> import torch
    >>> from pml_gpw.mining import BatchHardMining
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> PairMiner(BatchHardMining())(embeddings, torch.tensor([0, 0, 1]))
    (tensor([0, 1]), tensor([1, 0]), tensor([0, 1]), tensor([2, 2]))
    """

    config_types: ClassVar[dict[str, tuple[type, ...]]] = {"mining": (PairMining,)}
    mining: PairMining
    chunk_size = CheckedAttribute[int | None](checks.optional_positive_integer, None)
    layout = CheckedAttribute[str](partial(checks.one_of, allowed=LAYOUTS), "auto")
    """The layout of pairs, see :class:`~pml_gpw.engine.Plan`: for measurements and tests."""

    def __init__(self, mining: PairMining, chunk_size: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.chunk_size = chunk_size
        self.mining = mining

    @override
    def forward(
        self,
        embeddings: Tensor | PairBatch,
        labels: Tensor | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        self_index: Tensor | None = None,
        *,
        own: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """The index tuple of the pairs that are kept.

        Embeddings (N, D), labels (N,), references (M, D) and their labels (M,), or a batch of
        pairs; ``own`` is the former name of ``self_index``.
        """
        if labels is None and not isinstance(embeddings, PairBatch):
            raise ValueError("labels must be given to mine pairs, got None")
        arguments = labels, None, ref_emb, ref_labels, one_of_both(self_index, own)
        rules = self.random_rules() if self.mines_batches else ()  # else mine() draws a key
        batch = pair_batch(embeddings, *arguments, rules=rules)
        with torch.no_grad(), full_precision(batch.anchors):
            self.reset_stats()
            mined: tuple[Tensor, ...]
            if self.mines_batches:
                mined = self.mine_batch(batch)
                if not torch.compiler.is_compiling():
                    self.__dict__.update(num_pos_pairs=len(mined[0]), num_neg_pairs=len(mined[2]))
            else:
                mined = self.mine(
                    batch.anchors, batch.labels, batch.references, batch.reference_labels
                )
                given, places = batch.pairs.self_index_is_given, batch.pairs.self_index
                if given and places is not None:
                    mined = without_own_positives(places, mined)
                self.output_assertion(mined)
        return mined

    @property
    def mines_batches(self) -> bool:
        """True where ``mine`` is this package's: a user's own sees embeddings and labels only."""
        return type(self).mine is PairMiner.mine

    def random_rules(self) -> tuple[object, ...]:
        """The rules for which a call may have to draw a random key."""
        return (self.mining,)

    def mine_batch(self, batch: PairBatch) -> IndexTuple:
        """The pairs of a batch, or of a part of one, that are kept."""
        plan = AUTO if torch.compiler.is_compiling() else Plan(self.chunk_size, self.layout)
        return mined_pairs(batch, self.mining, DistanceSimilarity(self.distance), plan)

    @override
    def mine(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> IndexTuple:
        batch = pair_batch(embeddings, labels, None, ref_emb, ref_labels, rules=self.random_rules())
        return self.mine_batch(batch)

    @override
    def get_default_distance(self) -> BaseDistance:
        return CosineSimilarity()
