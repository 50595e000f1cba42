"""The common base of the pair losses of this package, as PML losses."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor
from typing_extensions import override

from ..engine import AnchorLosses, LabelPairs, PairBatch
from ..pml import CheckedParts, one_of_both, pair_batch
from ..precision import full_precision

LossDict = dict[str, dict[str, Any]]


class PairLoss(CheckedParts, BaseMetricLossFunction):
    """A PML loss that makes a :class:`~pml_gpw.engine.PairBatch` of its arguments, once.

    It can be called with such a batch in place of its arguments, as wrappers of losses do.
    Subclasses implement :meth:`loss_terms`; a user's own ``compute_loss`` is respected.
    """

    _warned_of_no_pairs = False

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
        batch = pair_batch(embeddings, *arguments, rules=self.random_rules())
        with full_precision(batch.anchors):
            self.reset_stats()
            if not self.has_own_compute_loss():
                return self.batch_loss(batch, anchor_losses)
            by_labels = isinstance(batch.pairs, LabelPairs) and not batch.pairs.self_index_is_given
            pairs = None if by_labels else batch.pairs.index_tuple()
            with nullcontext() if batch.key is None else _drawing_by(batch.key):
                terms = self.compute_loss(
                    batch.anchors, batch.labels, pairs, batch.references, batch.reference_labels
                )
            return self.reduce_terms(terms, batch)

    def batch_loss(self, batch: PairBatch, anchor_losses: AnchorLosses | None = None) -> Tensor:
        """The loss of a batch of pairs, whose anchors' losses may be known already."""
        return self.reduce_terms(self.loss_terms(batch), batch)

    def has_own_compute_loss(self) -> bool:
        """True where a user's ``compute_loss`` stands in place of this package's."""
        own = type(self).compute_loss is not PairLoss.compute_loss
        return own or "compute_loss" in self.__dict__

    @abstractmethod
    def loss_terms(self, batch: PairBatch) -> LossDict:
        """The loss dictionary of PML for a batch of pairs."""

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
        return self.loss_terms(pair_batch(*arguments, rules=self.random_rules()))

    def reduce_terms(self, terms: LossDict, batch: PairBatch) -> Tensor:
        """The reduced loss of PML's dictionary, with the regularizer of the embeddings added."""
        self.add_embedding_regularization_to_loss_dict(terms, batch.anchors)
        return self.reducer(terms, batch.anchors, batch.labels)

    def random_rules(self) -> tuple[object, ...]:
        """The minings inside the loss, for which a call may have to draw a random key."""
        return ()

    @override
    def get_default_distance(self) -> BaseDistance:
        return CosineSimilarity()

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


@contextmanager
def _drawing_by(key: Tensor) -> Iterator[None]:
    """A context in which random rules draw by the key of a call, as in each process of a group."""
    with torch.random.fork_rng():
        torch.manual_seed(int(key))
        yield
