import copy
import pickle

import pytest
import torch
import torch.distributed as dist

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss, distributed, evaluation
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import CrossBatchMemory

from ..partition import run, sharded
from .dataset_metrics import Images, Net


def check_is_the_loss_itself():
    batch = sharded((24,), torch.float32)
    x, labels, mask = batch.x, batch.labels, torch.arange(24) % 2 == 0
    mined, memories = MSMiner()(x, labels), [CrossBatchMemory(MSLoss(), 5) for _ in range(2)]
    for loss, given, many, options in (
        (MSLoss(), (), DistributedLoss(MSLoss()), {}),
        (MSWeightedLoss(), (mined,), DistributedLoss(MSWeightedLoss(), MSMiner()), {}),
        (memories[0], (None, mask), DistributedLoss(memories[1]), {"enqueue_mask": mask}),
    ):
        one, ours = run(loss, x, labels, *given), run(many, x, labels, **options)
        assert all(a.equal(b) for a, b in zip(one, ours, strict=True))


def check_a_copy_has_the_group_and_a_pickle_none():
    batch = sharded((24,))
    loss = DistributedLoss(MSLoss(trainable=("base",)), MSMiner(), dist.new_group([0]))
    copied = copy.deepcopy(torch.nn.ModuleList([loss]))[0]
    assert copied.group is loss.group
    assert copied.loss is not loss.loss
    assert copied(batch.x, batch.labels).equal(loss(batch.x, batch.labels))
    copied.loss.base = 0.9
    assert loss.loss.base == 0.5
    with pytest.raises(TypeError, match=r"must be None for a pickle.* make the Distributed"):
        pickle.dumps(torch.nn.ModuleList([loss]))
    loss.group = None
    read = pickle.loads(pickle.dumps(loss))
    assert read(batch.x, batch.labels).equal(loss(batch.x, batch.labels))


def check_retrieval_is_that_of_the_functions():
    """Of arrays, galleries and data sets, with their errors."""
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) // 4
    for args in ((x, labels), (x.numpy(), labels.numpy()), (x[:9], labels[:9], x, labels)):
        assert distributed.distributed_recall_at_k(*args) == evaluation.recall_at_k(*args)
        many = distributed.distributed_retrieval_metrics(*args)
        assert many == evaluation.retrieval_metrics(*args)
    with pytest.raises(ValueError, match=r"^query must have at least one row"):
        distributed.distributed_recall_at_k(x[:0], labels[:0])
    args = Net(), Images(13), Images(9)
    assert distributed.distributed_dataset_recall(*args) == evaluation.dataset_recall(*args)
    assert distributed.distributed_dataset_metrics(*args) == evaluation.dataset_metrics(*args)


def fails():
    raise AssertionError("on purpose")
