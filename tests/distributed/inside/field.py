"""Losses by the names of the field, with their own means, over processes and against a memory."""

import copy
import warnings

from pml_gpw import losses
from pml_gpw.distributed import DistributedLoss
from pml_gpw.mining import MSMining
from pml_gpw.modules import contrastive_losses, margin_losses, ranking_losses

from ...tolerances import close
from ..partition import equal, partitioned_batch, run
from .trained import gradients

ARGUMENTS = {"RankedListLoss": {"margin": 0.4, "Tn": 5.0}}
NAMED = [
    name
    for module in (contrastive_losses, margin_losses, ranking_losses)
    for name, value in vars(module).items()
    if getattr(value, "__module__", "") == module.__name__
]


def every_loss():
    for name in NAMED:
        for mining in (None, MSMining(0.3)):
            yield getattr(losses, name)(**ARGUMENTS.get(name, {}), mining=mining).double()


def check_every_loss_of_the_field():
    assert len(NAMED) == 13
    for loss in every_loss():
        batch, many = partitioned_batch(), copy.deepcopy(loss)
        one = run(loss, batch.x, batch.labels)
        equal(run(DistributedLoss(many), *batch.part), one, batch.rows)
        for found, expected in zip(gradients(many), gradients(loss), strict=True):
            close(found, expected)


def check_every_loss_of_the_field_against_a_memory():
    for loss in every_loss():
        one = losses.CrossBatchMemory(loss, 5, 60)
        many = copy.deepcopy(one)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for seed in range(3):
                batch = partitioned_batch(seed=seed)
                expected = run(one, batch.x, batch.labels)
                equal(run(DistributedLoss(many), *batch.part), expected, batch.rows)
