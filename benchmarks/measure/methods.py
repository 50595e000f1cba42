"""The methods that are compared: the Multi-Similarity loss, computed in one way each.

N embeddings, M references, D dims.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from pytorch_metric_learning.losses import CrossBatchMemory as PMLCrossBatchMemory
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor
from torch.nn.functional import normalize

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.functional import ms_loss, warm_up
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity

from ..data.row_losses import RowMultiSimilarity

ALPHA, BETA, BASE, EPSILON = 2.0, 50.0, 0.5, 0.1

IndexTuple = tuple[Tensor, ...]
BatchLoss = Callable[[Tensor, Tensor], Tensor]
"""From embeddings (N, D) and labels (N,) to the loss."""
TupleLoss = Callable[[Tensor, IndexTuple], Tensor]
"""From embeddings (N, D) and an index tuple to the loss."""
MemoryLoss = Callable[[Tensor, Tensor], Tensor]
"""From embeddings (N, D) of norm 1 and labels (N,) to the loss against a memory of M embeddings."""


def _with_miner(miner: Callable[..., IndexTuple], loss: Callable[..., Tensor]) -> BatchLoss:
    return lambda x, labels: loss(x, labels, miner(x, labels))


def _composed(chunk_size: int | None = None) -> BatchLoss:
    return _with_miner(MSMiner(chunk_size=chunk_size), MSWeightedLoss(chunk_size=chunk_size))


def _pml() -> BatchLoss:
    return _with_miner(MultiSimilarityMiner(), MultiSimilarityLoss())


def _warm(loss: BatchLoss) -> BatchLoss:
    warm_up(MultiSimilarity(), MSMining())
    return loss


def _dense_autograd(mined: bool = True) -> BatchLoss:
    """Eq 11, 12 and 15 on whole matrices, as one writes them down, with torch's gradient."""

    def loss(x: Tensor, labels: Tensor) -> Tensor:
        x = normalize(x)
        same = labels.unsqueeze(1) == labels
        pos = same & ~torch.eye(len(x), dtype=torch.bool, device=x.device)
        return _dense_loss(x @ x.T, pos, ~same, mined)

    return loss


def _dense_loss(sim: Tensor, pos: Tensor, neg: Tensor, mined: bool) -> Tensor:
    """The loss of a matrix (N, M) of similarities whose pairs two masks name."""
    if mined:
        hardest_pos = sim.detach().masked_fill(~pos, torch.inf).amin(dim=1, keepdim=True)
        hardest_neg = sim.detach().masked_fill(~neg, -torch.inf).amax(dim=1, keepdim=True)
        pos = pos & (sim - EPSILON < hardest_neg)
        neg = neg & (sim + EPSILON > hardest_pos)
    easy = torch.exp(-ALPHA * (sim - BASE)).masked_fill(~pos, 0).sum(dim=1).log1p()
    hard = torch.exp(BETA * (sim - BASE)).masked_fill(~neg, 0).sum(dim=1).log1p()
    return (easy / ALPHA + hard / BETA).mean()


def _anchor_loop() -> BatchLoss:
    """Eq 11, 12 and 15 anchor by anchor."""

    def loss(x: Tensor, labels: Tensor) -> Tensor:
        x = normalize(x)
        sim, total = x @ x.T, x.new_zeros(())
        for i in range(len(x)):
            same = labels == labels[i]
            neg = sim[i][~same]
            same[i] = False
            pos = sim[i][same]
            if len(pos) == 0 or len(neg) == 0:
                continue
            pos, neg = pos[pos - EPSILON < neg.max()], neg[neg + EPSILON > pos.min()]
            if len(pos) == 0 or len(neg) == 0:
                continue
            easy = torch.exp(-ALPHA * (pos - BASE)).sum().log1p()
            hard = torch.exp(BETA * (neg - BASE)).sum().log1p()
            total = total + easy / ALPHA + hard / BETA
        return total / len(x)

    return loss


