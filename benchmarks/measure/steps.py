"""The jobs that are timed, each done by every method: loss steps and retrieval, and their floor.

N anchors, M references, D dims.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from pytorch_metric_learning.miners import TripletMarginMiner
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor
from torch.nn.functional import normalize

from pml_gpw import MSMiner
from pml_gpw.evaluation import recall_at_k
from pml_gpw.functional import column_loss
from pml_gpw.weightings import MultiSimilarity, NTXent

from ..data.own_losses import row_of
from .methods import COUNTED, FORMULA, MEMORIES, MINED, TUPLES, UNMINED
from .stopwatch import Marks, Step, now

PER_CLASS = 5
NOISE = {512: 1.6, 128: 1.1}
"""Noise beside unit class centres, by D, at which mining keeps 0.2 to 0.6 % of the negatives, as
it does on trained embeddings."""
RANK = 48
"""Of embeddings as those of large models are: of many dims, most of which say the same."""
RANK_NOISE = 1.5
"""Noise beside the class centres of such embeddings, at which mining keeps a third of all pairs."""
LOOP_LIMIT = 1000
"""The loop takes minutes per step on larger batches, most of it in backward."""
TRIPLET_MARGIN = 0.2

Embeddings = tuple[Tensor, Tensor]


def embeddings(
    kind: str, n: int, dims: int, device: str = "cpu", per_class: int = PER_CLASS
) -> Embeddings:
    """N embeddings and labels: "trained-like" (class centre + noise), "random" or "rank 48"."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) // per_class
    own = RANK if kind == "rank 48" else dims
    x = torch.randn(n, own, generator=generator)
    if kind != "random":
        noise = RANK_NOISE if kind == "rank 48" else NOISE[dims]
        x = torch.randn(len(labels.unique()), own, generator=generator)[labels] + noise * x
    if kind == "rank 48":
        x = x @ torch.randn(own, dims, generator=generator)
    return x.to(device), labels.to(device)


def share_of_negatives_kept(x: Tensor, labels: Tensor) -> float:
    """By ``MSMiner`` with its defaults."""
    negatives = len(labels) ** 2 - int(labels.unique(return_counts=True)[1].square().sum())
    return len(MSMiner()(x, labels)[3]) / negatives


class Batch(NamedTuple):
    """A batch whose loss is taken: what a job is about."""

    kind: str
    n: int
    dims: int
    per_class: int = PER_CLASS
    mined: bool = True
    memory: int = 0  # embeddings in a memory; 0: the batch within itself

    def embeddings(self, device: str) -> Embeddings:
        """Those of the batch."""
        return embeddings(self.kind, self.n, self.dims, device, self.per_class)


class LossOfLeaf(NamedTuple):
    """Embeddings, not normalised yet, whose gradient is taken, and the loss of them."""

    leaf: Tensor
    loss: Callable[[], Tensor]


def methods_of(task: str, batch: Batch) -> Mapping[str, Callable[..., Any]]:
    """The methods that do a task."""
    loss: Any = MINED if batch.mined else UNMINED
    return {"loss": loss, "formula": FORMULA, "tuple": TUPLES, "memory": MEMORIES}[task]


def of_batch(task: str, name: str, batch: Batch, device: str) -> LossOfLeaf:
    """Mine and compute the loss of a batch within itself, as a trainer does it."""
    x, labels = batch.embeddings(device)
    loss = methods_of(task, batch)[name]()
    return LossOfLeaf(x, lambda: loss(x, labels))


def of_tuple(name: str, batch: Batch, device: str) -> LossOfLeaf:
    """The loss of the triplets within a margin, which are mined beforehand."""
    x, labels = batch.embeddings(device)
    triplets, loss = mined_triplets(x, labels), TUPLES[name]()
    return LossOfLeaf(x, lambda: loss(x, triplets))


