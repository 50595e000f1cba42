"""Any pair weighting, with any pair mining, as a loss; and the call that losses of pairs share."""

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from .. import checks
from ..arguments import one_of_both, pair_batch
from ..engine import AnchorLosses, PairBatch, Plan, Similarity, anchor_losses
from ..engine.plan import AUTO
from ..engine.reduction import NONE, Reduction
from ..engine.similarity import SIMILARITIES
from ..engine.warm_up import warm_up
from ..mining import PairMining
from ..precision import full_precision
from ..reductions import REDUCTIONS, ReductionName
from ..relations import LINEAR, WeightedRelations
from ..value_checks import host_can_read, report
from ..weightings import PairWeighting
from ..weightings.check import refuse_missing_expand
from .attributes import SHARED_CHECKS, Checks, ConfigFields, checked_relations, refuse_options
from .latest_share import LatestShare
from .trained_fields import Trainable, TrainedFields


class PairLoss(nn.Module):
    """A loss that makes a :class:`~pml_gpw.engine.PairBatch` of its arguments, once.

    It can be called with such a batch in place of its arguments, as wrappers of losses do.
    """

    _warned_of_no_pairs = False
    pairs: Any = None
    """A relation of labels, in place of their equality."""

    @override
    def forward(
        self,
        embeddings: Tensor | PairBatch,
        labels: Tensor | None = None,
        indices_tuple: Sequence[Tensor] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        self_index: Tensor | None = None,
        *,
        own: Tensor | None = None,
        anchor_losses: AnchorLosses | None = None,
    ) -> Tensor:
        """The loss of embeddings (N, D), labels (N,) and references (M, D), or of a batch of pairs.

        ``own`` is the former name of ``self_index``; ``anchor_losses`` are those of the batch,
        where a process group has computed them already.
        """
        arguments = labels, indices_tuple, ref_emb, ref_labels, one_of_both(self_index, own)
        batch = pair_batch(embeddings, *arguments, self.random_rules(), self.pairs)
        with full_precision(batch.anchors):
            return self.batch_loss(batch, anchor_losses)

    @abstractmethod
    def batch_loss(self, batch: PairBatch, anchor_losses: AnchorLosses | None = None) -> Tensor:
        """The loss of a batch of pairs, whose anchors' losses may be known already."""

    @abstractmethod
    def measure(self) -> Similarity:
        """The similarity that pairs are compared by."""

    def needs_all_anchors(self) -> bool:
        """True where the loss of some anchors alone cannot be asked for."""
        return False

    def random_rules(self) -> tuple[object, ...]:
        """The minings inside the loss, for which a call may have to draw a random key."""
        return ()

    def pass_silently(self) -> None:
        """Say nothing of batches without pairs from now on: of a copy that is experimented with."""
        self._warned_of_no_pairs = True

    def warn_of_no_pairs(self, reason: str) -> None:
        """Say that a batch has nothing to weigh; once per loss object."""
        if self._warned_of_no_pairs:
            return
        self._warned_of_no_pairs = True
        message = (
            f"{type(self).__name__}: no pairs to weigh ({reason}); the loss and its gradient are "
            "zero. Further such batches of this loss pass silently."
        )
        # Explicit, because warn() would be silent for the second object at the same line.
        warnings.warn_explicit(message, UserWarning, "pml_gpw", 1, module="pml_gpw", registry={})


