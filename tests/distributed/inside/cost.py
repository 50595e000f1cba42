"""What a process holds."""

import torch
import torch.distributed as dist
from pytorch_metric_learning import reducers

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity

from ...probes import LargestTensor
from ..partition import partitioned_batch


def check_largest_tensor():
    """No process ever holds the N×N matrix, nor its own n×N rows of it."""
    world, chunk_size = dist.get_world_size(), 10
    n = 240 // world
    batch = partitioned_batch((n,) * world, torch.float32)
    for mining in (None, MSMining(0.1)):
        for reducer in (reducers.MeanReducer(), reducers.ThresholdReducer(low=0)):
            loss = GPWLoss(MultiSimilarity(), mining, chunk_size, reducer=reducer)
            leaf = batch.part[0].clone().requires_grad_()
            with LargestTensor() as seen:
                DistributedLoss(loss)(leaf, batch.part[1]).backward()
            assert 0 < seen.numel <= 2 * chunk_size * 240 < n * 240
    for loss in (
        DistributedLoss(MSLoss(chunk_size=240)),
        DistributedLoss(MSWeightedLoss(chunk_size=240), MSMiner()),
    ):
        with LargestTensor() as seen:
            loss(leaf, batch.part[1]).backward()
        assert n * 240 <= seen.numel < 240 * 240, "the probe sees nothing, or all is compared"