def mined_triplets(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All triplets within the margin, by PML's miner."""
    found: tuple[Tensor, Tensor, Tensor] = TripletMarginMiner(TRIPLET_MARGIN)(x, labels)
    return found


def of_memory(name: str, batch: Batch, device: str) -> LossOfLeaf:
    """Normalise, enqueue, mine and compute the loss against a full cross-batch memory."""
    y, labels = embeddings(batch.kind, batch.memory, batch.dims, device, batch.per_class)
    order = torch.randperm(batch.memory, generator=torch.Generator().manual_seed(1)).to(device)
    y, labels = y[order], labels[order]
    x, x_labels = y[: batch.n].clone(), labels[: batch.n]
    loss = MEMORIES[name](normalize(y), labels)
    return LossOfLeaf(x, lambda: loss(normalize(x), x_labels))


def of_row(source: str, batch: Batch, device: str) -> LossOfLeaf:
    """The loss of a row of the tables, by the source of the row, with its miner."""
    x, labels = batch.embeddings(device)
    miner, loss = row_of(source).make()
    loss = loss.to(device)
    return LossOfLeaf(x, lambda: loss(x, labels, None if miner is None else miner(x, labels)))


LOSSES: Mapping[str, Callable[[str, Batch, str], LossOfLeaf]] = {
    "row": of_row,
    "loss": partial(of_batch, "loss"),
    "formula": partial(of_batch, "formula"),
    "tuple": of_tuple,
    "memory": of_memory,
}


def loss_step(task: str, name: str, batch: Batch, device: str = "cpu") -> Step:
    """Forward and backward; or the floor."""
    if name == "floor":
        x = normalize(batch.embeddings(device)[0])
        memory = Batch(batch.kind, batch.memory, batch.dims, batch.per_class)
        return floor_of(x, normalize(memory.embeddings(device)[0]) if batch.memory else x)
    leaf, loss = LOSSES[task](name, batch, device)
    leaf.requires_grad_()
    return lambda: forward_and_backward(leaf, loss, device)


def loss_value(task: str, name: str, batch: Batch, device: str = "cpu") -> float:
    """What the method computes, to see that all compute the same."""
    return float(LOSSES[task](name, batch, device).loss())


def counted_step(name: str, n: int, dims: int) -> Step:
    """The step of random embeddings, to be counted."""
    x, labels = embeddings("random", n, dims)
    loss = COUNTED[name](n)
    x.requires_grad_()
    return lambda: forward_and_backward(x, lambda: loss(x, labels), "cpu")


def layout_step(layout: str, batch: Batch) -> Step:
    """The step of ``MSLoss`` with one way of holding pairs, or fused."""
    x, labels = batch.embeddings("cpu")
    loss = MINED["fused (MSLoss)" if layout == "fused" else "streamed (MSLoss)"]()
    if layout != "fused":
        loss.layout = layout  # type: ignore[attr-defined]
    x.requires_grad_()
    return lambda: forward_and_backward(x, lambda: loss(x, labels), "cpu")


COLUMNS: dict[str, Any] = {"NT-Xent": NTXent(0.05), "Multi-Similarity": MultiSimilarity()}
"""Losses of queries against documents."""


def column_step(name: str, batch: Batch) -> Step:
    """The step of random queries against as many documents, gradients of both included."""
    queries, documents = batch.embeddings("cpu")[0].requires_grad_(), batch.embeddings("cpu")[0]
    documents = documents.flip(1).requires_grad_()
    columns = queries, documents
    return lambda: forward_and_backward(queries, lambda: column_loss(columns, COLUMNS[name]), "cpu")


def forward_and_backward(leaf: Tensor, forward: Callable[[], Tensor], device: str) -> Marks:
    """Points in time of one step: its begin, after the loss, after the gradient of a leaf."""
    leaf.grad = None
    begin = now(device)
    value = forward()
    middle = now(device)
    value.backward()
    return [begin, middle, now(device)]


RETRIEVALS = ("torch", "faiss", "PML")


def retrieval_step(name: str, n: int, dims: int, ks: tuple[int, ...], device: str = "cpu") -> Step:
    """Recall@K of N embeddings among themselves; or one product in blocks."""
    x, labels = embeddings("trained-like", n, dims, device)
    x = normalize(x)
    calculator = AccuracyCalculator(include=("precision_at_1",), k=max(ks))
    ways: dict[str, Callable[[], Any]] = {
        "floor": lambda: _product_in_blocks(x, x),
        "PML": lambda: calculator.get_accuracy(x, labels),
    }
    run = ways.get(name, partial(recall_at_k, x, labels, ks=ks, backend=name))

    def step() -> Marks:
        begin = now(device)
        run()
        return [begin, now(device)]

    return step


def floor_of(x: Tensor, y: Tensor) -> Step:
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