class GPWLoss(LatestShare, TrainedFields, ConfigFields, PairLoss):
    """The loss whose gradient is a pair weighting (General Pair Weighting, eq 1-3).

    Call it as ``loss(embeddings, labels=None, indices_tuple=None, ref_emb=None, ref_labels=None,
    self_index=None)`` with embeddings (N, D), integer labels (N,), references (M, D) and their
    labels (M,), or with a :class:`~pml_gpw.engine.PairBatch`. ``self_index`` (N,) gives
    the row of the references in which each anchor itself is (−1: none), as in a memory; that pair
    is left out. The loss is the mean of the losses of the N anchors, the 1/m of eq 15, unless
    ``reduction`` names another. An index tuple (pairs or triplets, each counted once) names the
    candidate pairs. Without one, all pairs are candidates, except that of an embedding with itself.
    The ``mining`` of the loss, if any, narrows the candidates.

    The loss streams: it takes the anchors in chunks and holds at most 64 MB of the N×M matrix, 128
    on accelerators. Value and gradient are those of the whole matrix. Inside a ``torch.compile`` of
    yours it is dense, because a loop over chunks would need a graph for each N.

    Similarities, weights and sums are computed in at least float32, also under autocast. A batch
    without pairs gives a zero loss with a zero gradient and, once per loss object, a warning.
    A loss keeps no argument of a call, so that threads may share it;
    ``share_of_anchors_with_pairs`` is that of the latest call.

    Args:
        weighting: the weight of each pair.
        mining: the choice among the candidate pairs; None: all are weighed.
        chunk_size: anchors per chunk when streaming; None: as many as suit the cache.
        fused: True: ``torch.compile`` makes one function of masks, mining and weighting, which
            takes some seconds, once for each weighting and mining (:meth:`warm_up`); None: so on
            accelerators where it works, and not on a CPU. Values are the same up to rounding.
        trainable: fields of the weighting that are trained with the network, by name, or as
            ``{"beta": num_classes}`` for one value per class. Positive fields become parameters
            ``log_<field>``, others parameters of their own name; ``loss.<field>`` reads and sets
            the current value, and ``current_weighting()`` has all of them.
        reduction: the mean or sum of the losses of the anchors, as in
            :func:`pml_gpw.functional.gpw_loss`; "none" gives all of them, (N,); None: that of the
            class, here "mean".
        similarity: "cosine", or "dot" for embeddings as they are; None: that of the class, here
            "cosine".
        pairs: a relation of labels (N, …) of any shape, such as those of :mod:`pml_gpw.relations`,
            in place of their equality; or several, :class:`pml_gpw.relations.WeightedRelations`.
        **options: of :class:`pml_gpw.losses.GPWLoss`, which is this loss as an object of PML.

    Errors: ValueError for NaN or Inf, shapes that do not match, labels that are not integers,
    indices out of range, neither labels nor a tuple, a weighting that gives negative or NaN
    weights, and options of PML where PML is not installed.

    Reference: Wang et al., CVPR 2019, section 3.

    >>> import torch
    >>> from pml_gpw.mining import BatchHardMining
    >>> from pml_gpw.modules import GPWLoss
    >>> from pml_gpw.weightings import LiftedStructure
    >>> loss = GPWLoss(LiftedStructure(), mining=BatchHardMining())
    >>> embeddings = torch.eye(4, requires_grad=True)
    >>> loss(embeddings, torch.tensor([0, 0, 1, 1]))
    tensor(1., grad_fn=<MeanBackward0>)
    """

    config_types: ClassVar[dict[str, tuple[type, ...]]] = {
        "weighting": (PairWeighting,),
        "mining": (PairMining, type(None)),
    }
    checked: ClassVar[Checks] = {
        **SHARED_CHECKS,
        "fused": checks.optional_boolean,
        "pairs": checked_relations,
        "reduction": partial(checks.one_of, allowed=REDUCTIONS),
    }
    steps: ClassVar[tuple[str, ...]] = ("anchor_losses", "batch_loss", "reduce")
    """Methods between the losses of the anchors and the loss."""

    weighting: PairWeighting
    mining: PairMining | None
    chunk_size: int | None = None
    fused: bool | None = None
    layout = "auto"
    """The layout of pairs, see :class:`~pml_gpw.engine.Plan`: for measurements and tests."""

    default_reduction: ClassVar[ReductionName] = "mean"
    default_similarity: ClassVar[str] = "cosine"
    reduction: ReductionName
    similarity: str

    def __init__(
        self,
        weighting: PairWeighting,
        mining: PairMining | None = None,
        chunk_size: int | None = None,
        fused: bool | None = None,
        trainable: Trainable = (),
        reduction: ReductionName | None = None,
        similarity: str | None = None,
        pairs: Any = None,
        **options: Any,
    ) -> None:
        self.init_module(reduction, similarity, options)
        self.pairs = pairs
        self.chunk_size = chunk_size
        self.fused = fused
        self.weighting = weighting
        refuse_missing_expand(weighting)
        self.mining = mining
        self.train_fields(trainable)

    def init_module(
        self,
        reduction: ReductionName | None,
        similarity: str | None,
        options: Mapping[str, Any],
    ) -> None:
        """Make the module, which a host does with options of its own."""
        refuse_options(self, options)
        super().__init__()
        self.reduction = self.default_reduction if reduction is None else reduction
        self.similarity = self.default_similarity if similarity is None else similarity

    @override
    def measure(self) -> Similarity:
        return SIMILARITIES[self.similarity]

    def reduction_of_anchors(self) -> Reduction:
        """The reduction that the second step makes of the losses of the anchors."""
        if isinstance(self.pairs, WeightedRelations):
            checks.one_of("reduction of several relations", self.reduction, LINEAR)
        return REDUCTIONS[self.reduction]

    def anchor_losses(self, batch: PairBatch, reduction: Reduction = NONE) -> AnchorLosses:
        """The first step: the loss of each anchor of a batch, or of a part of one.

        ``reduction``: what the second step will make of them, where that is known.
        """
        rules, trained = (self.weighting, self.mining), {}
        if self.trained:
            trained = self.values_of(batch.labels, batch.anchors.dtype)
        return anchor_losses(batch, *rules, self.measure(), self._plan(), reduction, trained)

    def _plan(self) -> Plan:
        if torch.compiler.is_compiling():
            return AUTO
        return Plan(self.chunk_size, self.layout, self.fused)

    def warm_up(
        self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        """Compile what ``fused`` runs for pairs by labels now rather than in the first step.

        Errors: a RuntimeError where ``torch.compile`` does not work.
        """
        similarity = self.measure()
        if similarity.is_inner_product:  # others are not fused
            trained = self.values_of(torch.zeros(128, dtype=torch.int64), dtype)
            trained = {name: value.to(device) for name, value in trained.items()}
            rules = self.weighting, self.mining
            warm_up(*rules, device, dtype, similarity, trained, self.known_reduction())

    def reduce(self, losses: AnchorLosses, batch: PairBatch) -> Tensor:
        """The second step: one loss of the losses of the anchors."""
        self.look_for_pairs(losses, batch)
        return self.reduction_of_anchors().of(losses)

    @override
    def batch_loss(self, batch: PairBatch, anchor_losses: AnchorLosses | None = None) -> Tensor:
        if anchor_losses is None:
            anchor_losses = self.anchor_losses(batch, self.known_reduction())
        if not torch.compiler.is_compiling():
            self.__dict__["_numbers_of_pairs"] = anchor_losses[1:]  # no attribute that is checked
        return self.reduce(anchor_losses, batch)

    @override
    def random_rules(self) -> tuple[object, ...]:
        return (self.mining,)

    def known_reduction(self) -> Reduction:
        """The reduction of the losses as far as it is known before they are computed.

        It is not where a subclass has a step of its own.
        """
        found = self.reduction_of_anchors()
        is_known = all(_is_shipped(getattr(self, step)) for step in self.steps)
        return found if is_known else found._replace(counts=None)

    def look_for_pairs(self, losses: AnchorLosses, batch: PairBatch) -> None:
        """Warn, once, of a batch in which no anchor has a pair."""
        if self._warned_of_no_pairs or torch.compiler.is_compiling():
            return
        if 0 in batch.pairs.shape:
            n, m = batch.pairs.shape
            self.warn_of_no_pairs(f"{n} embeddings, {m} references")
            return
        reason = batch.pairs.where_none
        if self.mining is not None:
            reason = f"{reason} or the mining keeps none"
        weighed = (losses.num_pos + losses.num_neg).count_nonzero()
        if not host_can_read(weighed):
            report(weighed, partial(self._warn_if_none, reason))
        elif not weighed:
            self.warn_of_no_pairs(reason)

    def _warn_if_none(self, reason: str, weighed: Tensor) -> None:
        if not weighed.numpy():
            self.warn_of_no_pairs(reason)


def _is_shipped(method: Any) -> bool:
    """True for a method of this package, and not of a user's."""
    return str(getattr(method, "__module__", "")).startswith("pml_gpw.")
