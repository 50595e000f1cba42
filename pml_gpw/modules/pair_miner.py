"""Any pair mining as a miner."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override

from .. import checks
from ..arguments import one_of_both, pair_batch
from ..engine import PairBatch, Plan, Similarity, mined_pairs
from ..engine.pairs import IndexTuple
from ..engine.plan import AUTO
from ..engine.similarity import SIMILARITIES
from ..mining import PairMining
from ..precision import full_precision
from ..related_pairs import refuse_values
from .attributes import SHARED_CHECKS, Checks, ConfigFields, checked_relation, refuse_options
from .latest_share import LatestShare, anchors_of


class PairMiner(LatestShare, ConfigFields, nn.Module):
    """Mine the pairs that a :class:`~pml_gpw.mining.PairMining` keeps.

    Call it as ``miner(embeddings, labels, ref_emb=None, ref_labels=None, self_index=None)`` with
    embeddings (N, D) and integer labels (N,), or with a :class:`~pml_gpw.engine.PairBatch`; it
    returns an index tuple (a1, p, a2, n), each pair once, row by row. ``self_index`` (N,) gives
    the row of the references in which each anchor itself is (−1: none), which then is no
    positive. Pairs are chosen in at least float32 also under autocast. No N×M matrix is held.

    ``indices_tuple`` names candidate pairs or triplets, among which the miner chooses. It may be a
    keyword, or the third argument as in PML 3, followed by references and their labels: a tuple or
    list in the third place is taken for candidates, a matrix for references.

    Args:
        mining: the rule.
        chunk_size: anchors per chunk; None: as many as suit the cache.
        similarity: "cosine", or "dot" for embeddings as they are.
        pairs: a relation of labels (N, …) of any shape, in place of their equality.
        **options: of :class:`pml_gpw.miners.PairMiner`, which is this miner as an object of
            PML.

    Errors: ValueError for NaN or Inf, shapes that do not match and non-integer labels.

    >>> import torch
    >>> from pml_gpw.mining import BatchHardMining
    >>> from pml_gpw.modules import PairMiner
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> PairMiner(BatchHardMining())(embeddings, torch.tensor([0, 0, 1]))
    (tensor([0, 1]), tensor([1, 0]), tensor([0, 1]), tensor([2, 2]))
    """

    config_types: ClassVar[dict[str, tuple[type, ...]]] = {"mining": (PairMining,)}
    checked: ClassVar[Checks] = {**SHARED_CHECKS, "pairs": checked_relation}
    mining: PairMining
    chunk_size: int | None = None
    pairs: Any = None
    """A relation of labels, in place of their equality."""

    layout = "auto"
    """The layout of pairs, see :class:`~pml_gpw.engine.Plan`: for measurements and tests."""

    similarity: str

    def __init__(
        self,
        mining: PairMining,
        chunk_size: int | None = None,
        similarity: str = "cosine",
        pairs: Any = None,
        **options: Any,
    ) -> None:
        self.init_module(similarity, options)
        self.pairs = pairs
        self.chunk_size = chunk_size
        self.mining = mining

    def init_module(self, similarity: str, options: Mapping[str, Any]) -> None:
        """Make the module, which a host does with options of its own."""
        refuse_options(self, options)
        super().__init__()
        self.similarity = similarity

    @override
    def forward(
        self,
        embeddings: Tensor | PairBatch,
        labels: Tensor | None = None,
        *arguments: Any,
        own: Tensor | None = None,
        **named: Any,
    ) -> tuple[Tensor, ...]:
        """The index tuple of the pairs that are kept.

        Embeddings (N, D), labels (N,), references (M, D) and their labels (M,), or a batch of
        pairs; ``own`` is the former name of ``self_index``.
        """
        indices_tuple, ref_emb, ref_labels, self_index = miner_arguments(arguments, named)
        if labels is None and indices_tuple is None and not isinstance(embeddings, PairBatch):
            raise ValueError("labels must be given to mine pairs, got None")
        self_index = one_of_both(self_index, own)
        rules = self.random_rules() if self.mines_batches else ()  # else mine() draws a key
        arguments = labels, indices_tuple, ref_emb, ref_labels, self_index
        batch = pair_batch(embeddings, *arguments, rules, self.pairs)
        with torch.no_grad(), full_precision(batch.anchors):
            mined = self.mined_of(batch)
        if not torch.compiler.is_compiling():
            self._numbers_of_pairs = (anchors_of(mined, len(batch.anchors)),)
        return mined

    def mined_of(self, batch: PairBatch) -> tuple[Tensor, ...]:
        """The index tuple of a call."""
        return self.mine_batch(batch)

    @property
    def mines_batches(self) -> bool:
        """True where :meth:`mine_batch` says what the miner keeps."""
        return True

    def measure(self) -> Similarity:
        """The similarity that pairs are compared by."""
        return SIMILARITIES[self.similarity]

    def random_rules(self) -> tuple[object, ...]:
        """The rules for which a call may have to draw a random key."""
        return (self.mining,)

    def mine_batch(self, batch: PairBatch) -> IndexTuple:
        """The pairs of a batch, or of a part of one, that are kept."""
        plan = AUTO if torch.compiler.is_compiling() else Plan(self.chunk_size, self.layout)
        return mined_pairs(batch, self.mining, self.measure(), plan)


class MinerArguments(NamedTuple):
    """The arguments of a miner beside embeddings and labels."""

    indices_tuple: Sequence[Tensor] | None = None
    ref_emb: Tensor | None = None
    ref_labels: Tensor | None = None
    self_index: Tensor | None = None


def miner_arguments(arguments: Sequence[Any], named: Mapping[str, Any]) -> MinerArguments:
    """The arguments of a call of a miner, in the order of PML 2 or of PML 3.

    The third is candidates where it is a tuple or list, or None before a matrix; then the fourth
    and fifth are references and their labels. Else the third and fourth are those.
    Errors: TypeError for arguments that there are not, or that are given twice.

    >>> miner_arguments((), {"ref_emb": "references"})
    MinerArguments(indices_tuple=None, ref_emb='references', ref_labels=None, self_index=None)
    """
    names: tuple[str, ...] = ("ref_emb", "ref_labels", "self_index")
    if arguments and _has_candidates(*arguments[:2]):
        names = ("indices_tuple", *names)
    if len(arguments) > len(names):
        raise TypeError(f"a miner takes at most {2 + len(names)} arguments by position")
    by_place = dict(zip(names, arguments, strict=False))
    twice = by_place.keys() & named.keys()
    if twice:
        raise TypeError(f"a miner got several values for {', '.join(sorted(twice))}")
    return MinerArguments(**by_place, **named)


def _has_candidates(third: Any, fourth: Any = None) -> bool:
    is_matrix = isinstance(fourth, Tensor) and fourth.ndim == 2
    return isinstance(third, (tuple, list)) or (third is None and is_matrix)


def check_loss(loss: Any) -> None:
    """Raise a ValueError for what cannot be called as a loss that is given references."""
    checks.module_like("loss", loss)
    with suppress(TypeError):
        inspect.signature(getattr(loss, "forward", loss)).bind(*range(5))
        if not isinstance(loss, PairMiner):
            return
    raise ValueError(
        "loss must take embeddings, labels, an index tuple, references and their labels, got "
        f"{checks.shown('loss', loss)}"
    )


def check_relation(miner: Any, relation: Any) -> None:
    """Raise a ValueError for a miner that cannot mine the pairs of a loss.

    ``relation``: that of the loss. Pairs are made by the loss; so a relation of the miner is that
    one, or none, and miners that know labels only do not suit a loss with a relation.
    """
    own = getattr(miner, "pairs", None)
    if own is not None and own is not relation:
        raise ValueError(
            f"miner must have the pairs of the loss, {relation!r}, or none of its own, got {own!r}"
        )
    if relation is not None and miner is not None and not mines_batches(miner):
        raise ValueError(
            f"miner must be a PairMiner for a loss with a relation, got {type(miner).__name__}"
        )


def mines_batches(miner: Any) -> bool:
    """True where a miner takes a batch of pairs, and so a part of one."""
    return isinstance(miner, PairMiner) and miner.mines_batches


def mined_from(miner: Any, batch: PairBatch) -> Sequence[Tensor]:
    """The index tuple, of pairs or triplets, that any miner makes of a batch.

    Errors: ValueError for graded or weighted pairs.
    """
    refuse_values(batch.pairs)
    if mines_batches(miner):
        return miner(batch)
    if batch.references is batch.anchors:  # as it is called in self-comparison
        return miner(batch.anchors, batch.labels)
    return miner(
        batch.anchors, batch.labels, ref_emb=batch.references, ref_labels=batch.reference_labels
    )
