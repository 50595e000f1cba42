"""The engine on CUDA gives what it gives on the CPU. Skips where there is no GPU."""

import pytest
import torch

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss, checks
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import DistanceWeightedMining, MSMining

from ..cases import EVERY_CASE
from ..covering import covering, named
from ..runs import close_runs
from .batches import embed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def outcome(loss, x, labels, device):
    x = x.to(device).requires_grad_()
    value = loss(x, labels.to(device))
    value.backward()
    assert value.device.type == device
    return value.cpu(), x.grad.float().cpu()


@pytest.mark.parametrize(
    ("case", "n", "mining", "dtype", "fused"),
    covering(
        EVERY_CASE,
        (33, 600),
        (None, MSMining(0.1)),
        (torch.float64, torch.float32, torch.bfloat16, torch.float16),
        (False, None),
        one_in=5,
    ),
    ids=named,
)
def test_losses(case, n, mining, dtype, fused):
    x, labels = embed(n, 0, dtype)
    loss = GPWLoss(case.weighting, mining, chunk_size=64, fused=fused)
    tolerance = max(2e-5, 2 * torch.finfo(dtype).eps)
    close_runs(*(outcome(loss, x, labels, d) for d in ("cuda", "cpu")), tolerance)


def test_tuples_and_memory():
    x, labels = embed(400, 0, torch.float32)
    miner, loss = MSMiner(), MSWeightedLoss()
    memory = {d: CrossBatchMemory(MSLoss(), 6, 900) for d in ("cuda", "cpu")}
    for step in (
        lambda e, y: loss(e, y, miner(e, y)),
        lambda e, y: memory[e.device.type](e, y),
        lambda e, y: memory[e.device.type](e.flip(0), y.flip(0)),
    ):
        close_runs(*(outcome(step, x, labels, d) for d in ("cuda", "cpu")), 2e-5)


@pytest.mark.parametrize(
    ("case", "mining", "fused"),
    covering(EVERY_CASE, (None, MSMining(0.1), DistanceWeightedMining(6)), (False, None), one_in=1),
    ids=named,
)
def test_no_step_waits(case, mining, fused):
    """CUDA itself says so: what would wait is an error."""
    x, labels = embed(300, 0, torch.float32)
    x, labels = x.cuda().requires_grad_(), labels.cuda()
    loss = GPWLoss(case.weighting, mining, chunk_size=128, fused=fused)
    loss(x, labels).backward()  # compiles, and fills what is filled once
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(x, labels).backward()
        loss(x, labels, ref_emb=x.detach().clone(), ref_labels=labels).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    checks.flush()


def test_bad_values_are_told_later():
    x, labels = embed(40, 0, torch.float32)
    x[3, 2] = float("nan")
    MSLoss()(x.cuda(), labels.cuda())
    with pytest.raises(ValueError, match=r"embeddings must be finite, .*row 3\) \(in call"):
        checks.flush()
    with checks.immediately(), pytest.raises(ValueError, match="embeddings must be finite"):
        MSLoss()(x.cuda(), labels.cuda())
