"""A queue of past embeddings as references (cross-batch memory), streamed."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override

from .. import checks
from ..arguments import drawn_key, random_rules_of
from ..engine import LabelPairs, PairBatch
from ..engine.index_pairs import checked_tuple, without_own_positives
from ..precision import at_least_float32
from ..related_pairs import related_batch, relation_labels
from .gpw_loss import PairLoss
from .pair_miner import check_loss, check_relation, mined_from, mines_batches

Indices = Sequence[Tensor]
STATE = ("embedding_memory", "label_memory", "_extra_state")
"""The entries of a state_dict that are of a memory itself."""


class Keys(NamedTuple):
    """The random keys () of a call, where miner and loss have random rules."""

    miner: Tensor | None
    loss: Tensor | None


class Comparison(NamedTuple):
    """A batch that the loss is asked for, the pairs that a tuple adds, and the miner's key."""

    batch: PairBatch
    added: Indices | None
    miner_key: Tensor | None

    @property
    def to_mine(self) -> PairBatch:
        """The batch as the miner sees it."""
        return replace(self.batch, key=self.miner_key)


class CrossBatchMemory(nn.Module):
    """The loss of a batch against a memory of the latest embeddings, the batch's own included.

    Call it as ``memory(embeddings, labels, indices_tuple=None, enqueue_mask=None)`` with
    embeddings (N, D) and integer labels (N,). All N are put into the memory and compared with
    everything in it. With a mask (N,), the rows under it are put in, and the other rows are
    compared. References carry no gradient. Pairs are those of the miner, or all; an index tuple,
    whose indices are those of the batch, adds its pairs.

    The losses of this package stream: no N×M matrix is held. An anchor's own copy in the memory is
    left out before ``PairMiner`` and the losses of this package mine (other miners see it; its
    pairs are dropped afterwards). The memory is kept in at least float32, so half-precision
    embeddings and autocast are safe, and ``state_dict`` holds all of it: the next loss after
    loading is the same as without.

    Args:
        loss: a loss of this package, or another that is called with embeddings, labels, an index
            tuple, references and their labels.
        embedding_size: the dimensions D of an embedding.
        memory_size: the number of embeddings that the memory holds.
        miner: a miner, or None for all pairs.
        warm_up: the number of calls before the memory is filled and used, because early embeddings
            change quickly; until then the loss is that within the batch.
        add_batch_loss: True adds the loss within the batch to that against the memory.
        label_shape: the shape of the label of one item: () for a number, (L,) for several, which a
            loss with a relation, ``GPWLoss(…, pairs=relation)``, compares.
        label_dtype: the dtype in which labels are kept.

    Errors: ValueError for embeddings that do not fit the memory, for a mask together with a
    tuple, for a tuple that contradicts the labels, for a state that is none of such a memory
    (nothing is restored then), and as :class:`GPWLoss`.

    Reference: Wang et al., Cross-Batch Memory for Embedding Learning, CVPR 2020.

    >>> import torch
    >>> from pml_gpw.modules import CrossBatchMemory, MSLoss
    >>> memory = CrossBatchMemory(MSLoss(), embedding_size=4, memory_size=100)
    >>> for _ in range(3):
    ...     loss = memory(torch.rand(8, 4), torch.arange(8) % 2)
    >>> memory.queue_idx
    24
    """

    loss: Any
    miner: Any
    embedding_memory: Tensor
    label_memory: Tensor
    curr_batch_idx: Tensor
    label_shape: tuple[int, ...] = ()
    label_dtype: torch.dtype = torch.int64
    queue_idx: int
    has_been_filled: bool
    calls: int

    def __init__(
        self,
        loss: torch.nn.Module,
        embedding_size: int,
        memory_size: int = 1024,
        miner: torch.nn.Module | None = None,
        warm_up: int = 0,
        add_batch_loss: bool = False,
        label_shape: tuple[int, ...] = (),
        label_dtype: torch.dtype = torch.int64,
    ) -> None:
        self.check_settings(loss, embedding_size, memory_size, miner, warm_up)
        check_labels(loss, tuple(label_shape), label_dtype)
        super().__init__()
        self.loss = loss
        self.miner = miner
        self.embedding_size, self.memory_size = int(embedding_size), int(memory_size)
        self.warm_up = warm_up
        self.add_batch_loss = add_batch_loss
        self.label_shape, self.label_dtype = tuple(label_shape), label_dtype
        self.reset_queue()

    @staticmethod
    def check_settings(
        loss: Any, embedding_size: Any, memory_size: Any, miner: Any, warm_up: Any
    ) -> None:
        """Raise a ValueError for arguments that no memory can be made of."""
        checks.positive_integer("embedding_size", embedding_size)
        checks.positive_integer("memory_size", memory_size)
        checks.non_negative_integer("warm_up", warm_up)
        check_loss(loss)
        checks.module_like("miner", miner)
        check_relation(miner, getattr(loss, "pairs", None))

    @override
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Indices | None = None,
        enqueue_mask: Tensor | None = None,
    ) -> Tensor:
        comparisons = self.enqueue(embeddings, labels, indices_tuple, enqueue_mask)
        losses = [self._loss_of(comparison) for comparison in comparisons]
        return sum(losses[1:], losses[0])

    def enqueue(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Indices | None = None,
        enqueue_mask: Tensor | None = None,
        keys: Keys | None = None,
    ) -> list[Comparison]:
        """Put a batch into the memory, and say what the loss is then asked for.

        The arguments are those of a call; they are checked before the memory changes. ``keys`` are
        its random keys, where they have been drawn already.
        """
        labels = self.check(embeddings, labels, indices_tuple, enqueue_mask)
        relation = self.relation
        embeddings = at_least_float32(embeddings)
        # Each number of calls would be another graph; what is asked below is the same.
        most = self.warm_up if torch.compiler.is_compiling() else self.calls
        self.calls = min(self.calls, most) + 1
        if enqueue_mask is None:
            new = embeddings, labels
            self_index = torch.arange(len(labels), device=labels.device)
        else:
            enqueue_mask = enqueue_mask.to(embeddings.device)
            new = embeddings[enqueue_mask].detach(), labels[enqueue_mask]
            embeddings, labels = embeddings[~enqueue_mask], labels[~enqueue_mask]
            self_index = torch.full((len(labels),), -1, device=labels.device)
        keys = self.drawn_keys(embeddings.device) if keys is None else keys
        anchors = embeddings, labels
        within_batch = _comparison(anchors, new, self_index, indices_tuple, keys, relation)
        if self.calls <= self.warm_up:
            return [within_batch]
        self.add_to_memory(*new, len(new[0]))
        size = len(self.label_memory) if self.has_been_filled else self.queue_idx
        references = self.embedding_memory[:size].to(embeddings.dtype)
        if not (isinstance(self.loss, PairLoss) and self.loss.measure().normalized):
            references = references.clone()  # the next call may write before backward has read
        places = self.curr_batch_idx if enqueue_mask is None else self_index
        stored = references, self.label_memory[:size].clone()
        against_memory = _comparison(anchors, stored, places, indices_tuple, keys, relation)
        return [against_memory, within_batch] if self.add_batch_loss else [against_memory]

    @property
    def relation(self) -> Any:
        """The relation of labels by which the loss compares, or None for their equality."""
        return getattr(self.loss, "pairs", None)

    def drawn_keys(self, device: torch.device) -> Keys:
        """The random keys of a call: one for the miner, then one for the loss."""
        rules = random_rules_of(self.miner), random_rules_of(self.loss)
        return Keys(*(drawn_key(device, *each) for each in rules))

    def paired(self, comparison: Comparison, anchors: slice | None = None) -> PairBatch:
        """The batch of a comparison, or some of its ``anchors``, with the pairs that are weighed.

        For losses of this package.
        """
        batch, added, _ = comparison
        if self.miner is None:  # all pairs there are, those of the tuple among them
            return batch if anchors is None else batch.part(anchors)
        if anchors is None or not mines_batches(self.miner):
            whole = batch.with_indices(self._indices(comparison))
            return whole if anchors is None else whole.part(anchors)
        if added is not None:
            added = batch.with_indices(added).part(anchors).pairs.index_tuple()
        mined = mined_from(self.miner, comparison.to_mine.part(anchors))
        return batch.part(anchors).with_indices(joined(mined, added))

    def _loss_of(self, comparison: Comparison) -> Tensor:
        if isinstance(self.loss, PairLoss):
            return self.loss(self.paired(comparison))
        batch, indices = comparison.batch, self._indices(comparison)
        return self.loss(
            batch.anchors, batch.labels, indices, batch.references, batch.reference_labels
        )

    def _indices(self, comparison: Comparison) -> Indices:
        """The index tuple of all pairs of a comparison, or of triplets where the miner's are."""
        batch, added, _ = comparison
        if self.miner is None:
            return joined(batch.pairs.index_tuple(), added)
        mined = mined_from(self.miner, comparison.to_mine)
        if batch.pairs.self_index is not None:
            mined = without_own_positives(batch.pairs.self_index, mined)
        return joined(mined, added)

    def _checked_labels(self, embeddings: Tensor, labels: Any, indices_tuple: Any) -> Tensor:
        if self.relation is None:
            return checks.integer_labels("labels", labels, len(embeddings)).to(embeddings.device)
        if indices_tuple is not None:
            raise ValueError("indices_tuple must be None where the loss has a relation of labels")
        labels = relation_labels("labels", labels, len(embeddings), embeddings.device)
        like = self.label_memory
        if labels.shape[1:] != like.shape[1:] or not torch.can_cast(labels.dtype, like.dtype):
            raise ValueError(
                f"labels must have the label_shape {tuple(like.shape[1:])} and fit the label_dtype "
                f"{like.dtype} of the memory, got {checks.described(labels)}"
            )
        if not torch.compiler.is_compiling():
            kept = (labels.to(like.dtype) == labels).all()
            checks.refuse_unless(kept, f"labels must fit the label_dtype {like.dtype}, got others")
        return labels

    def add_to_memory(self, embeddings: Tensor, labels: Tensor, batch_size: int) -> None:
        """Put ``embeddings`` (K, D) and ``labels`` (K,) in the place of the oldest."""
        is_inference = not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()
        if is_inference:  # what is kept must serve a training step as well
            with torch.inference_mode(False):
                self.add_to_memory(embeddings.clone(), labels.clone(), batch_size)
            return
        dtype = torch.promote_types(self.embedding_memory.dtype, embeddings.dtype)
        self.embedding_memory = self.embedding_memory.to(embeddings.device, dtype)
        self.label_memory = self.label_memory.to(embeddings.device)
        begin, end = self.queue_idx, self.queue_idx + batch_size
        self.curr_batch_idx = torch.arange(begin, end, device=labels.device) % self.memory_size
        self.embedding_memory[self.curr_batch_idx] = embeddings.detach().to(dtype)
        self.label_memory[self.curr_batch_idx] = labels.to(self.label_memory.dtype)
        self.queue_idx = end % self.memory_size
        self.has_been_filled = self.has_been_filled or end >= self.memory_size

    def check(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Indices | None,
        enqueue_mask: Tensor | None,
    ) -> Tensor:
        """The labels (N, …) of a call, in int64 without a relation; ValueError for others."""
        checks.embedding_matrix("embeddings", embeddings)
        labels = self._checked_labels(embeddings, labels, indices_tuple)
        if embeddings.shape[1] != self.embedding_size:
            raise ValueError(
                f"embeddings must have the {self.embedding_size} dimensions of the memory, "
                f"got {embeddings.shape[1]}"
            )
        dtype = torch.promote_types(embeddings.dtype, torch.float32)
        if self.embedding_memory.dtype == torch.float64 != dtype:  # may not fit into float32
            stored = self.embedding_memory.to(dtype)
            checks.embedding_matrix(f"embedding_memory in the {dtype} of embeddings", stored)
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
            shape = num_new, num_new
            (a1, p), (a2, n) = checked_tuple(indices_tuple, shape, labels.device)
            if (labels[a1] != labels[p]).any() or (labels[a2] == labels[n]).any():
                raise ValueError(
                    "indices_tuple must agree with the labels, which the pairs of the memory "
                    "go by, got a positive of another label or a negative of the same"
                )
        return labels

    def reset_queue(self) -> None:
        """Empty the memory."""
        shape = self.memory_size, self.embedding_size
        self.register_buffer("embedding_memory", torch.zeros(shape))
        labels = torch.zeros(self.memory_size, *self.label_shape, dtype=self.label_dtype)
        self.register_buffer("label_memory", labels)
        self.has_been_filled = False
        self.queue_idx = 0
        self.calls = 0

    def get_extra_state(self) -> dict[str, Any]:
        """The place of the queue, as plain data."""
        return {
            "queue_idx": self.queue_idx,
            "has_been_filled": self.has_been_filled,
            "calls": self.calls,
        }

    def set_extra_state(self, state: Any) -> None:
        """Restore where the queue stood; ValueError, and nothing changes, for what is no state."""
        self._check_state(state)
        for name, value in state.items():
            setattr(self, name, type(getattr(self, name))(value))

    def _check_state(self, state: Any) -> None:
        names = self.get_extra_state()
        if not isinstance(state, dict) or state.keys() != names.keys():
            got = list(state) if isinstance(state, dict) else type(state).__name__
            raise ValueError(
                f"state_dict must hold {', '.join(names)} as _extra_state of a memory, got {got}"
            )
        checks.non_negative_integer("queue_idx in state_dict", state["queue_idx"])
        checks.non_negative_integer("calls in state_dict", state["calls"])
        if state["queue_idx"] >= self.memory_size:
            raise ValueError(
                f"queue_idx in state_dict must be below the memory_size {self.memory_size}, "
                f"got {state['queue_idx']}"
            )
        if not isinstance(state["has_been_filled"], bool):
            raise ValueError(
                "has_been_filled in state_dict must be True or False, "
                f"got {state['has_been_filled']!r}"
            )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        own = {name: state_dict[key] for name in STATE if (key := prefix + name) in state_dict}
        if set(own) == {*STATE[:2]}:
            own[STATE[2]] = state_dict[prefix + STATE[2]] = _place_in(own["embedding_memory"])
        self._check_saved(own)  # before anything changes
        if "embedding_memory" in own:  # copied into the buffer, whose dtype would otherwise round
            self.embedding_memory = self.embedding_memory.to(own["embedding_memory"].dtype)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _check_saved(self, own: dict[str, Any]) -> None:
        """ValueError for values of a state_dict that are none of this memory."""
        if 0 < len(own) < len(STATE):
            raise ValueError(
                f"state_dict must hold {', '.join(STATE)} of a memory, got {', '.join(own)} only"
            )
        if "_extra_state" in own:
            self._check_state(own["_extra_state"])
        if "embedding_memory" in own:
            name, saved = "embedding_memory in state_dict", own["embedding_memory"]
            checks.float_matrix(name, saved)
            shape = self.memory_size, self.embedding_size
            if saved.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(saved.shape)}")
            if not saved.is_meta:
                checks.embedding_matrix(name, saved)
        if "label_memory" in own:
            name, saved = "label_memory in state_dict", own["label_memory"]
            if self.label_shape == () and not self.label_dtype.is_floating_point:
                checks.integer_labels(name, saved, self.memory_size)
            elif saved.shape != self.label_memory.shape or saved.dtype != self.label_dtype:
                raise ValueError(
                    f"{name} must have shape {tuple(self.label_memory.shape)} and dtype "
                    f"{self.label_dtype}, got {checks.described(saved)}"
                )