MINED: Mapping[str, Callable[[], BatchLoss]] = {
    "streamed (MSLoss)": partial(MSLoss, fused=False),
    "fused (MSLoss)": lambda: _warm(MSLoss(fused=True)),
    "fused (ms_loss)": lambda: _warm(partial(ms_loss, fused=True)),
    "composed (MSMiner + MSWeightedLoss)": _composed,
    "PML": _pml,
    "dense autograd": _dense_autograd,
    "dense autograd, compiled": lambda: torch.compile(_dense_autograd()),
    "loop over anchors": _anchor_loop,
}
UNMINED: Mapping[str, Callable[[], BatchLoss]] = {
    "streamed (MSWeightedLoss)": MSWeightedLoss,
    "PML": MultiSimilarityLoss,
    "dense autograd": partial(_dense_autograd, mined=False),
}
COUNTED: dict[str, Callable[[int], BatchLoss]] = {
    "streamed (MSLoss)": lambda n: MSLoss(fused=False, chunk_size=n),
    "fused (MSLoss)": lambda n: MSLoss(fused=True, chunk_size=n),
    "fused (ms_loss)": lambda n: partial(ms_loss, fused=True, chunk_size=n),
    "composed (MSMiner + MSWeightedLoss)": lambda n: _composed(chunk_size=n),
    "PML": lambda n: _pml(),
    "dense autograd": lambda n: _dense_autograd(),
}
"""All N anchors at once, as accelerators take them up to N = 5,792."""


FORMULA: Mapping[str, Callable[[], BatchLoss]] = {
    "streamed (RowLoss)": lambda: GPWLoss(RowMultiSimilarity()),
    "fused (RowLoss)": lambda: GPWLoss(RowMultiSimilarity(), fused=True),
    "streamed (weights by hand)": lambda: GPWLoss(MultiSimilarity()),
    "fused (weights by hand)": lambda: GPWLoss(MultiSimilarity(), fused=True),
    "PML": MultiSimilarityLoss,
}
"""Multi-Similarity, not mined, as a formula of rows."""


def _by_tuple(loss: MSWeightedLoss | MultiSimilarityLoss) -> TupleLoss:
    return lambda x, pairs: loss(x, None, pairs)


def _dense_tuple(x: Tensor, pairs: IndexTuple) -> Tensor:
    """Masks of the pairs of triplets, and torch's gradient."""
    x, (a, p, n) = normalize(x), pairs
    pos = torch.zeros(len(x), len(x), dtype=torch.bool, device=x.device)
    neg = pos.clone()
    pos[a, p], neg[a, n] = True, True
    return _dense_loss(x @ x.T, pos, neg, mined=False)


TUPLES: Mapping[str, Callable[[], TupleLoss]] = {
    "streamed (MSWeightedLoss)": lambda: _by_tuple(MSWeightedLoss()),
    "fused (MSWeightedLoss)": lambda: _by_tuple(MSWeightedLoss(fused=True)),
    "PML": lambda: _by_tuple(MultiSimilarityLoss()),
    "dense autograd": lambda: _dense_tuple,
}


def _memory(memory: PMLCrossBatchMemory, references: Tensor, labels: Tensor) -> MemoryLoss:
    memory = memory.to(references.device)
    memory.embedding_memory.copy_(references)
    memory.label_memory.copy_(labels)
    memory.has_been_filled = True

    def loss(x: Tensor, batch_labels: Tensor) -> Tensor:
        memory.queue_idx = 0  # where the batch's own copies are: all repetitions see the same
        found: Tensor = memory(x, batch_labels)
        return found

    return loss


def _dense_memory(references: Tensor, labels: Tensor) -> MemoryLoss:
    """The batch is written over the first embeddings; whole matrices, and torch's gradient."""
    references = references.clone()

    def loss(x: Tensor, batch_labels: Tensor) -> Tensor:
        references[: len(x)] = x.detach()
        same = batch_labels.unsqueeze(1) == labels
        pos = same.clone()
        pos.fill_diagonal_(False)
        return _dense_loss(x @ normalize(references).T, pos, ~same, mined=True)

    return loss


MEMORIES: Mapping[str, Callable[[Tensor, Tensor], MemoryLoss]] = {
    "streamed (MSLoss)": lambda y, labels: _memory(
        CrossBatchMemory(MSLoss(), y.shape[1], len(y)), y, labels
    ),
    "composed (MSMiner + MSWeightedLoss)": lambda y, labels: _memory(
        CrossBatchMemory(MSWeightedLoss(), y.shape[1], len(y), MSMiner()), y, labels
    ),
    "PML": lambda y, labels: _memory(
        PMLCrossBatchMemory(MultiSimilarityLoss(), y.shape[1], len(y), MultiSimilarityMiner()),
        y,
        labels,
    ),
    "dense autograd": _dense_memory,
}
"""Each is filled with embeddings (M, D) and their labels (M,)."""
