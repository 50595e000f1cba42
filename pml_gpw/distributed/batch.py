"""The arguments of a call, put together from those of all processes.

Shapes: N anchors of all processes, n of them one process's, M references, D dims.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..arguments import (
    NAMES,
    Embeddings,
    find_self_index,
    resolved_batch,
)
from ..engine import PairBatch
from ..engine.index_pairs import checked_tuple
from ..modules.cross_batch_memory import Keys
from ..related_pairs import related_batch
from .exchange import Exchange, must_be_alike
from .row_partition import RowPartition, with_gradient


class Arguments(NamedTuple):
    """The arguments of a call, checked."""

    embeddings: Tensor
    labels: Tensor | None
    indices_tuple: Sequence[Tensor] | None
    ref_emb: Tensor | None
    ref_labels: Tensor | None
    enqueue_mask: Tensor | None
    keys: Keys = Keys(None, None)
    wants_pairs: bool = False


class Report(NamedTuple):
    """The facts of a call that other processes have to know before anything is sent."""

    anchors: int
    references: int
    gradients: tuple[bool, bool]
    keys: tuple[int | None, ...]
    wants_pairs: bool
    alike: dict[str, Any]

    @classmethod
    def of(cls, call: Arguments) -> "Report":
        """The report on a checked call."""
        embeddings, ref_emb = call.embeddings, call.ref_emb
        alike: dict[str, Any] = {
            name: "None" if value is None else "given"
            for name, value in call._asdict().items()
            if name not in ("embeddings", "keys", "wants_pairs")
        }
        alike |= {"dims": embeddings.shape[1], "dtype of embeddings": embeddings.dtype}
        if call.labels is not None:
            alike["shape of a label"] = tuple(call.labels.shape[1:])
        if ref_emb is not None:
            alike["dtype of ref_emb"] = ref_emb.dtype
        gradients = embeddings.requires_grad, ref_emb is not None and ref_emb.requires_grad
        keys = tuple(None if key is None else int(key) for key in call.keys)
        references = 0 if ref_emb is None else len(ref_emb)
        return cls(len(embeddings), references, gradients, keys, call.wants_pairs, alike)


class GatheredCall(NamedTuple):
    """The arguments of all processes, and whose rows are whose.

    The index tuple is that of this process alone, whose anchors it is about; its places are those
    in the batch of all.
    """

    arguments: Arguments
    anchors: RowPartition
    references: RowPartition

    def pair_batch(self, *, indices_tuple: Sequence[Tensor] | None, relation: Any) -> PairBatch:
        """The batch of all processes, with the pairs of a tuple or all that the labels give.

        ``relation``: of labels, in place of their equality.
        """
        embeddings, labels, _, ref_emb, ref_labels, _, keys, _ = self.arguments
        if ref_emb is None:
            given = Embeddings(embeddings, embeddings, labels, labels)
        else:
            if ref_labels is None and labels is not None and len(ref_emb) == len(labels):
                ref_labels = labels
            given = Embeddings(embeddings, ref_emb, labels, ref_labels)
        if relation is None or indices_tuple is not None:
            return resolved_batch(given, indices_tuple, None, NAMES, keys.loss)
        self_index = find_self_index(given.anchors, given.references)
        return related_batch(*given, relation, self_index, keys.loss)

    @property
    def compared(self) -> RowPartition:
        """Whose anchors are whose: all rows but those that are put into a memory only."""
        mask = self.arguments.enqueue_mask
        if mask is None:
            return self.anchors
        sizes = tuple(int((~part).sum()) for part in mask.split(list(self.anchors.sizes)))
        return RowPartition(self.anchors.rank, sizes)


def gathered_call(call: Arguments, exchange: Exchange) -> GatheredCall:
    """The call of all processes from the checked one of this process.

    Errors: ValueError on all processes for calls that do not fit, and for a tuple that is none or
    holds places beyond the batch.
    """
    reports = exchange.tell(Report.of(call))
    must_be_alike([each.alike for each in reports])
    anchors = RowPartition(exchange.rank, tuple(each.anchors for each in reports))
    references = RowPartition(exchange.rank, tuple(each.references for each in reports))
    device = call.embeddings.device
    needed, ref_needed = (any(each.gradients[i] for each in reports) for i in range(2))
    rows = {
        "embeddings": (anchors, _with_gradient(call.embeddings, needed)),
        "labels": (anchors, call.labels),
        "ref_emb": (references, _with_gradient(call.ref_emb, ref_needed)),
        "ref_labels": (references, call.ref_labels),
        "enqueue_mask": (anchors, call.enqueue_mask),
    }
    given = {
        name: (partition, local.to(device))
        for name, (partition, local) in rows.items()
        if local is not None
    }
    others = anchors if call.ref_emb is None else references
    tuple_of_all = _renumbered(call.indices_tuple, anchors, others, device)
    parts = [(partition.sizes, local) for partition, local in given.values()]
    gathered = dict(zip(given, exchange.gather(*parts), strict=True))
    for name in ("embeddings", "ref_emb"):
        if name in given:
            partition, local = given[name]
            gathered[name] = with_gradient(exchange, local, gathered[name], partition.local)
    keys = Keys(
        *(None if key is None else torch.tensor(key, device=device) for key in reports[0].keys)
    )
    wants_pairs = any(each.wants_pairs for each in reports)
    whole = call._replace(
        indices_tuple=tuple_of_all, keys=keys, wants_pairs=wants_pairs, **gathered
    )
    return GatheredCall(whole, anchors, others)


def gathered_pairs(
    exchange: Exchange, batch: PairBatch, part: PairBatch, partition: RowPartition
) -> PairBatch:
    """The batch of all processes with the pairs that each has for its part of the anchors."""
    a1, p, a2, n = part.pairs.index_tuple()
    start, device = partition.local.start, batch.anchors.device
    everyone = exchange.tell([index.cpu() for index in (a1 + start, p, a2 + start, n)])
    parts = zip(*everyone, strict=True)
    return batch.with_indices([torch.cat(each).to(device) for each in parts])


def _renumbered(
    indices_tuple: Sequence[Tensor] | None,
    anchors: RowPartition,
    references: RowPartition,
    device: torch.device,
) -> Sequence[Tensor] | None:
    """A tuple that counts this process's rows first, with the places of the batch of all."""
    if indices_tuple is None:
        return None
    first, others = anchors.local_first(device), references.local_first(device)
    (a1, p), (a2, n) = checked_tuple(indices_tuple, (len(first), len(others)), device)
    return first[a1], others[p], first[a2], others[n]


def _with_gradient(rows: Tensor | None, needed: bool) -> Tensor | None:
    """The rows; where other processes need a gradient, such that take part in backward too."""
    if rows is None or not needed or rows.requires_grad:
        return rows
    return rows.detach().requires_grad_()