def check_labels(loss: Any, label_shape: tuple[int, ...], label_dtype: torch.dtype) -> None:
    """Raise a ValueError for labels that are no numbers of classes where these are compared."""
    is_usual = label_shape == () and label_dtype == torch.int64
    if getattr(loss, "pairs", None) is None and not is_usual:
        raise ValueError(
            "label_shape and label_dtype must be () and torch.int64 for a loss without a relation, "
            f"got {label_shape} and {label_dtype}"
        )


def _place_in(memory: Any) -> dict[str, Any]:
    """The place of the queue in the state of PML's memory, which does not hold it."""
    rows = memory.any(dim=1) if isinstance(memory, Tensor) and memory.ndim == 2 else torch.ones(1)
    num_filled = int(rows.bool().count_nonzero())
    is_full = num_filled == len(rows)
    if is_full:
        warnings.warn(
            "the state_dict is of PML's memory, which does not say which of its rows is the "
            "oldest: the queue goes on with the first one",
            stacklevel=2,
        )
    return {
        "queue_idx": 0 if is_full else num_filled,
        "has_been_filled": is_full,
        "calls": num_filled,  # no fewer than there were
    }


def _comparison(
    anchors: tuple[Tensor, Tensor],
    references: tuple[Tensor, Tensor],
    self_index: Tensor,
    indices_tuple: Indices | None,
    keys: Keys,
    relation: Any,
) -> Comparison:
    """Checked anchors and references, (embeddings, labels) each.

    ``self_index`` (N,): the place of each anchor's copy, −1 where it has none. ``relation``: of
    labels, in place of their equality.
    """
    (x, labels), (y, reference_labels) = anchors, references
    if relation is not None:
        given = x, y, labels, reference_labels
        return Comparison(related_batch(*given, relation, self_index, keys.loss), None, keys.miner)
    symmetric = y is x and reference_labels is labels
    pairs = LabelPairs(labels, reference_labels, self_index, True, symmetric)
    batch = PairBatch(x, y, pairs, labels, reference_labels, keys.loss)
    added = None if indices_tuple is None else _at_their_places(self_index, indices_tuple)
    return Comparison(batch, added, keys.miner)


