"""At least float32 whatever the embeddings and autocast, and float64 where it is given."""

import torch
from pytorch_metric_learning import regularizers

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss

from .runs import run
from .tolerances import close


def test_half_embeddings_under_autocast(batch):
    x, labels = batch
    for dtype in (torch.bfloat16, torch.float16):
        half = x.to(dtype).requires_grad_()
        expected = run(
            MSWeightedLoss(),
            half.detach().float(),
            labels,
            MSMiner()(half.detach().float(), labels),
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = MSWeightedLoss()(half, labels, MSMiner()(half, labels))
        value.backward()
        assert value.dtype == torch.float32
        assert half.grad.dtype == dtype
        close(value, expected[0])
        close(half.grad.float(), expected[1].to(dtype).float(), torch.finfo(dtype).eps)
        regular = MSLoss(embedding_regularizer=regularizers.LpRegularizer())
        assert regular(half, labels).dtype == torch.float32


def test_float64_stays_float64(batch):
    assert MSLoss()(batch[0].double(), batch[1]).dtype == torch.float64
