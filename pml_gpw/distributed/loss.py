"""One loss over the batches of all processes: each walks its own anchors, against all references.

Shapes: N anchors of all processes, n of them one's own, M references, D dims.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from pytorch_metric_learning.miners import BaseMiner
from torch import Tensor

from .. import checks
from ..inputs import checked_inputs
from ..losses import CrossBatchMemory, GPWLoss
from ..losses.candidates import Given
from ..losses.gpw_loss import AnchorLosses
from ..miners import MSMiner
from .batch import Batch, gathered
from .exchange import Shares, agree, in_step, several_processes


class DistributedLoss(torch.nn.Module):
    """The loss of the batches of all processes together, with its exact gradient.

    Call it on every process as it is called on one, ``loss(embeddings, labels=None,
    indices_tuple=None, ref_emb=None, ref_labels=None, enqueue_mask=None)``, with the local
    embeddings (n, D), which may be different numbers and none at all::

        torch.cuda.set_device(local_rank)
        dist.init_process_group("nccl")
        model = DistributedDataParallel(model)
        loss_fn = DistributedLoss(MSLoss())
        for images, labels in loader:                  # of this process
            loss_fn(model(images), labels).backward()

    **Value.** Every process returns L, the loss of the N concatenated embeddings in the order of
    ranks, with every reducer and regularizer as in one process.

    **Gradient.** Pair weights depend on one anchor's row of similarities only. Process r walks its
    own anchors X_r (n, D) against all references Y (M, D), gets its signed pair weights W_r
    (n, M) chunk by chunk (eq 1-3), and from them

        dX_r = W_r·Y   and   dY = Σ_r W_rᵀ·X_r,

    of which each process adds up its own term and owes the others their rows; backward brings
    them back. It is that of the *sum* of what all processes return, world_size × ∂L, and
    DistributedDataParallel, which averages over processes, turns it into ∂L. Whoever sums the
    gradients of parameters over processes calls ``(loss / world_size).backward()``.

    **Cost**, per process: n/N of the products, and what the engine holds for n anchors, beside
    some copies of all embeddings. In embeddings of b bytes a number, forward receives N·D·b bytes
    (references as much again), backward sends and receives about 2·N·D·4 (·8 in float64); 8 bytes
    a label, 12 an anchor's loss, and two short messages, three with an index tuple. Unequal
    batches are padded to the longest on the way. Mining inside a batch takes half the product in
    one process and all of it here: on well-trained embeddings, two processes gain little.

    An index tuple holds places in the concatenated batch in which one's own rows come first, then
    those of the other ranks: so does a tuple of the local batch, and so number PML's
    ``DistributedMinerWrapper`` and its references. Of its pairs each process weighs those of its
    own anchors.

    A ``CrossBatchMemory`` holds the same queue on every process, that of the concatenated batches.

    Without a process group, or in a group of one, this is the loss itself. Every process has to
    make the same calls, and backward where one does; grad mode has to be the same as well. An
    error of one process is raised on all of them, in forward.

    Args:
        loss: a ``GPWLoss``, or this package's ``CrossBatchMemory`` of one.
        miner: a PML miner that is called on the concatenated batch, or None. ``MSMiner`` mines
            one's own anchors only, others all of them on every process.
        group: the process group; None: the default one.

    Errors: ValueError for other losses and miners, and on all processes, naming the first rank at
    fault, for what the loss, the memory or the miner refuses on one; for embeddings of different
    dtype or dims, and for arguments that only some processes give; for references beside a
    memory, a mask without one and a tuple beside a miner.
    """

    def __init__(
        self,
        loss: GPWLoss | CrossBatchMemory,
        miner: BaseMiner | None = None,
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
        if miner is not None and not isinstance(miner, BaseMiner):
            raise ValueError(f"miner must be a BaseMiner or None, got {type(miner).__name__}")
        if miner is not None and isinstance(loss, CrossBatchMemory):
            raise ValueError("miner must be None beside a CrossBatchMemory, which has its own")
        self.loss = loss
        self.miner = miner
        self.group = group

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Sequence[Tensor] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        enqueue_mask: Tensor | None = None,
    ) -> Tensor:
        """See the class."""
        batch = Batch(embeddings, labels, indices_tuple, ref_emb, ref_labels, enqueue_mask)
        if not several_processes(self.group):
            return self._whole(self._checked(batch))
        checked, wrong = None, None
        try:
            checked = self._checked(batch)
        except Exception as error:
            wrong = error
        whole = gathered(checked, wrong, self.group)
        with in_step(self.group):  # until they agree below or in _divided
            batch = whole.batch
            if batch.indices_tuple is not None:
                batch = whole.renumbered()
                if isinstance(self.loss, CrossBatchMemory):  # before any process fills its own
                    self.loss.check(*batch[:3], batch.enqueue_mask)  # type: ignore[arg-type]
                agree(self.group)
            with self._divided(whole.compared()):
                return self._whole(batch)

    def _checked(self, batch: Batch) -> Batch:
        """The batch with int64 labels, or a ValueError for what is wrong with it by itself."""
        labels, ref_labels = checked_inputs(*batch[:2], *batch[3:5])[1::2]
        if isinstance(self.loss, CrossBatchMemory):
            if batch.ref_emb is not None:
                raise ValueError("ref_emb must be None: a memory holds the references")
        elif batch.enqueue_mask is not None:
            raise ValueError("enqueue_mask must be None for a loss without memory")
        if self.miner is not None and batch.indices_tuple is not None:
            raise ValueError("indices_tuple must be None where the loss has a miner")
        if batch.enqueue_mask is not None:
            checks.boolean_mask("enqueue_mask", batch.enqueue_mask, len(batch.embeddings))
        return batch._replace(labels=labels, ref_labels=ref_labels)

    def _whole(self, batch: Batch) -> Tensor:
        """The loss as in one process."""
        embeddings, labels, indices_tuple, ref_emb, ref_labels, enqueue_mask = batch
        if isinstance(self.loss, CrossBatchMemory):
            return self.loss(embeddings, labels, indices_tuple, enqueue_mask)
        if self.miner is not None:
            indices_tuple = self.miner(embeddings, labels, ref_emb, ref_labels)
        return self.loss(embeddings, labels, indices_tuple, ref_emb, ref_labels)

    @contextmanager
    def _divided(self, shares: Shares) -> Iterator[None]:
        """For the time of a call, loss and miner walk the anchors of this process only."""
        holder = self.loss if isinstance(self.loss, CrossBatchMemory) else self
        loss, miner = holder.loss, holder.miner

        def divide(losses_of: Callable[[Given], AnchorLosses], given: Given) -> AnchorLosses:
            own = torch.stack(losses_of(given.part(shares.own)), dim=1)
            agree(shares.group)
            losses, num_pos, num_neg = shares.gathered(own).unbind(dim=1)
            return losses, num_pos, num_neg

        loss._divide = divide
        if isinstance(miner, MSMiner):
            miner._anchors = shares.own
        try:
            yield
        finally:
            loss._divide = None
            if isinstance(miner, MSMiner):
                miner._anchors = None
