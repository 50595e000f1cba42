"""One loss over the batches of all processes: each weighs its anchors against all references.

Shapes: N anchors of all processes, n of them one process's, M references, D dims.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import Self, override

from .. import checks
from ..arguments import (
    NAMES,
    Embeddings,
    checked_embeddings,
    drawn_key,
    pair_batch,
    random_rules_of,
)
from ..engine import AnchorLosses, IndexPairs, PairBatch
from ..modules import CrossBatchMemory, GPWLoss
from ..modules.cross_batch_memory import Keys
from ..modules.pair_miner import check_relation, mined_from, mines_batches
from ..related_pairs import relation_labels
from .batch import Arguments, GatheredCall, gathered_call, gathered_pairs
from .divided import divided_losses
from .exchange import Exchange, default_group, several_processes


class DistributedLoss(torch.nn.Module):
    """The loss of the batches of all processes together, with its exact gradient.

    Call it on every process with the local embeddings (n, D), as on one process:
    ``loss(embeddings, labels=None, indices_tuple=None, ref_emb=None, ref_labels=None,
    enqueue_mask=None)``. Processes may have different n, also 0::

        torch.cuda.set_device(local_rank)
        dist.init_process_group("nccl")
        model = DistributedDataParallel(model)
        loss_fn = DistributedLoss(MSLoss())
        for images, labels in loader:                  # of this process
            loss_fn(model(images), labels).backward()

    **Value.** Every process returns L, the loss of the N concatenated embeddings in the order of
    ranks, with every reducer and regularizer as in one process.

    **Gradient.** Pair weights depend on one anchor's row of similarities only. Process r compares
    its local anchors `X_r` (n, D) with all references Y (M, D), gets its signed pair weights `W_r`
    (n, M) chunk by chunk (eq 1-3), and from them

    `dX_r = W_r·Y, dY = Σ_r W_rᵀ·X_r`

    of which each process forms one term; backward sums them over processes. The gradient is that of
    the *sum* of what all processes return, world_size × ∂L, and DistributedDataParallel, which
    averages over processes, turns it into ∂L. If your code sums the gradients of parameters over
    processes, call ``(loss / world_size).backward()``.

    **Cost**, per process: n/N of the products, and what the engine holds for n anchors, beside
    some copies of all embeddings. In embeddings of b bytes a number, forward receives N·D·b bytes
    (references as much again), backward sends and receives about 2·N·D·4 (·8 in float64); 8 bytes
    a label, 12 an anchor's loss. Processes wait for each other in seven messages a step, five in
    forward (three of them short ones: of sizes, of room for what comes, and at the end) and two in
    backward; each carries a flag that says whether all is well. Unequal batches are padded to the
    longest on the way. Mining inside a batch takes half the product in one process and all of it
    here: on well-trained embeddings, two processes gain little.

    An index tuple numbers the rows of the concatenated batch, with those of the calling process
    first and then those of the other ranks. So a tuple of the local batch fits, and one of PML's
    ``DistributedMinerWrapper``. Each process weighs the pairs of its local anchors.

    A ``CrossBatchMemory`` holds the same queue on every process, that of the concatenated batches
    (after an error while it is being filled, such as a lack of memory, reset it on all).

    Without a process group, or in a group of one, this is the loss itself. Every process has to
    make the same calls, and backward where one does; grad mode has to be the same as well. An
    error of one process, in forward or in the loss's backward, is raised on all of them: a
    ValueError where it is about arguments, else a RuntimeError.

    A copy has the group of the original. A group cannot be written to a file: ``state_dict`` can,
    and so can the loss without a ``group``.

    A ``compute_loss`` of your own, in a subclass of a PML object, is called, and forward hooks of
    the loss get the batch of all processes.

    Args:
        loss: a ``GPWLoss``, or this package's ``CrossBatchMemory`` of one.
        miner: a miner that is called on the concatenated batch, or None. A ``PairMiner`` mines
            the local anchors only, others all of them on every process.
        group: the process group; None: the default one.

    Errors: ValueError for other losses and miners, and on all processes, naming the first rank at
    fault, for what the loss, the memory or the miner refuses on one; for embeddings of different
    dtype or dims, and for arguments that only some processes give; for references beside a
    memory, a mask without one and a tuple beside a miner; TypeError for a pickle with a ``group``.

    >>> import torch
    >>> from pml_gpw import MSLoss
    >>> embeddings, labels = torch.eye(4, requires_grad=True), torch.tensor([0, 0, 1, 1])
    >>> loss = DistributedLoss(MSLoss())(embeddings, labels)  # no process group: the plain loss
    >>> loss.equal(MSLoss()(embeddings, labels))
    True
    """

    def __init__(
        self,
        loss: GPWLoss | CrossBatchMemory,
        miner: torch.nn.Module | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        within = loss.loss if isinstance(loss, CrossBatchMemory) else loss
        if not isinstance(within, GPWLoss):
            raise ValueError(
                "loss must be a GPWLoss or a CrossBatchMemory of pml_gpw around one, "
                f"got {type(loss).__name__}"
                + ("" if within is loss else f" around {type(within).__name__}")
            )
        if miner is not None and not isinstance(miner, torch.nn.Module):
            raise ValueError(f"miner must be a Module or None, got {type(miner).__name__}")
        if miner is not None and isinstance(loss, CrossBatchMemory):
            raise ValueError("miner must be None beside a CrossBatchMemory, which has its own")
        check_relation(miner, within.pairs)
        self.loss = loss
        self.miner = miner
        self.group = group
        self._has_compared = False

    @override
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Sequence[Tensor] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        enqueue_mask: Tensor | None = None,
    ) -> Tensor:
        call = Arguments(embeddings, labels, indices_tuple, ref_emb, ref_labels, enqueue_mask)
        if not several_processes(self.group):
            self._refuse(call)
            return self._alone(call)
        exchange = Exchange(self.group or default_group())
        with exchange.errors():
            whole = gathered_call(self._checked(call), exchange)
            if isinstance(self.loss, CrossBatchMemory):
                loss = self._of_memory(self.loss, whole)
            else:
                loss = self._of_loss(self.loss, whole)
            parameters = [] if self._has_compared else [*self.loss.parameters()]
            sums = exchange.tell([float(each.detach().double().sum()) for each in parameters])
        self._has_compared = True
        if any(other != sums[0] for other in sums):  # the same gradients keep them so
            warnings.warn(
                "parameters of the loss differ between processes: wrap the loss in "
                "DistributedDataParallel or set one seed, else they stay apart",
                stacklevel=2,
            )
        return loss

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        vars(copied).update(vars(self))
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = memo[id(self)] = copy.copy(self)
        memo[id(self.group)] = self.group
        vars(copied).update(copy.deepcopy(vars(self), memo))
        return copied

    def __getstate__(self) -> dict[str, Any]:
        if self.group is not None:
            raise TypeError(
                "group must be None for a pickle: save the state_dict, and make the "
                f"{type(self).__name__} anew in the process that reads it"
            )
        return vars(self)

    def first_row(self, num_rows: int) -> int:
        """The number of this process's first row among those of all, of which it has so many."""
        exchange = Exchange(self.group or default_group())
        return sum(exchange.tell(num_rows)[: exchange.rank])

    def _refuse(self, call: Arguments) -> None:
        """Raise a ValueError for arguments that do not go together."""
        if isinstance(self.loss, CrossBatchMemory):
            if call.ref_emb is not None:
                raise ValueError("ref_emb must be None: a memory holds the references")
            if call.labels is None:
                raise ValueError("labels must be given: a memory holds them too, got None")
        elif call.enqueue_mask is not None:
            raise ValueError("enqueue_mask must be None for a loss without memory")
        if self.miner is not None and call.indices_tuple is not None:
            raise ValueError("indices_tuple must be None where the loss has a miner")

    def _checked(self, call: Arguments) -> Arguments:
        """The call with int64 labels and keys, or a ValueError for what is wrong with it."""
        within = self.loss.loss if isinstance(self.loss, CrossBatchMemory) else self.loss
        if within.pairs is None:
            given = checked_embeddings(*call[:2], *call[3:5], NAMES)
        else:
            given = _checked_related(call)
        self._refuse(call)
        if call.enqueue_mask is not None:
            checks.boolean_mask("enqueue_mask", call.enqueue_mask, len(call.embeddings))
        device = call.embeddings.device
        if isinstance(self.loss, CrossBatchMemory):
            keys = self.loss.drawn_keys(device)
        else:
            rules = random_rules_of(self.miner), random_rules_of(self.loss)
            keys = Keys(*(drawn_key(device, *each) for each in rules))
        has_hooks = bool(within._forward_hooks or within._forward_pre_hooks)
        return call._replace(
            labels=given.labels,
            ref_labels=None if call.ref_labels is None else given.reference_labels,
            keys=keys,
            wants_pairs=within.needs_all_anchors() or has_hooks,
        )

    def _alone(self, call: Arguments) -> Tensor:
        """The loss in one process."""
        embeddings, labels, indices_tuple, ref_emb, ref_labels, enqueue_mask, *_ = call
        if isinstance(self.loss, CrossBatchMemory):
            return self.loss(embeddings, labels, indices_tuple, enqueue_mask)
        if mines_batches(self.miner):  # the pairs of the loss
            arguments = labels, None, ref_emb, ref_labels, None
            rules, relation = random_rules_of(self.miner), self.loss.pairs
            batch = pair_batch(embeddings, *arguments, rules, relation)
            indices_tuple = mined_from(self.miner, batch)
        elif self.miner is not None:
            indices_tuple = self.miner(embeddings, labels, ref_emb=ref_emb, ref_labels=ref_labels)
        return self.loss(embeddings, labels, indices_tuple, ref_emb, ref_labels)

    def _of_loss(self, loss: GPWLoss, whole: GatheredCall) -> Tensor:
        batch = whole.pair_batch(loss.pairs)

        def paired() -> PairBatch:
            to_mine = replace(batch, key=whole.arguments.keys.miner)
            anchors = whole.exchange.local(whole.sizes)
            return replace(_mined(self.miner, to_mine, anchors), key=batch.key)

        return self._divided(loss, batch, paired, whole)

    def _of_memory(self, memory: CrossBatchMemory, whole: GatheredCall) -> Tensor:
        embeddings, labels, indices_tuple, _, _, mask, keys, _ = whole.arguments
        assert labels is not None
        if indices_tuple is not None:  # before any process fills its memory
            memory.check(embeddings, labels, indices_tuple, mask)
            whole.exchange.tell()
        comparisons = memory.enqueue(embeddings, labels, indices_tuple, mask, keys)
        whole.exchange.tell()
        anchors, losses = whole.exchange.local(whole.compared), []
        for comparison in comparisons:
            paired = partial(memory.paired, comparison, anchors)
            losses.append(self._divided(memory.loss, comparison.batch, paired, whole))
        return sum(losses[1:], losses[0])

    def _divided(
        self, loss: GPWLoss, batch: PairBatch, paired: Callable[[], PairBatch], whole: GatheredCall
    ) -> Tensor:
        """The loss of a batch: the first step on the local anchors, the second on all.

        ``paired``: the local anchors with their pairs, which a miner may have to find.
        """
        exchange, wants_pairs = whole.exchange, whole.arguments.wants_pairs
        sizes, anchors = whole.compared, exchange.local(whole.compared)
        reduction = loss.known_reduction()

        def local_losses(batch: PairBatch) -> AnchorLosses:
            local = part.with_embeddings(batch.anchors[anchors], batch.references)
            return loss.anchor_losses(local, reduction)

        if len(batch.anchors) == 0 or len(batch.references) == 0:
            return loss(batch)
        if wants_pairs:  # somebody looks at those of all in the second step
            part = paired()
            if isinstance(part.pairs, IndexPairs):
                batch = gathered_pairs(exchange, batch, part, anchors)
        if loss.needs_all_anchors():  # which has to see all anchors
            return loss(batch)
        exchange.expect((sizes, batch.anchors.new_empty((0, 3))))
        if not wants_pairs:
            part = paired()
        trained = [parameter for parameter in loss.parameters() if parameter.requires_grad]
        losses = divided_losses(batch, anchors, exchange, local_losses, trained)
        return loss(batch, anchor_losses=losses)


def _checked_related(call: Arguments) -> Embeddings:
    """The call with labels of any shape, or a ValueError."""
    given = checked_embeddings(call.embeddings, None, call.ref_emb, None, NAMES)
    labels, ref_labels = call.labels, call.ref_labels
    device = call.embeddings.device
    if labels is not None:
        labels = relation_labels("labels", labels, len(call.embeddings), device)
    if ref_labels is not None and call.ref_emb is not None:
        ref_labels = relation_labels("ref_labels", ref_labels, len(call.ref_emb), device)
    return given._replace(labels=labels, reference_labels=ref_labels)


def _mined(miner: torch.nn.Module | None, batch: PairBatch, anchors: slice) -> PairBatch:
    """Some anchors of a batch with the pairs that a miner keeps; other miners take the whole."""
    if miner is None:
        return batch.part(anchors)
    if mines_batches(miner):
        part = batch.part(anchors)
        return part.with_indices(mined_from(miner, part))
    return batch.with_indices(mined_from(miner, batch)).part(anchors)
