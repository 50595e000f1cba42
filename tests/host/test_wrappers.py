"""Our losses and miners inside PML's wrappers."""

from pytorch_metric_learning.losses import (
    CrossBatchMemory,
    MultipleLosses,
    MultiSimilarityLoss,
    NTXentLoss,
)
from pytorch_metric_learning.miners import MultiSimilarityMiner

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss

from ..tolerances import close


def test_multiple_losses(batch):
    x, labels = batch
    both = MultipleLosses(
        [MSWeightedLoss(), NTXentLoss()], miners=[MSMiner(), None], weights=[2, 0.5]
    )
    expected = 2 * MSLoss()(x, labels) + 0.5 * NTXentLoss()(x, labels)
    close(both(x, labels), expected)


def test_memory_of_pml_takes_our_tuples(batch):
    """PML's queue hands over a tuple and references; a subclass lets our loss in by its name."""

    class Memory(CrossBatchMemory):
        @staticmethod
        def supported_losses():
            return ["MSWeightedLoss", "MultiSimilarityLoss"]

    x, labels = batch
    ours = Memory(MSWeightedLoss(), 6, memory_size=24, miner=MSMiner())
    theirs = Memory(MultiSimilarityLoss(), 6, memory_size=24, miner=MultiSimilarityMiner())
    for step in range(3):
        noisy = x + 0.1 * step
        close(ours(noisy, labels), theirs(noisy, labels))
