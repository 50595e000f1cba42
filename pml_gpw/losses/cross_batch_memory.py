"""A queue of past embeddings as references: PML's cross-batch memory, mended and streamed."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_metric_learning.losses import CrossBatchMemory as PMLCrossBatchMemory
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor

from .. import checks
from ..inputs import at_least_float32
from ..miners import MSMiner
from ..pairs import tuple_pairs
from .gpw_loss import GPWLoss
from .pair_loss import PairLoss
from .pair_similarity_loss import PairSimilarityLoss
from .self_supervised_loss import class_names


class CrossBatchMemory(PMLCrossBatchMemory):
    """The loss of a batch against a memory of the latest embeddings, the batch's own included.

    Call it as ``memory(embeddings, labels, indices_tuple=None, enqueue_mask=None)`` with
    embeddings (N, D) and integer labels (N,). All N are put into the memory and compared with
    all that is in it; with a mask (N,) those under it are put in and the others compared.
    References carry no gradient. Pairs are those of the miner, or all; an index tuple, whose
    indices are those of the batch, adds its pairs.

    Beyond PML's class it takes every loss of this package, which then streams: no N×M matrix is
    held. An anchor's own copy in the memory is left out before ``MSMiner`` and the losses of this
    package mine (miners of PML see it; its pairs are dropped afterwards). The memory is kept in
    at least float32, so half-precision embeddings and autocast are safe, and ``state_dict`` holds
    all of it: the next loss after loading is the same as without.

    Args:
        loss: a loss of this package, or one that PML's class takes.
        embedding_size: D.
        memory_size: how many embeddings the memory holds.
        miner: a PML miner, or None for all pairs.
        warm_up: how many calls go by before the memory is filled and used, since early embeddings
            change quickly; until then the loss is that within the batch.
        add_batch_loss: whether the loss within the batch is added to that against the memory.
        **kwargs: as PML's class.

    Errors: ValueError for embeddings that do not fit the memory, for a mask together with a
    tuple, for a tuple that contradicts the labels, and as :class:`GPWLoss`.

    Reference: Wang et al., Cross-Batch Memory for Embedding Learning, CVPR 2020.
    """

    embedding_memory: Tensor
    label_memory: Tensor

    def __init__(
        self,
        loss: torch.nn.Module,
        embedding_size: int,
        memory_size: int = 1024,
        miner: torch.nn.Module | None = None,
        warm_up: int = 0,
        add_batch_loss: bool = False,
        **kwargs: Any,
    ) -> None:
        checks.positive_integer("embedding_size", embedding_size)
        checks.positive_integer("memory_size", memory_size)
        checks.non_negative_integer("warm_up", warm_up)
        super().__init__(loss, embedding_size, memory_size, miner, **kwargs)
        self.warm_up = warm_up
        self.add_batch_loss = add_batch_loss

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Sequence[Tensor] | None = None,
        enqueue_mask: Tensor | None = None,
    ) -> Tensor:
        """See the class."""
        labels = self.check(embeddings, labels, indices_tuple, enqueue_mask)
        embeddings = at_least_float32(embeddings)
        self.reset_stats()
        self.calls += 1
        if enqueue_mask is None:
            batch = embeddings, labels
            own = torch.arange(len(labels), device=labels.device)
        else:
            enqueue_mask = enqueue_mask.to(embeddings.device)
            batch = embeddings[enqueue_mask].detach(), labels[enqueue_mask]
            embeddings, labels = embeddings[~enqueue_mask], labels[~enqueue_mask]
            own = torch.full_like(labels, -1)
        if self.calls <= self.warm_up:
            return self._against(*batch, own, embeddings, labels, indices_tuple)
        self.add_to_memory(*batch, len(batch[0]))
        held = len(self.label_memory) if self.has_been_filled else self.queue_idx
        references = self.embedding_memory[:held].to(embeddings.dtype)
        if not self.loss.distance.normalize_embeddings:
            references = references.clone()  # the next call may write before backward has read
        places = self.curr_batch_idx if enqueue_mask is None else own
        memory = references, self.label_memory[:held], places
        loss = self._against(*memory, embeddings, labels, indices_tuple)
        if self.add_batch_loss:
            loss = loss + self._against(*batch, own, embeddings, labels, indices_tuple)
        return loss

    def add_to_memory(self, embeddings: Tensor, labels: Tensor, batch_size: int) -> None:
        """Put ``embeddings`` (K, D) and ``labels`` (K,) in the place of the oldest."""
        dtype = torch.promote_types(self.embedding_memory.dtype, embeddings.dtype)
        with torch.inference_mode(False), torch.no_grad():
            self.embedding_memory = self.embedding_memory.to(embeddings.device, dtype)
            self.label_memory = self.label_memory.to(embeddings.device)
            if batch_size:
                super().add_to_memory(embeddings.to(dtype), labels, batch_size)
            else:  # PML would take a memory that nothing is added to for a full one
                self.curr_batch_idx = torch.empty_like(labels)

    def _against(
        self,
        references: Tensor,
        ref_labels: Tensor,
        own: Tensor,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Sequence[Tensor] | None,
    ) -> Tensor:
        """The loss against references (M, D), of which ``own`` (N,) are the anchors' copies; −1
        where an anchor has none."""
        given = embeddings, labels, references, ref_labels
        if self.miner is None and isinstance(self.loss, PairLoss):
            # All pairs there are, those of the tuple among them.
            return self.loss(embeddings, labels, None, references, ref_labels, own=own)
        if isinstance(self.miner, MSMiner):
            pairs = self.miner(*given, own=own)
        elif self.miner is not None:
            pairs = _without(own, self.miner(*given))
        else:
            pairs = _without(own, lmu.get_all_pairs_indices(labels, ref_labels))
        if indices_tuple is not None:
            convert = lmu.convert_to_pairs if len(pairs) == 4 else lmu.convert_to_triplets
            added = _without(own, _shifted(own, convert(indices_tuple, labels)))
            pairs = tuple(torch.cat(both) for both in zip(pairs, added, strict=True))
        return self.loss(embeddings, labels, pairs, references, ref_labels)

    def check(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Sequence[Tensor] | None,
        enqueue_mask: Tensor | None,
    ) -> Tensor:
        """The labels (N,) of a call in int64; ValueError for what it refuses, as it stands."""
        checks.embedding_matrix("embeddings", embeddings)
        labels = checks.integer_labels("labels", labels, len(embeddings)).to(embeddings.device)
        if embeddings.shape[1] != self.embedding_size:
            raise ValueError(
                f"embeddings must have the {self.embedding_size} dimensions of the memory, "
                f"got {embeddings.shape[1]}"
            )
        num_new = len(embeddings)
        if enqueue_mask is not None:
            if indices_tuple is not None:
                raise ValueError("indices_tuple must be None where an enqueue_mask is given")
            checks.boolean_mask("enqueue_mask", enqueue_mask, len(labels))
            num_new = int(enqueue_mask.sum())
        if num_new > self.memory_size:
            raise ValueError(
                f"embeddings to put into the memory must be at most {self.memory_size}, "
                f"got {num_new}"
            )
        if indices_tuple is not None:
            (a1, p), (a2, n) = tuple_pairs(indices_tuple, (num_new, num_new), labels.device)
            if (labels[a1] != labels[p]).any() or (labels[a2] == labels[n]).any():
                raise ValueError(
                    "indices_tuple must agree with the labels, which the pairs of the memory "
                    "go by, got a positive of another label or a negative of the same"
                )
        return labels

    def reset_queue(self) -> None:
        """Forget all embeddings and calls."""
        super().reset_queue()
        self.calls = 0

    def get_extra_state(self) -> dict[str, Any]:
        """Where the queue stands, as plain data."""
        return {
            "queue_idx": self.queue_idx,
            "has_been_filled": self.has_been_filled,
            "calls": self.calls,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore where the queue stood."""
        for name, value in state.items():
            setattr(self, name, value)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        saved = state_dict.get(f"{prefix}embedding_memory")
        if saved is not None:  # copied into the buffer, whose dtype would otherwise round it
            self.embedding_memory = self.embedding_memory.to(saved.dtype)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @staticmethod
    def supported_losses() -> list[str]:
        """PML's names and those of ``PairSimilarityLoss``, ``GPWLoss`` and its subclasses."""
        return [
            *PMLCrossBatchMemory.supported_losses(),
            PairSimilarityLoss.__name__,
            *class_names(GPWLoss),
        ]


def _shifted(own: Tensor, indices_tuple: Sequence[Tensor]) -> Sequence[Tensor]:
    """An index tuple of the batch with others than anchors at their places in the memory."""
    anchors = (0, 2) if len(indices_tuple) == 4 else (0,)
    return [index if place in anchors else own[index] for place, index in enumerate(indices_tuple)]


def _without(own: Tensor, indices_tuple: Sequence[Tensor]) -> Sequence[Tensor]:
    """An index tuple without the pairs of an anchor and its own copy."""
    anchor, positive, *rest = indices_tuple
    other = own[anchor] != positive
    if len(rest) == 1:  # triplets
        return anchor[other], positive[other], rest[0][other]
    return anchor[other], positive[other], *rest
