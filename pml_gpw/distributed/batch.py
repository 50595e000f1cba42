"""The arguments of a call, put together from those of all processes.

Shapes: N anchors of all processes, n of them one's own, M references, D dims.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.distributed as dist
from torch import Tensor

from ..pairs import tuple_pairs
from .exchange import Shares, agree, must_be_alike


class Batch(NamedTuple):
    """The arguments of a call."""

    embeddings: Tensor
    labels: Tensor | None
    indices_tuple: Sequence[Tensor] | None
    ref_emb: Tensor | None
    ref_labels: Tensor | None
    enqueue_mask: Tensor | None


class Report(NamedTuple):
    """What the other processes have to know of a batch before it is sent."""

    anchors: int
    references: int
    gradients: tuple[bool, bool]
    alike: dict[str, Any]

    @classmethod
    def on(cls, batch: Batch) -> "Report":
        """The report on a checked batch."""
        embeddings, ref_emb = batch.embeddings, batch.ref_emb
        alike: dict[str, Any] = {
            name: "None" if value is None else "given"
            for name, value in batch._asdict().items()
            if name != "embeddings"
        }
        alike |= {"dims": embeddings.shape[1], "dtype of embeddings": embeddings.dtype}
        if ref_emb is not None:
            alike["dtype of ref_emb"] = ref_emb.dtype
        gradients = embeddings.requires_grad, ref_emb is not None and ref_emb.requires_grad
        return cls(len(embeddings), 0 if ref_emb is None else len(ref_emb), gradients, alike)


class Gathered(NamedTuple):
    """The batch of all processes, its index tuple still one's own, and whose rows are whose."""

    batch: Batch
    anchors: Shares
    references: Shares

    def renumbered(self) -> Batch:
        """The batch with the places of its index tuple as they are in the batch of all.

        Errors: ValueError for a tuple that is none or holds places beyond the batch.
        """
        assert self.batch.indices_tuple is not None
        device = self.batch.embeddings.device
        first, others = self.anchors.own_first(device), self.references.own_first(device)
        shape = len(first), len(others)
        (a1, p), (a2, n) = tuple_pairs(self.batch.indices_tuple, shape, device)
        return self.batch._replace(indices_tuple=(first[a1], others[p], first[a2], others[n]))

    def compared(self) -> Shares:
        """Whose anchors are whose: all rows, but those that are put into a memory only."""
        mask = self.batch.enqueue_mask
        if mask is None:
            return self.anchors
        sizes = tuple(int((~part).sum()) for part in mask.split(list(self.anchors.sizes)))
        return Shares(self.anchors.group, self.anchors.rank, sizes)


def gathered(batch: Batch | None, error: Exception | None, group: Any) -> Gathered:
    """The batch of all processes from that of this one, or from the ``error`` that it has.

    Errors: ValueError on all processes for the error of one and for batches that do not fit.
    """
    reports = agree(group, None if batch is None else Report.on(batch), error)
    assert batch is not None
    must_be_alike([each.alike for each in reports])
    rank = dist.get_rank(group)
    anchors = Shares(group, rank, tuple(each.anchors for each in reports))
    references = Shares(group, rank, tuple(each.references for each in reports))
    embeddings, labels, indices_tuple, ref_emb, ref_labels, mask = batch
    device = embeddings.device
    needed, ref_needed = (any(each.gradients[i] for each in reports) for i in range(2))
    whole = Batch(
        anchors.gathered(_with_gradient(embeddings, needed)),
        None if labels is None else anchors.concatenated(labels.to(device)),
        indices_tuple,
        None if ref_emb is None else references.gathered(_with_gradient(ref_emb, ref_needed)),
        None if ref_labels is None else references.concatenated(ref_labels),
        None if mask is None else anchors.concatenated(mask.to(device)),
    )
    return Gathered(whole, anchors, anchors if ref_emb is None else references)


def _with_gradient(rows: Tensor, needed: bool) -> Tensor:
    """The rows; where other processes need a gradient, such that take part in backward too."""
    return rows.detach().requires_grad_() if needed and not rows.requires_grad else rows
