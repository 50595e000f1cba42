"""Fields that are trained: each process is given the whole gradient, that of one process."""

import copy
import warnings

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import CrossBatchMemory

from ...row_losses import Margin, NTXent
from ...tolerances import close
from ..partition import equal, partitioned_batch, run


def losses():
    return [
        MSLoss(trainable=("alpha", "beta", "base")),
        GPWLoss(NTXent(), trainable=("temperature",)),
        GPWLoss(Margin(), trainable={"beta": 9}),
        CrossBatchMemory(MSLoss(trainable=("beta",)), 5, 40),
    ]


def gradients(loss):
    return [parameter.grad.clone() for parameter in loss.parameters()]


def check_parameters_of_a_loss():
    batch = partitioned_batch()
    for whole in losses():
        whole = whole.double()
        many = copy.deepcopy(whole)
        one = run(whole, batch.x, batch.labels)
        equal(run(DistributedLoss(many), *batch.part), one, batch.rows)
        for found, expected in zip(gradients(many), gradients(whole), strict=True):
            close(found, expected)


def check_a_warning_of_parameters_that_began_apart():
    batch = partitioned_batch()
    for is_apart in (False, True):
        loss = DistributedLoss(MSLoss(trainable=("base",)).double())
        loss.loss.base = 0.5 + 0.1 * is_apart * dist.get_rank()
        for is_first in (True, False):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                run(loss, *batch.part)
            said = [w for w in seen if "parameters of the loss differ" in str(w.message)]
            assert len(said) == (is_apart and is_first)


class WithLoss(torch.nn.Module):
    """A network and its loss in one module, as DDP takes them."""

    def __init__(self, loss):
        super().__init__()
        self.net, self.loss = torch.nn.Linear(5, 4).double(), loss

    def forward(self, x, labels):
        return self.loss(self.net(x), labels)


def check_parameters_inside_ddp():
    batch = partitioned_batch()
    torch.manual_seed(0)
    whole = WithLoss(MSLoss(trainable=("beta", "base")).double())
    whole(batch.x, batch.labels).backward()
    inner = WithLoss(DistributedLoss(MSLoss(trainable=("beta", "base")).double()))
    inner.net.load_state_dict(whole.net.state_dict())
    ddp = DistributedDataParallel(inner)  # it has to live until backward
    ddp(*batch.part).backward()
    for found, expected in zip(gradients(inner), gradients(whole), strict=True):
        close(found, expected)
    assert dist.get_world_size() > 1
