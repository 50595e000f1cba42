"""The jobs that are timed, each done by every contender: loss step, memory step, retrieval.

N anchors, M references, D dims; k = 5 embeddings per class.
"""

from collections.abc import Callable
from functools import partial

import torch
from pytorch_metric_learning.losses import CrossBatchMemory as PMLCrossBatchMemory
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor
from torch.nn.functional import normalize

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.evaluation import recall_at_k
from pml_gpw.functional import ms_loss, warm_up
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity

from .stopwatch import Marks, Step, now

PER_CLASS = 5
NOISE = {512: 1.6, 128: 1.1}
"""Noise beside unit class centres, by D, at which mining keeps 0.2 to 0.6 % of the negatives, as
it does on trained embeddings."""

Embeddings = tuple[Tensor, Tensor]


def embeddings(kind: str, n: int, dims: int, device: str = "cpu") -> Embeddings:
    """N embeddings and labels: "trained-like" (class centre + noise) or "random"."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) // PER_CLASS
    x = torch.randn(n, dims, generator=generator)
    if kind == "trained-like":
        x = torch.randn(len(labels.unique()), dims, generator=generator)[labels] + NOISE[dims] * x
    return x.to(device), labels.to(device)


def share_of_negatives_kept(x: Tensor, labels: Tensor) -> float:
    """By ``MSMiner`` with its defaults."""
    negatives = len(labels) ** 2 - int(labels.unique(return_counts=True)[1].square().sum())
    return len(MSMiner()(x, labels)[3]) / negatives


def _composed(chunk_size: int | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    miner, loss = MSMiner(chunk_size=chunk_size), MSWeightedLoss(chunk_size=chunk_size)
    return lambda x, labels: loss(x, labels, miner(x, labels))


def _pml() -> Callable[[Tensor, Tensor], Tensor]:
    miner, loss = MultiSimilarityMiner(), MultiSimilarityLoss()
    return lambda x, labels: loss(x, labels, miner(x, labels))


def _fused() -> Callable[[Tensor, Tensor], Tensor]:
    warm_up(MultiSimilarity(), MSMining())
    return MSLoss(fused=True)


def _fused_function() -> Callable[[Tensor, Tensor], Tensor]:
    warm_up(MultiSimilarity(), MSMining())
    return partial(ms_loss, fused=True)


def _compiled_autograd() -> Callable[[Tensor, Tensor], Tensor]:
    return torch.compile(_dense_autograd())


def _dense_autograd() -> Callable[[Tensor, Tensor], Tensor]:
    """Eq 11, 12 and 15 on whole matrices, as one writes them down, with torch's gradient."""
    alpha, beta, base, epsilon = 2.0, 50.0, 0.5, 0.1

    def loss(x: Tensor, labels: Tensor) -> Tensor:
        x = normalize(x)
        sim = x @ x.T
        same = labels.unsqueeze(1) == labels
        pos = same & ~torch.eye(len(x), dtype=torch.bool, device=x.device)
        hardest_pos = sim.detach().masked_fill(~pos, torch.inf).amin(dim=1, keepdim=True)
        hardest_neg = sim.detach().masked_fill(same, -torch.inf).amax(dim=1, keepdim=True)
        pos = pos & (sim - epsilon < hardest_neg)
        neg = ~same & (sim + epsilon > hardest_pos)
        easy = torch.exp(-alpha * (sim - base)).masked_fill(~pos, 0).sum(dim=1).log1p()
        hard = torch.exp(beta * (sim - base)).masked_fill(~neg, 0).sum(dim=1).log1p()
        return (easy / alpha + hard / beta).mean()

    return loss


def _anchor_loop() -> Callable[[Tensor, Tensor], Tensor]:
    """Eq 11, 12 and 15 anchor by anchor."""
    weighting, epsilon = MultiSimilarity(), 0.1

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
            pos, neg = pos[pos - epsilon < neg.max()], neg[neg + epsilon > pos.min()]
            if len(pos) == 0 or len(neg) == 0:
                continue
            easy = torch.exp(-weighting.alpha * (pos - weighting.base)).sum().log1p()
            hard = torch.exp(weighting.beta * (neg - weighting.base)).sum().log1p()
            total = total + easy / weighting.alpha + hard / weighting.beta
        return total / len(x)

    return loss


