"""The paths of the engine agree with each other, and none holds the whole matrix."""

import pytest
import torch

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.losses import CrossBatchMemory

from ..probes import LargestTensor
from ..tolerances import close
from .batches import clusters


@pytest.mark.parametrize("noise", [0.1, 3.0], ids=["few", "most kept"])
def test_streamed_composed_and_one_chunk_agree(noise):
    x, labels = clusters(1000, noise)

    def outcome(value, leaf):
        return value.detach(), torch.autograd.grad(value, leaf)[0]

    x.requires_grad_()
    expected = outcome(MSLoss(chunk_size=1000)(x, labels), x)
    for value in (
        MSLoss(chunk_size=64)(x, labels),
        MSWeightedLoss(chunk_size=64)(x, labels, MSMiner()(x, labels)),
    ):
        for a, b in zip(outcome(value, x), expected, strict=True):
            close(a, b)


def test_neither_tuples_nor_memories_hold_the_matrix():
    x, labels = clusters(1000, 0.1, dtype=torch.float32)
    x.requires_grad_()
    miner, loss = MSMiner(chunk_size=64), MSWeightedLoss(chunk_size=64)
    memory = CrossBatchMemory(MSLoss(chunk_size=64), 16, 4000)
    memory.embedding_memory.copy_(x.detach().repeat(4, 1))
    memory.label_memory.copy_(labels.repeat(4))
    memory.has_been_filled = True
    for step, largest in (
        (lambda: loss(x, labels, miner(x, labels)), 64 * 1000),
        (lambda: memory(x, labels), 64 * 4000),
    ):
        with LargestTensor() as seen:
            step().backward()
        assert seen.numel <= 2 * largest
