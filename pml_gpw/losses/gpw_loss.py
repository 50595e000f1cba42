"""Any pair weighting, with any pair mining, as a PML loss."""

from functools import partial
from typing import Any, ClassVar

import torch
from pytorch_metric_learning.reducers import (
    AvgNonZeroReducer,
    DivisorReducer,
    MeanReducer,
    SumReducer,
)
from torch import Tensor
from torch.nn.modules import module
from typing_extensions import override

from .. import checks
from ..engine import AnchorLosses, PairBatch, Plan, anchor_losses
from ..engine.plan import AUTO, LAYOUTS
from ..engine.reduction import NONE, Reduction
from ..engine.warm_up import warm_up
from ..mining import PairMining
from ..pml import CheckedAttribute, ConfigFields, DistanceSimilarity
from ..reducers.anchor_reducer import AnchorReducer
from ..reductions import REDUCTIONS, ReductionName
from ..value_checks import host_can_read, report
from ..weightings import PairWeighting
from .pair_loss import LossDict, PairLoss
from .trained_fields import Trainable, TrainedFields

REDUCERS: dict[type, ReductionName] = {
    MeanReducer: "mean",
    SumReducer: "sum",
    DivisorReducer: "mean_of_anchors_with_pairs",
    AvgNonZeroReducer: "mean_of_nonzero",
}
"""Reducers of PML, by exact type, and the reductions that they are."""

STEPS = ("anchor_losses", "batch_loss", "compute_loss", "reduce", "reduce_terms", "terms_of")
"""Methods between the losses of the anchors and the loss."""


