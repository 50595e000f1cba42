"""The loss of columns of pairs, such as queries and their documents, as a module."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..arguments import pair_batch
from ..columns import checked_directions, column_comparisons, share_an_id
from .gpw_loss import GPWLoss


class ColumnLoss(nn.Module):
    """The loss of queries and documents: the two of a row are positives, all others negatives.

    Call it as ``loss(queries, documents, *negatives, query_ids=None, doc_ids=None)`` with queries
    (N, D), the document of each (N, D), and columns of further documents (·, D) that are negatives
    of all. ``query_ids`` and ``doc_ids`` are (N,) integers; rows with equal ids are positives of
    each other, so that duplicates do not count as negatives. No N×M matrix is held.

    With a :class:`~pml_gpw.distributed.DistributedLoss` the documents of all processes are
    references of each query; processes may have different numbers of rows. Two columns there whose
    embeddings are all equal count as one column, and a row is then no pair with itself.

    Args:
        loss: a ``GPWLoss``, or a ``DistributedLoss`` of one; its mining sees queries as anchors.
        directions: "query_to_doc": queries are anchors, all documents references; "doc_to_query":
            the documents of the second column are anchors, queries references. With both, the loss
            is their mean.

    Errors: ValueError for another loss, for columns that do not fit, for other directions, and for
    both kinds of ids in a process group.

    >>> import torch
    >>> from pml_gpw.modules import ColumnLoss, GPWLoss
    >>> from pml_gpw.weightings import LiftedStructure
    >>> loss = ColumnLoss(GPWLoss(LiftedStructure()), directions=("query_to_doc", "doc_to_query"))
    >>> queries, documents = torch.rand(2, 8, 4).unbind()
    >>> loss(queries, documents).shape
    torch.Size([])
    """

    def __init__(self, loss: nn.Module, directions: Sequence[str] = ("query_to_doc",)) -> None:
        super().__init__()
        # A DistributedLoss, which is a room above, knows its first row.
        within = loss.loss if hasattr(loss, "first_row") else loss
        if not isinstance(within, GPWLoss) or within.pairs is not None:
            raise ValueError(
                "loss must be a GPWLoss without a relation, or a DistributedLoss of one, got "
                f"{loss!r}"
            )
        self.loss: Any = loss
        self.directions = checked_directions(directions)

    @override
    def forward(
        self,
        *columns: Tensor,
        query_ids: Tensor | None = None,
        doc_ids: Tensor | Sequence[Tensor] | None = None,
    ) -> Tensor:
        """The loss of queries, documents and further documents."""
        first_row = 0
        if not isinstance(self.loss, GPWLoss):
            if query_ids is not None and doc_ids is not None:
                raise ValueError("doc_ids must be None beside query_ids in a process group")
            first_row = self.loss.first_row(len(columns[0]))
        given = query_ids, doc_ids, first_row
        comparisons = column_comparisons(columns, self.directions, *given)
        losses = [self._of(*comparison) for comparison in comparisons]
        return torch.stack(losses).mean(dim=0)

    def _of(
        self, anchors: Tensor, references: Tensor, labels: Tensor, reference_labels: Tensor
    ) -> Tensor:
        if not isinstance(self.loss, GPWLoss):
            loss: Tensor = self.loss(anchors, labels, None, references, reference_labels)
            return loss
        nowhere = torch.full((len(anchors),), -1, device=anchors.device)
        arguments = labels, None, references, reference_labels, nowhere
        relation = share_an_id if labels.ndim == 2 else None
        return self.loss(pair_batch(anchors, *arguments, self.loss.random_rules(), relation))
