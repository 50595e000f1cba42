import pytest
import torch

from benchmarks.data.contenders import CONTENDERS, EVERY_CONTENDER
from benchmarks.data.presets import preset


def test_every_contender_takes_the_hyperparameters():
    for make in EVERY_CONTENDER.values():
        make(**preset("CUB200", "text").hyperparameters)
    _, loss = CONTENDERS["SNP"](**preset("CUB200", "text").hyperparameters)
    assert (loss.weighting.beta, loss.weighting.base) == (50, 1)


@pytest.mark.parametrize("name", EVERY_CONTENDER)
def test_every_contender_gives_a_gradient(name):
    miner, loss = EVERY_CONTENDER[name]()
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.arange(20) // 5
    loss(x, labels, None if miner is None else miner(x, labels)).backward()
    assert x.grad.abs().sum() > 0
