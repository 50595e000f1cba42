"""What every pair loss of this package has in common as a PML loss."""

import warnings
from collections.abc import Sequence
from typing import Any

from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor

from ..inputs import checked_inputs, full_precision

LossDict = dict[str, dict[str, Any]]


class PairLoss(BaseMetricLossFunction):
    """A PML loss that checks its inputs, computes in at least float32 and warns of empty batches.

    Subclasses implement PML's ``compute_loss``.
    """

    _warned_of_no_pairs = False
    _own: Tensor | None = None  # for the time of a call

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Sequence[Tensor] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        own: Tensor | None = None,
    ) -> Tensor:
        """The loss, as the class says. Embeddings (N, D), labels (N,), references (M, D)."""
        if own is not None and indices_tuple is not None:
            raise ValueError("own must be None where an indices_tuple names the pairs")
        inputs = checked_inputs(embeddings, labels, ref_emb, ref_labels)
        self._own = own
        try:
            with full_precision(embeddings):
                return super().forward(
                    inputs.embeddings,
                    inputs.labels,
                    indices_tuple,
                    inputs.ref_emb,
                    inputs.ref_labels,
                )
        finally:
            self._own = None

    def get_default_distance(self) -> BaseDistance:
        """Cosine similarity."""
        return CosineSimilarity()

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