class GPWLoss(TrainedFields, ConfigFields, PairLoss):
    """The loss whose gradient is a pair weighting (General Pair Weighting, eq 1-3).

    Call it as ``loss(embeddings, labels=None, indices_tuple=None, ref_emb=None, ref_labels=None,
    self_index=None)`` with embeddings (N, D), integer labels (N,), references (M, D) and their
    labels (M,), or with a :class:`~pml_gpw.engine.PairBatch`. ``self_index`` (N,) says at which
    place among the references each anchor itself is (−1: nowhere), as in a memory; their pair is
    left out. The N losses of the anchors go to the reducer with reduction type "element"; the
    default mean is the 1/m of eq 15. An index tuple (pairs or triplets, counted once each) names
    the candidate pairs; without one all pairs are candidates, but that of an embedding with itself.
    The loss's own ``mining``, if any, refines the candidates.

    Any PML distance works; a distance D is read as S = −D and levels such as ``base`` as −base.
    With cosine or dot product similarity the loss streams: it takes the anchors in chunks and
    holds no large N×M matrix (64 MB, 128 on accelerators). The value and gradient are the same.
    Inside a user's own ``torch.compile`` it is dense: a loop over chunks would be another graph for
    each N.

    Similarities, weights and sums are computed in at least float32, also under autocast.
    ``DivisorReducer`` divides by the number of anchors that have pairs. Below it, ``MeanReducer``,
    ``SumReducer``, ``AvgNonZeroReducer`` and :class:`~pml_gpw.reducers.AnchorReducer`, which has
    the other means of the field, gradients are formed in forward; below others backward goes
    through the chunks again. A batch without pairs gives a zero loss with a zero gradient and, once
    per loss object, a warning. Reducers that go by the sign of a loss (``AvgNonZeroReducer``,
    ``ThresholdReducer``) suit weightings whose losses are ≥ 0; those of ``Constant``,
    ``Contrastive`` and eq 3 can be negative.

    No argument of a call is kept, so that threads may share a loss; statistics are those of the
    latest call.

    Args:
        weighting: the weight of each pair.
        mining: which candidate pairs are weighed at all; None: every one.
        chunk_size: anchors per chunk when streaming; None: as many as suit the cache.
        fused: whether masks, mining and weighting go through ``torch.compile`` as one function,
            which takes some seconds once for a weighting and mining (:meth:`warm_up`); None: on
            accelerators where that works, on a CPU not. Values are the same to rounding.
        trainable: fields of the weighting that are trained with the network, by name, or as
            ``{"beta": num_classes}`` for one value a class. Positive fields are kept as parameters
            ``log_<field>``, others under their own name; ``loss.<field>`` reads and sets today's
            value, and ``current_weighting()`` has all of them.
        **kwargs: as PML's ``BaseMetricLossFunction``: ``distance`` (default cosine), ``reducer``,
            ``embedding_regularizer``, ``embedding_reg_weight``, ``collect_stats``.

    Errors: ValueError for NaN or Inf, shapes that do not match, non-integer labels, indices out
    of range, without labels and tuple, and for a weighting that gives negative or NaN weights.

    Reference: Wang et al., CVPR 2019, section 3.

    >>> import torch
    >>> from pml_gpw.mining import BatchHardMining
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
    weighting: PairWeighting
    mining: PairMining | None
    chunk_size = CheckedAttribute[int | None](checks.optional_positive_integer, None)
    fused = CheckedAttribute[bool | None](checks.optional_boolean, None)
    layout = CheckedAttribute[str](partial(checks.one_of, allowed=LAYOUTS), "auto")
    """The layout of pairs, see :class:`~pml_gpw.engine.Plan`: for measurements and tests."""

    def __init__(
        self,
        weighting: PairWeighting,
        mining: PairMining | None = None,
        chunk_size: int | None = None,
        fused: bool | None = None,
        trainable: Trainable = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.chunk_size = chunk_size
        self.fused = fused
        self.weighting = weighting
        self.mining = mining
        self.train_fields(trainable)
        self.add_to_recordable_attributes(
            list_of_names=["num_pos_pairs", "num_neg_pairs"], is_stat=True
        )

    def anchor_losses(self, batch: PairBatch, reduction: Reduction = NONE) -> AnchorLosses:
        """The first step: the loss of each anchor of a batch, or of a part of one.

        ``reduction``: what the second step will make of them, where that is known.
        """
        similarity = DistanceSimilarity(self.distance)
        rules, trained = (self.weighting, self.mining), {}
        if self.trained:
            trained = self.values_of(batch.labels, batch.anchors.dtype)
        return anchor_losses(batch, *rules, similarity, self._plan(), reduction, trained)

    def _plan(self) -> Plan:
        if torch.compiler.is_compiling():  # torch 2.5 cannot trace checked attributes
            return AUTO
        return Plan(self.chunk_size, self.layout, self.fused)

    def warm_up(
        self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        """Compile what ``fused`` runs for pairs by labels now rather than in the first step.

        Errors: a RuntimeError where ``torch.compile`` does not work.
        """
        similarity = DistanceSimilarity(self.distance)
        if similarity.is_inner_product:  # others are not fused
            trained = self.values_of(torch.zeros(128, dtype=torch.int64), dtype)
            trained = {name: value.to(device) for name, value in trained.items()}
            warm_up(
                self.weighting,
                self.mining,
                device,
                dtype,
                similarity,
                trained,
                self.reduction(),
            )

    def reduce(self, losses: AnchorLosses, batch: PairBatch) -> Tensor:
        """The second step: the anchors' losses reduced, with the regularizer added."""
        return self.reduce_terms(self.terms_of(losses, batch), batch)

    @override
    def batch_loss(self, batch: PairBatch, anchor_losses: AnchorLosses | None = None) -> Tensor:
        if anchor_losses is None:
            anchor_losses = self.anchor_losses(batch, self.reduction())
        return self.reduce(anchor_losses, batch)

    @override
    def loss_terms(self, batch: PairBatch) -> LossDict:
        return self.terms_of(self.anchor_losses(batch, self.reduction(is_known=False)), batch)

    @override
    def random_rules(self) -> tuple[object, ...]:
        return (self.mining,)

    def reduction(self, is_known: bool = True) -> Reduction:
        """The reduction that the reducer makes of the losses, as far as it is known beforehand.

        ``is_known``: whether nobody else looks at the losses in between.
        """
        kind = type(self.reducer)
        name = self.reducer.reduction if kind is AnchorReducer else REDUCERS.get(kind, "none")
        found = REDUCTIONS[name]
        is_known = is_known and name != "none" and not _is_hooked(self.reducer)
        for step in STEPS:
            own = getattr(getattr(self, step), "__func__", None)
            is_known = is_known and own is getattr(GPWLoss, step)
        return found if is_known else found._replace(counts=None)

    def terms_of(self, losses: AnchorLosses, batch: PairBatch) -> LossDict:
        """The loss dictionary of PML for the losses of the anchors."""
        n, m = len(batch.anchors), len(batch.references)
        if n == 0 or m == 0:
            self.warn_of_no_pairs(f"{n} embeddings, {m} references")
            return self.zero_losses()
        weighed = (losses.num_pos + losses.num_neg).count_nonzero()
        self._record(losses, weighed, batch)
        return {
            "loss": {
                "losses": losses.losses,
                "indices": torch.arange(n, device=batch.anchors.device),
                "reduction_type": "element",
                "divisor": weighed,
                "num_pos": losses.num_pos,
                "num_neg": losses.num_neg,
            }
        }

    def _record(self, losses: AnchorLosses, weighed: Tensor, batch: PairBatch) -> None:
        """Statistics, and the warning of a batch without pairs; ``weighed``: anchors with some."""
        if torch.compiler.is_compiling():
            return
        _, num_pos, num_neg = losses
        if self.collect_stats:
            self.num_pos_pairs, self.num_neg_pairs = int(num_pos.sum()), int(num_neg.sum())
        if self._warned_of_no_pairs:
            return
        reason = batch.pairs.where_none
        if self.mining is not None:
            reason = f"{reason} or the mining keeps none"
        if not host_can_read(weighed):
            report(weighed, partial(self._warn_if_none, reason))
        elif not weighed:
            self.warn_of_no_pairs(reason)

    def _warn_if_none(self, reason: str, weighed: Tensor) -> None:
        if not weighed.numpy():
            self.warn_of_no_pairs(reason)


def _is_hooked(reducer: Any) -> bool:
    """True where somebody may change the losses on their way through a reducer."""
    own = "forward" in vars(reducer) or "element_reduction" in vars(reducer)
    every = module._global_forward_pre_hooks or module._global_forward_hooks
    return bool(own or reducer._forward_pre_hooks or reducer._forward_hooks or every)
