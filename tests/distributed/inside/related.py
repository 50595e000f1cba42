"""Relations of labels of any shape over processes: graded pairs, a hierarchy, a memory."""

import torch
import torch.distributed as dist

from pml_gpw import modules
from pml_gpw.distributed import DistributedLoss
from pml_gpw.mining import HardestNegatives
from pml_gpw.relations import ByClass, WeightedRelations, jaccard
from pml_gpw.weightings import MultiSimilarity

from ...test_relations import LEVELS, Graded
from ..partition import equal, partitioned_batch, run


def tags(n):
    return torch.rand(n, 5, generator=torch.Generator().manual_seed(2)) < 0.4


def check_graded_pairs_and_a_hierarchy():
    batch = partitioned_batch()
    n = len(batch.x)
    taxa = torch.stack([torch.arange(n) // 2, torch.arange(n) // 4, torch.arange(n) // 8], dim=1)
    for loss, labels in (
        (modules.GPWLoss(Graded(), pairs=jaccard), tags(n)),
        (modules.GPWLoss(Graded(), HardestNegatives(3), pairs=jaccard), tags(n)),
        (modules.GPWLoss(MultiSimilarity(), pairs=WeightedRelations(LEVELS)), taxa),
    ):
        one = run(loss, batch.x, labels)
        equal(run(DistributedLoss(loss), batch.x[batch.rows], labels[batch.rows]), one, batch.rows)


def check_classes_stay_known():
    batch = partitioned_batch()
    labels, same = batch.labels % 5, ByClass(torch.eye(5))
    loss = modules.GPWLoss(MultiSimilarity(), pairs=same, trainable={"beta": 5})
    one = run(loss, batch.x, labels)
    equal(run(DistributedLoss(loss), batch.x[batch.rows], labels[batch.rows]), one, batch.rows)


def check_a_memory_of_tags():
    loss = modules.GPWLoss(Graded(), pairs=jaccard)
    kept = {"label_shape": (5,), "label_dtype": torch.bool}
    alone, together = (modules.CrossBatchMemory(loss, 5, 60, **kept) for _ in range(2))
    for seed in range(3):
        batch = partitioned_batch(seed=seed)
        labels = tags(len(batch.x))
        one = run(alone, batch.x, labels)
        own = batch.x[batch.rows], labels[batch.rows]
        equal(run(DistributedLoss(together), *own), one, batch.rows)
    assert alone.label_memory.equal(together.label_memory)
    assert dist.is_initialized()
