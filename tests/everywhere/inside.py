from pml_gpw import modules
from pml_gpw.distributed import DistributedLoss
from pml_gpw.weightings import MultiSimilarity

from ..distributed.partition import compare, compare_memories, composed, sharded


def check_losses_miners_and_memories():
    batch = sharded()
    for reduction in ("mean", "sum", "mean_of_nonzero"):
        compare(modules.MSLoss(reduction=reduction), batch)
    compare(modules.GPWLoss(MultiSimilarity(), trainable=("base",)).double(), batch)
    loss, miner = modules.MSWeightedLoss(), modules.MSMiner()
    compare(composed(loss, miner), batch, DistributedLoss(loss, miner))
    compare_memories(modules.CrossBatchMemory(modules.MSLoss(), 5, 60), 3)
