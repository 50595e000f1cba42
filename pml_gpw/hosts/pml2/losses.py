"""The losses of this package as losses of PML."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.reducers import (
    AvgNonZeroReducer,
    DivisorReducer,
    MeanReducer,
    SumReducer,
)
from torch import Tensor
from torch.nn.modules import module
from typing_extensions import override

from ... import modules
from ...arguments import pair_batch
from ...engine import AnchorLosses, LabelPairs, PairBatch, Similarity
from ...engine.reduction import Reduction
from ...modules.gpw_loss import PairLoss
from ...modules.variants import variant_of
from ...reductions import REDUCTIONS, ReductionName
from ...related_pairs import refuse_values
from ...relations import LINEAR, WeightedRelations
from .anchor_reducer import AnchorReducer
from .checked_parts import CheckedParts
from .miners import MSMiner
from .records import Records
from .similarity import DistanceSimilarity, refuse_both, with_distance

LossDict = dict[str, dict[str, Any]]

REDUCERS: dict[type, ReductionName] = {
    MeanReducer: "mean",
    SumReducer: "sum",
    DivisorReducer: "mean_of_anchors_with_pairs",
    AvgNonZeroReducer: "mean_of_nonzero",
}
"""Reducers of PML, by exact type, and the reductions that they are."""


class PMLPairLoss(PairLoss, CheckedParts, BaseMetricLossFunction):
    """A PML loss of pairs; a user's own ``compute_loss`` is respected."""

    def measure(self) -> Similarity:
        """The similarity of PML's distance."""
        return DistanceSimilarity(part_of(self, "distance"))

    def loss_terms(self, batch: PairBatch) -> LossDict:
        """The loss dictionary of PML for a batch of pairs."""
        raise NotImplementedError

    @override
    def batch_loss(self, batch: PairBatch, anchor_losses: AnchorLosses | None = None) -> Tensor:
        if self.collect_stats:
            self.reset_stats()
        if not self.needs_all_anchors():
            return self.reduce_terms(self.loss_terms(batch), batch)
        by_labels = isinstance(batch.pairs, LabelPairs) and not batch.pairs.self_index_is_given
        refuse_values(batch.pairs)
        pairs = None if by_labels else batch.pairs.index_tuple()
        with nullcontext() if batch.key is None else _drawing_by(batch.key):
            terms = self.compute_loss(
                batch.anchors, batch.labels, pairs, batch.references, batch.reference_labels
            )
        return self.reduce_terms(terms, batch)

    @override
    def needs_all_anchors(self) -> bool:
        """True where a user's ``compute_loss`` stands in place of this package's."""
        own = type(self).compute_loss is not PMLPairLoss.compute_loss
        return own or "compute_loss" in self.__dict__

    @override
    def compute_loss(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Sequence[Tensor] | None,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> LossDict:
        arguments = embeddings, labels, indices_tuple, ref_emb, ref_labels
        return self.loss_terms(pair_batch(*arguments, None, self.random_rules(), self.pairs))

    def reduce_terms(self, terms: LossDict, batch: PairBatch) -> Tensor:
        """The reduced loss of PML's dictionary, with the regularizer of the embeddings added."""
        self.add_embedding_regularization_to_loss_dict(terms, batch.anchors)
        return part_of(self, "reducer")(terms, batch.anchors, batch.labels)

    @override
    def get_default_distance(self) -> BaseDistance:
        return CosineSimilarity()


class GPWLoss(Records, modules.GPWLoss, PMLPairLoss):
    """:class:`pml_gpw.modules.GPWLoss` as a loss of PML.

    Beyond the plain loss it has PML's distances, reducers, regularizers and statistics. The N
    losses of the anchors go to the reducer with reduction type "element"; the default mean is the
    1/m of eq 15. Any PML distance works; a distance D is read as S = −D and levels such as ``base``
    as −base. With cosine or dot product similarity the loss streams.

    ``DivisorReducer`` divides by the number of anchors that have pairs. Below it, ``MeanReducer``,
    ``SumReducer``, ``AvgNonZeroReducer`` and :class:`~pml_gpw.reducers.AnchorReducer`, which has
    the other means of the field, gradients are formed in forward; below others backward goes
    through the chunks again. Reducers that go by the sign of a loss (``AvgNonZeroReducer``,
    ``ThresholdReducer``) suit weightings whose losses are ≥ 0; those of ``Constant``,
    ``Contrastive`` and eq 3 can be negative. Statistics are those of the latest call.

    Args:
        weighting: and all that follows, see :class:`pml_gpw.modules.GPWLoss`; a ``reduction``
            stands for a ``reducer``, and a ``similarity`` for a ``distance``.
        **options: as PML's ``BaseMetricLossFunction``: ``distance`` (default cosine), ``reducer``,
            ``embedding_regularizer``, ``embedding_reg_weight``, ``collect_stats``.

    Errors: as the plain loss; ValueError for a reduction beside a reducer.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import GPWLoss
    >>> from pml_gpw.weightings import LiftedStructure
    >>> from pytorch_metric_learning.reducers import SumReducer
    >>> loss = GPWLoss(LiftedStructure(), reducer=SumReducer())
    >>> loss(torch.eye(4), torch.tensor([0, 0, 1, 1]))
    tensor(6.7726)
    """

    steps: ClassVar[tuple[str, ...]] = (
        *modules.GPWLoss.steps,
        "compute_loss",
        "reduce_terms",
        "terms_of",
    )

    @override
    def init_module(
        self,
        reduction: ReductionName | None,
        similarity: str | None,
        options: Mapping[str, Any],
    ) -> None:
        options = dict(options)
        if reduction is not None:
            refuse_both("reduction", reduction, "reducer", options)
        elif options.get("reducer") is None:
            reduction = self.default_reduction
        if reduction not in (None, "mean"):
            options["reducer"] = AnchorReducer(reduction)
        if similarity is None:
            similarity = "cosine" if options.get("distance") else self.default_similarity
        CheckedParts.__init__(self, **with_distance(similarity, options))
        self.add_to_recordable_attributes(
            list_of_names=["num_pos_pairs", "num_neg_pairs"], is_stat=True
        )

    measure = PMLPairLoss.measure

    @override
    def batch_loss(self, batch: PairBatch, anchor_losses: AnchorLosses | None = None) -> Tensor:
        if self.needs_all_anchors():
            return PMLPairLoss.batch_loss(self, batch)
        if self.collect_stats:
            self.reset_stats()
        return super().batch_loss(batch, anchor_losses)

    @override
    def reduce(self, losses: AnchorLosses, batch: PairBatch) -> Tensor:
        return self.reduce_terms(self.terms_of(losses, batch), batch)

    @override
    def loss_terms(self, batch: PairBatch) -> LossDict:
        reduction = self.known_reduction()._replace(counts=None)
        return self.terms_of(self.anchor_losses(batch, reduction), batch)

    @override
    def reduction_of_anchors(self) -> Reduction:
        """The reduction that the reducer makes of the losses, as far as it is known."""
        reducer = part_of(self, "reducer")
        kind = type(reducer)
        name = reducer.reduction if kind is AnchorReducer else REDUCERS.get(kind, "none")
        if isinstance(self.pairs, WeightedRelations):
            is_other = name == "none" and kind is not AnchorReducer
            if is_other or name not in LINEAR:
                raise ValueError(
                    "reducer of several relations must be a mean or a sum of the anchors, got "
                    f"{reducer!r}"
                )
        is_known = name != "none" and not _is_hooked(reducer)
        return REDUCTIONS[name] if is_known else REDUCTIONS[name]._replace(counts=None)

    def terms_of(self, losses: AnchorLosses, batch: PairBatch) -> LossDict:
        """The loss dictionary of PML for the losses of the anchors."""
        self.look_for_pairs(losses, batch)
        if 0 in batch.pairs.shape:
            return self.zero_losses()
        if self.collect_stats and not torch.compiler.is_compiling():
            _, num_pos, num_neg = losses
            self.num_pos_pairs, self.num_neg_pairs = int(num_pos.sum()), int(num_neg.sum())
        return {
            "loss": {
                "losses": losses.losses,
                "indices": torch.arange(len(batch.anchors), device=batch.anchors.device),
                "reduction_type": "element",
                "divisor": (losses.num_pos + losses.num_neg).count_nonzero(),
                "num_pos": losses.num_pos,
                "num_neg": losses.num_neg,
            }
        }


class MSWeightedLoss(modules.MSWeightedLoss, GPWLoss):
    """:class:`pml_gpw.modules.MSWeightedLoss` as a loss of PML; compose it with ``MSMiner``.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import MSMiner, MSWeightedLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> labels = torch.tensor([0, 0, 1])
    >>> MSWeightedLoss()(embeddings, labels, MSMiner()(embeddings, labels))
    tensor(0.2262)
    """


class MSLoss(modules.MSLoss, GPWLoss):
    """:class:`pml_gpw.modules.MSLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import MSLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> MSLoss(alpha=2)(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.2262)
    """


def ms_variant(
    similarities: str,
    *,
    alpha: float = 2,
    beta: float = 50,
    base: float = 0.5,
    epsilon: float = 0.1,
    **kwargs: Any,
) -> tuple[MSMiner | None, GPWLoss]:
    """Miner and loss of PML that use just the given similarities.

    As :func:`pml_gpw.modules.ms_variant`, with the options of :class:`GPWLoss`.

    >>> from pml_gpw.hosts.pml2 import ms_variant
    >>> ms_variant("SN")
    (None, GPWLoss(
      MultiSimilarity(alpha=2.0, beta=50.0, base=0.5), None
      (distance): CosineSimilarity()
      (reducer): MeanReducer()
    ))
    """
    return variant_of(MSMiner, GPWLoss, similarities, (alpha, beta, base, epsilon), kwargs)


def part_of(module: torch.nn.Module, name: str) -> Any:
    """A distance or reducer, found before the fields of rules are asked for their names."""
    found: Any = module._modules.get(name)
    return getattr(module, name) if found is None else found


@contextmanager
def _drawing_by(key: Tensor) -> Iterator[None]:
    """A context in which random rules draw by the key of a call, as in each process of a group."""
    with torch.random.fork_rng():
        torch.manual_seed(int(key))
        yield


def _is_hooked(reducer: Any) -> bool:
    """True where somebody may change the losses on their way through a reducer."""
    own = "forward" in vars(reducer) or "element_reduction" in vars(reducer)
    every = module._global_forward_pre_hooks or module._global_forward_hooks
    return bool(own or reducer._forward_pre_hooks or reducer._forward_hooks or every)