MINED: dict[str, Callable[[], Callable[[Tensor, Tensor], Tensor]]] = {
    "streamed (MSLoss)": partial(MSLoss, fused=False),
    "fused (MSLoss)": _fused,
    "fused (ms_loss)": _fused_function,
    "composed (MSMiner + MSWeightedLoss)": _composed,
    "PML": _pml,
    "dense autograd": _dense_autograd,
    "dense autograd, compiled": _compiled_autograd,
    "loop over anchors": _anchor_loop,
}
UNMINED: dict[str, Callable[[], Callable[[Tensor, Tensor], Tensor]]] = {
    "streamed (MSWeightedLoss)": MSWeightedLoss,
    "PML": MultiSimilarityLoss,
}
COUNTED: dict[str, Callable[[int], Callable[[Tensor, Tensor], Tensor]]] = {
    "streamed (MSLoss)": lambda n: MSLoss(fused=False, chunk_size=n),
    "fused (MSLoss)": lambda n: MSLoss(fused=True, chunk_size=n),
    "fused (ms_loss)": lambda n: partial(ms_loss, fused=True, chunk_size=n),
    "composed (MSMiner + MSWeightedLoss)": lambda n: _composed(chunk_size=n),
    "PML": lambda n: _pml(),
    "dense autograd": lambda n: _dense_autograd(),
}
"""All N anchors at once, as accelerators take them up to N = 5,792."""

LOOP_LIMIT = 1000
"""The loop takes minutes per step on larger batches, most of it in backward."""


def loss_step(name: str, mined: bool, kind: str, n: int, dims: int, device: str = "cpu") -> Step:
    """Mine, forward and backward of a batch within itself, as a trainer does it; or the floor.

    Embeddings are not normalised yet: each contender does so.
    """
    x, labels = embeddings(kind, n, dims, device)
    if name == "floor":
        x = normalize(x)
        return _floor(x, x)
    loss = (MINED if mined else UNMINED)[name]()
    x.requires_grad_()
    return lambda: _forward_and_backward(x, lambda: loss(x, labels), device)


def counted_step(name: str, n: int, dims: int) -> Step:
    """The same step of random embeddings, to be counted."""
    x, labels = embeddings("random", n, dims)
    loss = COUNTED[name](n)
    x.requires_grad_()
    return lambda: _forward_and_backward(x, lambda: loss(x, labels), "cpu")


def _forward_and_backward(leaf: Tensor, forward: Callable[[], Tensor], device: str) -> Marks:
    leaf.grad = None
    begin = now(device)
    value = forward()
    middle = now(device)
    value.backward()
    return [begin, middle, now(device)]


def loss_value(name: str, mined: bool, kind: str, n: int, dims: int, device: str = "cpu") -> float:
    """What the contender computes, to see that all compute the same."""
    x, labels = embeddings(kind, n, dims, device)
    return float((MINED if mined else UNMINED)[name]()(x, labels))


MEMORIES: dict[str, Callable[[int, int], PMLCrossBatchMemory]] = {
    "streamed (MSLoss)": lambda d, size: CrossBatchMemory(MSLoss(), d, size),
    "composed (MSMiner + MSWeightedLoss)": lambda d, size: CrossBatchMemory(
        MSWeightedLoss(), d, size, MSMiner()
    ),
    "PML": lambda d, size: PMLCrossBatchMemory(
        MultiSimilarityLoss(), d, size, MultiSimilarityMiner()
    ),
}


def memory_step(name: str, kind: str, n: int, size: int, dims: int, device: str = "cpu") -> Step:
    """Normalise, enqueue, mine, forward and backward against a full cross-batch memory."""
    x, labels = embeddings(kind, size, dims, device)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(1)).to(device)
    x, labels = x[order], labels[order]
    batch, batch_labels = x[:n].clone(), labels[:n]
    if name == "floor":
        return _floor(batch, x)
    batch.requires_grad_()
    memory = MEMORIES[name](dims, size).to(device)
    memory.embedding_memory.copy_(x)
    memory.label_memory.copy_(labels)
    memory.has_been_filled = True
    del x

    def step() -> Marks:
        memory.queue_idx = 0  # where the batch's own copies are: all repetitions see the same
        return _forward_and_backward(batch, lambda: memory(normalize(batch), batch_labels), device)

    return step


RETRIEVALS = ("torch", "faiss", "PML")


def retrieval_step(name: str, n: int, dims: int, ks: tuple[int, ...], device: str = "cpu") -> Step:
    """Recall@K of N embeddings among themselves; or one product in blocks."""
    x, labels = embeddings("trained-like", n, dims, device)
    x = normalize(x)
    calculator = AccuracyCalculator(include=("precision_at_1",), k=max(ks))

    def step() -> Marks:
        begin = now(device)
        if name == "floor":
            _product_in_blocks(x, x)
        elif name == "PML":
            calculator.get_accuracy(x, labels)
        else:
            recall_at_k(x, labels, ks=ks, backend=name)
        return [begin, now(device)]

    return step


def _floor(x: Tensor, y: Tensor) -> Step:
    """The two products that nobody can do without: S = X·Yᵀ and S·Y."""
    device = str(x.device)

    def step() -> Marks:
        begin = now(device)
        sim = x @ y.T
        middle = now(device)
        sim @ y
        return [begin, middle, now(device)]

    return step


def _product_in_blocks(x: Tensor, y: Tensor, size: int = 2**25) -> None:
    rows = max(1, size // len(y))
    buffer = x.new_empty(rows, len(y))
    for part in x.split(rows):
        torch.mm(part, y.T, out=buffer[: len(part)])
