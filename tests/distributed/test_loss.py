"""Two, three and four processes against one; and one, in a group of its own or in none."""

import copy

import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.losses import CrossBatchMemory as PMLCrossBatchMemory

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import CrossBatchMemory, PairSimilarityLoss

from .inside import alone, controls, errors, losses, minings, training
from .processes import Processes, checks_of


@pytest.mark.parametrize(("module", "name"), checks_of(losses, minings, training, errors, controls))
def test_as_one_process(processes, module, name):
    processes.run(module, name)


@pytest.mark.exhaustive
def test_a_group_of_one(tmp_path):
    pool = Processes(1, tmp_path)
    for check in ("is_the_loss_itself", "a_copy_has_the_group_and_a_pickle_none"):
        pool.run(alone.__name__, f"check_{check}")
    with pytest.raises(pytest.fail.Exception, match=r"rank 0: [^$]*on purpose"):
        pool.run(alone.__name__, alone.fails.__name__)
    assert not pool.workers
    pool.run(alone.__name__, alone.check_retrieval_is_that_of_the_functions.__name__)
    pool.stop()


def test_without_a_group(batch):
    assert not dist.is_initialized()
    alone.check_is_the_loss_itself()
    assert DistributedLoss(MSLoss(), MSMiner())(*batch) == MSLoss()(*batch, MSMiner()(*batch))


def test_wrapping_changes_nothing_of_the_loss(batch):
    loss = MSLoss(alpha=3)
    many = DistributedLoss(loss)
    assert many.loss is loss
    assert list(many.parameters()) == []
    twin = copy.deepcopy(many)
    twin.load_state_dict(many.state_dict())
    assert twin.loss.alpha == 3
    assert twin(*batch) == loss(*batch)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((ContrastiveLoss(),), "loss must be a GPWLoss .*, got ContrastiveLoss"),
        ((PairSimilarityLoss(),), "loss must be .*, got PairSimilarityLoss"),
        ((None,), "loss must be .*, got NoneType"),
        ((CrossBatchMemory(ContrastiveLoss(), 5),), "got CrossBatchMemory around ContrastiveLoss"),
        ((PMLCrossBatchMemory(ContrastiveLoss(), 5),), "loss must be .*, got CrossBatchMemory"),
        ((MSWeightedLoss(), "ms"), "miner must be a Module or None, got str"),
        ((CrossBatchMemory(MSLoss(), 5), MSMiner()), "miner must be None beside"),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        DistributedLoss(*args)


@pytest.mark.parametrize(
    ("args", "given", "message"),
    [
        ((MSLoss(),), {"enqueue_mask": torch.ones(12).bool()}, "enqueue_mask must"),
        ((MSLoss(), MSMiner()), {"indices_tuple": ()}, "indices_tuple must be None"),
        ((CrossBatchMemory(MSLoss(), 6),), {"ref_emb": torch.ones(3, 6)}, "ref_emb must be None"),
    ],
)
def test_bad_calls_without_a_group(batch, args, given, message):
    with pytest.raises(ValueError, match=message):
        DistributedLoss(*args)(*batch, **given)