def _at_their_places(self_index: Tensor, indices_tuple: Indices) -> Indices:
    """A tuple of the batch as one of the references, without self pairs.

    The others than anchors are found at the places of their copies.
    """
    anchors = (0, 2) if len(indices_tuple) == 4 else (0,)
    indices_tuple = [index.to(self_index.device).long() for index in indices_tuple]
    moved = [i if place in anchors else self_index[i] for place, i in enumerate(indices_tuple)]
    return without_own_positives(self_index, moved)


def joined(indices_tuple: Sequence[Tensor], added: Sequence[Tensor] | None) -> Sequence[Tensor]:
    """Two index tuples as one, of pairs or triplets as the first is.

    >>> import torch
    >>> zero, one, two = torch.arange(3).split(1)
    >>> joined((zero, one, zero, two), (two, one, zero))[0]
    tensor([0, 2])
    """
    if added is None:
        return indices_tuple
    if len(indices_tuple) == 4 and len(added) == 3:
        anchors, positives, negatives = added
        added = anchors, positives, anchors, negatives
    elif len(indices_tuple) == 3 and len(added) == 4:
        a1, p, a2, n = added
        pos, neg = torch.where(a1.unsqueeze(1) == a2)
        added = a1[pos], p[pos], n[neg]
    return tuple(torch.cat(pair) for pair in zip(indices_tuple, added, strict=True))
